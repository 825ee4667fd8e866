// What stands between exact networks and the entropy coder: planes of classes and means (in sixteenths), read in coding
// order, and the rounding of values to symbols and back.
//
// Positions of (channels, height, width) planes are coded in two halves, like the two colours of a checkerboard; the upper
// half of the channels has the colours swapped. Within a half the order is that of memory: channel, row, column.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr float kSixteenth = 0.0625f;
static constexpr float kMostMagnitude = 32767.0f;

struct PlaneShape {
    std::size_t channels, height, width;
};

// First column of a row that belongs to the half (0 or 1); the others follow in steps of two.
DUOVIEW_HD std::size_t first_column(const PlaneShape& shape, std::size_t channel, std::size_t row, std::size_t half) {
    const std::size_t swapped = channel >= shape.channels / 2 ? 1 : 0;
    return (row + swapped + half) % 2;
}

// Positions of that row in the half.
DUOVIEW_HD std::size_t row_positions(const PlaneShape& shape, std::size_t first) {
    return first < shape.width ? (shape.width - first + 1) / 2 : 0;
}

// Positions of the half that stand before the row, in coding order. Two rows below each other have `width` of them, and so
// has a pair of channels' rows only within one channel: an odd height leaves one row over.
DUOVIEW_HD std::size_t positions_before(const PlaneShape& shape, std::size_t channel, std::size_t row, std::size_t half) {
    const std::size_t low = shape.channels / 2;
    const std::size_t even = row_positions(shape, half), odd = row_positions(shape, 1 - half);  // rows 0 and 1, not swapped
    const std::size_t pairs = shape.height / 2 * shape.width;
    const std::size_t plain = pairs + (shape.height % 2 ? even : 0);
    const std::size_t swapped = pairs + (shape.height % 2 ? odd : 0);
    const std::size_t before = channel < low ? channel * plain : low * plain + (channel - low) * swapped;
    const std::size_t rest = row % 2 ? (channel < low ? even : odd) : 0;
    return before + row / 2 * shape.width + rest;
}

DUOVIEW_HD std::size_t half_positions(const PlaneShape& shape, std::size_t half) {
    return shape.channels == 0 ? 0 : positions_before(shape, shape.channels, 0, half);
}

// A value to the symbol of a Gaussian class, given its mean in sixteenths: rounded to the nearest integer, ties away from
// zero, or one lower in magnitude m where the distance from the midpoint is below `margin` * (2m - 1) (rate-distortion
// optimised; 0 never lowers). Each operation rounds to float32 by itself (compilers are told not to contract any), so that all
// devices agree. `value` is finite; symbols end at 32767.
DUOVIEW_HD std::int16_t quantise_symbol(float value, std::int16_t mean, float margin) {
    const float rest = value - static_cast<float>(mean) * kSixteenth;  // the product is exact
    const float magnitude = rest < 0.0f ? -rest : rest;
    const float above = magnitude + 0.5f;
    // Truncation of what is not negative is the floor, and an instruction; the floor itself is a call on old CPUs.
    std::int32_t symbol = static_cast<std::int32_t>(above < kMostMagnitude ? above : kMostMagnitude);
    const float nearest = static_cast<float>(symbol);
    const float lowered = margin * (2.0f * nearest - 1.0f);
    if (symbol > 0 && magnitude < (nearest - 0.5f) + lowered) --symbol;
    return static_cast<std::int16_t>(rest < 0.0f ? -symbol : symbol);
}

// What decoders make of a symbol, in sixteenths: an integer below 2^20 in magnitude, exact in float32.
DUOVIEW_HD float dequantise_symbol(std::int16_t symbol, std::int16_t mean) {
    return static_cast<float>(std::int32_t{symbol} * 16 + std::int32_t{mean});
}

}  // namespace duoview
