// Gain maps on planes between exact networks and the entropy coder, by warps: what duoview.gain_map does on the host.
#pragma once

#include <cstdint>

#include "duoview/rans.hpp"
#include "duoview/warp.hpp"
#include "duoview/warp_checkerboard.hpp"
#include "duoview/warp_planes.hpp"

namespace duoview {

static constexpr std::int32_t kMostGain = 8;       // levels go from -8 to 8
static constexpr std::int32_t kGainClasses = 2;    // table classes that a level moves

// Classes (channels, positions) as levels (positions,) move them; class 0 stays, and no other becomes it.
struct GainClasses {
    const std::uint8_t* classes;
    const std::int8_t* levels;
    std::uint8_t* out;
    std::uint64_t channels;
    std::uint64_t positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * positions, item, [&](std::uint64_t i) {
            const std::int32_t last = static_cast<std::int32_t>(kGaussianClasses) - 1;
            const std::int32_t moved = std::int32_t{classes[i]} + kGainClasses * levels[i % positions];
            out[i] = static_cast<std::uint8_t>(classes[i] == 0 ? 0 : moved < 1 ? 1 : moved > last ? last : moved);
        });
    }
};

// What values are apart from their means, in sixteenths, times the gain of their level.
struct GainValues {
    const float* values;
    const std::int16_t* means;
    const std::int8_t* levels;
    const float* gains;  // (17,), from level -8 on
    float* out;
    std::uint64_t channels;
    std::uint64_t positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * positions, item, [&](std::uint64_t i) {
            const float apart = values[i] - static_cast<float>(means[i]) * kSixteenth;
            out[i] = apart * gains[levels[i % positions] + kMostGain];
        });
    }
};

// Decoded values of a half, in sixteenths: the mean, and the symbol's share of 4096, rounded to nearest.
struct GainDecoded {
    const std::int16_t* symbols;
    const std::int16_t* means;
    const std::int8_t* levels;
    const std::int32_t* shares;  // (17,), from level -8 on
    float* decoded;
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t half;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_row(warp, {channels, height, width}, half, item, [&](std::uint64_t i, std::uint64_t at, std::uint64_t) {
            const std::int64_t scaled = std::int64_t{16} * symbols[i] * shares[levels[at] + kMostGain];
            decoded[i] = static_cast<float>(means[i] + ((scaled + 2048) >> 12));
        });
    }
};

}  // namespace duoview
