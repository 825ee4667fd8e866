// nearest: every path, any number of threads and any rounding mode of the caller give the leaf that the definition gives;
// a number that is not finite is the same error.
//
// Input: groups (1 byte, of 1..3), channels (1, of 1..40), leaves (1, of 1..256), mode (1: bit 0 takes two threads, bit 1
// makes small integers of the numbers, for ties, else they are any float32; bit 2 leaves those that are not finite as they
// come; bits 3..4 are the rounding mode), vectors (2), numbers (the rest, over again from the start where it ends).
#include <algorithm>
#include <cfenv>
#include <cstring>

#include "dispatch.hpp"
#include "duoview/nearest.hpp"
#include "input.hpp"
#include "palette_calls.hpp"

namespace {

constexpr std::size_t kMostNumbers = 6000;
constexpr std::size_t kMostProducts = 100000;  // vectors x leaves x channels
constexpr int kRounding[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

class Numbers {
public:
    Numbers(std::vector<std::uint8_t> bytes, std::uint8_t mode) : bytes_(std::move(bytes)), mode_(mode) {
        if (bytes_.empty()) bytes_.push_back(1);
    }

    float next() {
        if (mode_ & 2) return static_cast<float>(static_cast<std::int8_t>(byte()) / 32);
        std::uint32_t bits = 0;
        for (int i = 0; i < 4; ++i) bits = bits << 8 | byte();
        float value;
        std::memcpy(&value, &bits, sizeof value);
        if (duoview::is_finite(value)) return value;
        if (!(mode_ & 4)) return static_cast<float>(bits & 0xFFu);
        all_finite_ = false;
        return value;
    }

    bool all_finite() const { return all_finite_; }

private:
    std::uint8_t byte() { return bytes_[at_++ % bytes_.size()]; }

    std::vector<std::uint8_t> bytes_;
    std::uint8_t mode_;
    std::size_t at_ = 0;
    bool all_finite_ = true;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::size_t groups = input.number<std::uint8_t>() % 3 + 1;
    const std::uint32_t channels = input.number<std::uint8_t>() % 40 + 1;
    const std::uint32_t leaf_count = input.number<std::uint8_t>() + 1u;
    const std::uint8_t mode = input.number<std::uint8_t>();
    const std::size_t row = groups * channels;
    const std::size_t count =
        std::min<std::size_t>({input.number<std::uint16_t>(), kMostNumbers / row, kMostProducts / row / leaf_count});
    Numbers numbers(input.rest(), mode);
    fuzz::Array<float> leaves(groups * leaf_count * channels), vectors(count * row);
    for (std::size_t i = 0; i < leaves.size(); ++i) leaves[i] = numbers.next();
    for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i] = numbers.next();

    fuzz::Array<std::uint8_t> expected(count * groups);
    for (std::size_t i = 0; i < count && numbers.all_finite(); ++i)
        for (std::size_t g = 0; g < groups; ++g)
            expected[i * groups + g] = duoview::nearest_leaf(vectors.data() + i * row + g * channels,
                                                             leaves.data() + g * leaf_count * channels, leaf_count, channels);
    std::string first_error;
    for (const std::string& path : duoview::paths()) {
        const duoview::PaletteKernels kernels = duoview::choose_palette(path);
        fuzz::Array<std::uint8_t> out(expected.size());
        std::fesetround(kRounding[mode >> 3 & 3]);
        const std::string error = fuzz::error_of([&] {
            duoview::nearest(kernels, vectors.data(), leaves.data(), count, groups, leaf_count, channels, mode & 1 ? 2 : 1,
                             out.data());
        });
        const bool kept = std::fegetround() == kRounding[mode >> 3 & 3];
        std::fesetround(FE_TONEAREST);
        fuzz::require(kept, "the caller's rounding mode is as it was", path);
        fuzz::require(error.empty() == numbers.all_finite(), "an error is due exactly where a number is not finite", path);
        if (first_error.empty()) first_error = error;
        fuzz::require(error == first_error, "paths give the same error", path);
        if (error.empty()) fuzz::require(out == expected, "the nearest leaf is found", path);
    }
    return 0;
}
