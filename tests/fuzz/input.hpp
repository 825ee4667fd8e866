// The bytes a fuzzer hands over, taken as fields from the front; a field that is no longer there is 0.
//
// make_corpus.py writes the same fields, so their order in each target is part of what is committed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace fuzz {

class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    // Little-endian.
    template <typename T>
    T number() {
        T value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i)
            if (size_ != 0) {
                value = static_cast<T>(value | static_cast<T>(static_cast<T>(*data_++) << 8 * i));
                --size_;
            }
        return value;
    }

    // At most `count` bytes.
    std::vector<std::uint8_t> bytes(std::size_t count) {
        if (count > size_) count = size_;
        std::vector<std::uint8_t> out(data_, data_ + count);
        out.shrink_to_fit();
        data_ += count;
        size_ -= count;
        return out;
    }

    std::vector<std::uint8_t> rest() { return bytes(size_); }

private:
    const std::uint8_t* data_;
    std::size_t size_;
};

// An array of exactly this size on the heap, so that the address sanitizer sees one element too many. Filled with ones: an
// offset that nobody wrote then overflows any pointer.
template <typename T>
class Array {
public:
    explicit Array(std::size_t size) : data_(static_cast<T*>(std::malloc(size * sizeof(T)))), size_(size) {
        static_assert(std::is_trivially_copyable_v<T>, "elements are bytes");
        if (size != 0) std::memset(static_cast<void*>(data_), 0xFF, size * sizeof(T));
    }
    ~Array() { std::free(data_); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;

    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) { return data_[i]; }
    const T& operator[](std::size_t i) const { return data_[i]; }
    bool operator==(const Array& other) const {
        if (size_ != other.size_) return false;
        for (std::size_t i = 0; i < size_; ++i)
            if (!(data_[i] == other.data_[i])) return false;
        return true;
    }

private:
    T* data_;
    std::size_t size_;
};

// What must hold for every input; the fuzzer keeps the input that breaks it.
inline void require(bool holds, const char* what, const std::string& path = "") {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s%s%s\n", what, path.empty() ? "" : ", path ", path.c_str());
    std::abort();
}

}  // namespace fuzz
