// The inner loops of shifting a latent: adding up operators, and multiplying the neighbourhood of a cell by the sum.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

// Positions on the side of a cell, neighbours on the side of a position, and positions on the side of what a cell is made of.
constexpr std::size_t kCellSide = 2, kShiftSide = 3, kPatchSide = kCellSide + kShiftSide - 1;
constexpr std::size_t kCellPositions = kCellSide * kCellSide, kShiftTaps = kShiftSide * kShiftSide;
constexpr std::size_t kPatchPositions = kPatchSide * kPatchSide;
constexpr int kShiftBits = 11;       // fraction bits of four added operators, 9 each
constexpr int kShiftLimit = 16 * 64;  // magnitude of the latent in 1/64, before and after
constexpr std::size_t kLanes = 8;    // outputs of a register
constexpr std::size_t kBlockRegisters = 3;  // 4 positions times 3 sums, 3 weights and an input are 16 registers

// Where numbers are. A patch is (pairs, 16 positions, 2 channels); an operator is cut into blocks of 24 outputs, the last one
// a smaller multiple of 8, and a block is (pairs, 9 taps, outputs, 2 channels). What pads channels to pairs and outputs to
// whole registers is 0.
struct ShiftLayout {
    std::size_t channels;

    std::size_t pairs() const { return (channels + 1) / 2; }
    std::size_t registers() const { return (channels + kLanes - 1) / kLanes; }
    std::size_t patch_size() const { return pairs() * kPatchPositions * 2; }
    std::size_t operator_size() const { return pairs() * kShiftTaps * registers() * kLanes * 2; }
};

// Adds four arrays of `size` elements, a multiple of 16, which may be the same. Sums fit 16 bits.
using AddOperatorsFunction = void (*)(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum);

// Writes the cell (channels, 2, 2) made of a patch by four added operators, rounded once, within +-kShiftLimit.
using ShiftCellFunction = void (*)(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights,
                                   std::int16_t* out);

// Writes the patch of planes of `plane` elements; `places` are those of its positions in a plane.
using GatherPatchFunction = void (*)(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                                     const std::size_t (&places)[kPatchPositions], std::int16_t* patch);

void add_operators_scalar(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum);
void add_operators_avx2(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum);
void shift_cell_scalar(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out);
void shift_cell_avx2(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out);
void gather_patch_scalar(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                         const std::size_t (&places)[kPatchPositions], std::int16_t* patch);
void gather_patch_avx2(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                       const std::size_t (&places)[kPatchPositions], std::int16_t* patch);

}  // namespace duoview
