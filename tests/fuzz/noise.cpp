// philox and normals: every path gives, for any address and in any two parts, what one element at a time gives.
//
// Input: seed, stream, offset (8 bytes each), count (2), cut (2).
#include "noise.hpp"

#include <cstring>

#include "dispatch.hpp"
#include "duoview/normal.hpp"
#include "duoview/normal_table.hpp"
#include "duoview/philox.hpp"
#include "input.hpp"

namespace {

constexpr std::size_t kMost = 2048;

duoview::NoiseAddress advanced(duoview::NoiseAddress address, std::size_t count) {
    address.offset += count;
    return address;
}

template <typename T>
bool same_bits(const fuzz::Array<T>& a, const fuzz::Array<T>& b) {
    return a.size() == 0 || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <typename T>
void check(void (*function)(const duoview::NoiseAddress&, std::size_t, T*), const duoview::NoiseAddress& address,
           std::size_t cut, const fuzz::Array<T>& expected, const std::string& path) {
    fuzz::Array<T> whole(expected.size());
    function(address, whole.size(), whole.data());
    fuzz::require(same_bits(whole, expected), "elements are those of their addresses", path);
    fuzz::Array<T> front(cut), back(expected.size() - cut);
    function(address, cut, front.data());
    function(advanced(address, cut), back.size(), back.data());
    for (std::size_t i = 0; i < expected.size(); ++i)
        fuzz::require(std::memcmp(i < cut ? &front[i] : &back[i - cut], &expected[i], sizeof(T)) == 0, "parts are the whole", path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    duoview::NoiseAddress address{};
    address.seed = input.number<std::uint64_t>();
    address.stream = input.number<std::uint64_t>();
    address.offset = input.number<std::uint64_t>();
    std::size_t count = input.number<std::uint16_t>() % (kMost + 1);
    const std::uint64_t left = ~address.offset;  // elements behind the first one
    if (count > left) count = static_cast<std::size_t>(left) + 1;  // the last element of a stream is 2^64 - 1
    const std::size_t cut = input.number<std::uint16_t>() % (count + 1);

    fuzz::Array<std::uint32_t> words(count);
    fuzz::Array<float> normals(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t at = address.offset + i;
        words[i] = duoview::philox_at(address.seed, address.stream, at / 4).word[at % 4];
        normals[i] = duoview::normal_from_bits(words[i], duoview::kNormalQuantile);
    }
    for (const std::string& path : duoview::paths()) {
        check(duoview::choose_philox(path), address, cut, words, path);
        check(duoview::choose_normals(path), address, cut, normals, path);
    }
    return 0;
}
