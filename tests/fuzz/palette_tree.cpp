// build_palette_tree: whatever the vectors, the tree is whole: weights add up level by level, centres are on the grid, an
// empty node has its parent's, and the order of the vectors changes nothing. A number off the grid is an error.
//
// Input: channels (1 byte, of 1..24), depth (1, of 0..8), mode (1: bit 0 gives weights, bit 1 makes small integers of the
// numbers, else they are any float32), rounds (1, of 0..15), exponent of the step (1), numbers and weights (the rest: C
// floats and 4 bytes a vector).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "duoview/palette_tree.hpp"
#include "input.hpp"
#include "palette.hpp"
#include "palette_calls.hpp"

namespace {

constexpr std::size_t kMostVectors = 160;

float number(fuzz::Input& input, std::uint8_t mode) {
    if (mode & 2) return static_cast<float>(input.number<std::int8_t>());
    const std::uint32_t bits = input.number<std::uint32_t>();
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

void check(const duoview::PaletteTree& tree, std::uint32_t channels, std::uint32_t depth, std::int64_t total) {
    const std::size_t nodes = (std::size_t{2} << depth) - 1;
    fuzz::require(tree.weights.size() == nodes && tree.centres.size() == nodes * channels, "all nodes are there");
    fuzz::require(tree.weights[0] == total, "the root has all content");
    for (const std::int32_t centre : tree.centres)
        fuzz::require(std::abs(centre) <= duoview::kPaletteLimit << duoview::kCentreBits, "centres are on the grid");
    for (std::size_t n = 0; 2 * n + 2 < nodes; ++n) {
        fuzz::require(tree.weights[n] == tree.weights[2 * n + 1] + tree.weights[2 * n + 2], "weights add up");
        for (std::size_t child = 2 * n + 1; child <= 2 * n + 2; ++child)
            for (std::uint32_t c = 0; c < channels && tree.weights[child] == 0; ++c)
                fuzz::require(tree.centres[child * channels + c] == tree.centres[n * channels + c],
                              "an empty node has its parent's centre");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::uint32_t channels = input.number<std::uint8_t>() % 24 + 1;
    const std::uint32_t depth = input.number<std::uint8_t>() % (duoview::kMaxPaletteDepth + 1);
    const std::uint8_t mode = input.number<std::uint8_t>();
    const std::uint32_t rounds = input.number<std::uint8_t>() % 16;
    const int exponent = mode & 2 ? 0 : input.number<std::int8_t>() % 61;
    const std::size_t bytes = (mode & 2 ? 1 : 4) * channels + (mode & 1 ? 4 : 0);
    const std::size_t count = std::max<std::size_t>(1, std::min((size > 5 ? size - 5 : 0) / bytes, kMostVectors));

    fuzz::Array<float> vectors(count * channels), turned(count * channels);
    fuzz::Array<std::uint32_t> weights(count), weights_turned(count);
    std::int64_t total = 0;
    for (std::size_t i = 0; i < count; ++i) {
        for (std::uint32_t c = 0; c < channels; ++c) {
            vectors[i * channels + c] = number(input, mode);
            turned[(count - 1 - i) * channels + c] = vectors[i * channels + c];
        }
        weights[i] = mode & 1 ? input.number<std::uint32_t>() : 1;
        // Together at most kMaxPaletteWeight, as kernels/palette.py makes sure.
        weights[i] = static_cast<std::uint32_t>(std::min<std::int64_t>(weights[i], duoview::kMaxPaletteWeight - total));
        if (i + 1 == count && total == 0 && weights[i] == 0) weights[i] = 1;
        weights_turned[count - 1 - i] = weights[i];
        total += weights[i];
    }
    const float scale = std::ldexp(1.0f, exponent);
    bool valid = true;
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        const double steps = std::nearbyint(static_cast<double>(vectors[i]) * scale);
        valid = valid && std::abs(steps) <= duoview::kPaletteLimit;  // false for what is no number
    }
    duoview::PaletteTree tree, again;
    const std::string error = fuzz::error_of([&] {
        tree = duoview::build_palette_tree(vectors.data(), mode & 1 ? weights.data() : nullptr, count, channels, depth, scale,
                                           rounds);
    });
    fuzz::require(error.empty() == valid, "an error is due exactly where a number is off the grid");
    if (!valid) return 0;
    check(tree, channels, depth, total);
    again = duoview::build_palette_tree(turned.data(), mode & 1 ? weights_turned.data() : nullptr, count, channels, depth,
                                        scale, rounds);
    fuzz::require(tree.centres == again.centres && tree.weights == again.weights, "the order changes nothing");
    return 0;
}
