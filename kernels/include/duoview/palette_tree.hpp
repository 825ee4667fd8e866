// The integers a palette tree is built with: no result depends on the order in which vectors are added up.
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr std::int32_t kPaletteLimit = 32767;        // greatest magnitude of a coordinate on the grid
static constexpr int kCentreBits = 8;                       // a centre has 1/256 of a grid step
static constexpr std::uint32_t kMaxPaletteDepth = 8;        // 256 leaves
static constexpr std::uint32_t kMaxPaletteChannels = 4096;  // sums of squares fit 63 bits
static constexpr std::int64_t kMaxPaletteWeight = 0x7FFFFFFF;

// value / step rounded to the nearest integer, halves to even; false if that is beyond +-kPaletteLimit or not finite.
// `scale` is 1 / step, a power of two, so that the product is exact. Rounded by hand: no rounding mode has a say.
DUOVIEW_HD bool grid_coordinate(float value, float scale, std::int32_t* coordinate) {
    const float scaled = value * scale;
    if (!(scaled >= -32767.5f && scaled <= 32767.5f)) return false;
    std::int32_t whole = static_cast<std::int32_t>(scaled);  // towards 0
    const float rest = scaled - static_cast<float>(whole);   // exact
    if (rest > 0.5f || (rest == 0.5f && (whole & 1))) ++whole;
    if (rest < -0.5f || (rest == -0.5f && (whole & 1))) --whole;
    *coordinate = whole;
    return whole >= -kPaletteLimit && whole <= kPaletteLimit;
}

// floor((256 sum + floor(weight / 2)) / weight): the mean in 1/256 grid steps, halves upwards. weight > 0, |sum| < 2^46.
DUOVIEW_HD std::int32_t centre_of(std::int64_t sum, std::int64_t weight) {
    const std::int64_t numerator = sum * (1 << kCentreBits) + (weight >> 1);
    const std::int64_t quotient = numerator / weight;
    return static_cast<std::int32_t>(quotient - (numerator % weight < 0 ? 1 : 0));
}

// How far a coordinate is from a centre, for the choice of the channel along which a node is split first.
DUOVIEW_HD std::int32_t spread_of(std::int32_t coordinate, std::int32_t centre) {
    const std::int32_t difference = coordinate * (1 << kCentreBits) - centre;
    return difference < 0 ? -difference : difference;
}

// First split: 1 where the coordinate is above the exact mean sum / weight of its node.
DUOVIEW_HD std::uint32_t above_mean(std::int32_t coordinate, std::int64_t sum, std::int64_t weight) {
    return static_cast<std::int64_t>(coordinate) * weight > sum ? 1u : 0u;
}

// |256 x - centre0|^2 - |256 x - centre1|^2 is the sum of 512 x (centre1 - centre0) over the channels, less
// |centre1|^2 - |centre0|^2. The vector goes to child 1 where it is positive: ties go to child 0.
DUOVIEW_HD std::int64_t split_term(std::int32_t coordinate, std::int32_t centre0, std::int32_t centre1) {
    return static_cast<std::int64_t>(coordinate) * (2 << kCentreBits) * (centre1 - centre0);
}

DUOVIEW_HD std::int64_t split_offset_term(std::int32_t centre0, std::int32_t centre1) {
    return static_cast<std::int64_t>(centre1) * centre1 - static_cast<std::int64_t>(centre0) * centre0;
}

}  // namespace duoview
