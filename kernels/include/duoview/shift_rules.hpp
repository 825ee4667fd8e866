// What shifting a cell of a latent means, for the CPU's paths and for warps: how a vector is cut up, which operators are added
// for it, and how floats become the integers that are multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

// Positions on the side of a cell, neighbours on the side of a position, and positions on the side of what a cell is made of.
constexpr std::size_t kCellSide = 2, kShiftSide = 3, kPatchSide = kCellSide + kShiftSide - 1;
constexpr std::size_t kCellPositions = kCellSide * kCellSide, kShiftTaps = kShiftSide * kShiftSide;
constexpr std::size_t kPatchPositions = kPatchSide * kPatchSide;
constexpr int kShiftBits = 11;       // fraction bits of four added operators, 9 each
constexpr int kStateBits = 6;        // fraction bits of a latent
constexpr int kShiftLimit = 16 * 64;  // magnitude of the latent in 1/64, before and after
constexpr int kWantedLimit = 2 * kShiftLimit;  // magnitude that a wanted latent is kept within, in 1/64
constexpr int kMaxShift = 64;        // half pixels of a vector
constexpr int kPosition = 16;        // half pixels of a position
constexpr int kInside = kPosition / 2;  // half pixels within a position: -8 .. 7
constexpr std::size_t kShiftKinds = kPosition * kPosition;  // shifts within a position: one matrix each

// A vector as whole positions and half pixels within one.
DUOVIEW_HD int whole_positions(int half_pixels) { return (half_pixels + kInside) >> 4; }
DUOVIEW_HD int inside_position(int half_pixels) { return half_pixels - kPosition * whole_positions(half_pixels); }

// The number of a vector's matrix.
DUOVIEW_HD std::size_t shift_kind(int dy, int dx) {
    return static_cast<std::size_t>((inside_position(dy) + kInside) * kPosition + inside_position(dx) + kInside);
}

// A sum of products as a number of the latent, rounded once.
DUOVIEW_HD int shifted_value(std::int32_t sum) {
    const int value = (sum + (1 << (kShiftBits - 1))) >> kShiftBits;
    return value < -kShiftLimit ? -kShiftLimit : value > kShiftLimit ? kShiftLimit : value;
}

// Nearest integer, of two the even one, of a value that was scaled already, within +-most, at most 32767.
DUOVIEW_HD std::int32_t nearest_within(float scaled, float most) {
    const float whole = 1.5f * (1 << 23);  // a float near it has no fraction: adding it rounds
    const float low = scaled > -most ? scaled : -most;
    const float inside = low < most ? low : most;
    return static_cast<std::int32_t>((inside + whole) - whole);
}

}  // namespace duoview
