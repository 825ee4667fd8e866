// The inner loops of shifting a latent: adding up operators, and multiplying the neighbourhood of a cell by the sum.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/shift_rules.hpp"

namespace duoview {

constexpr std::size_t kBlockRegisters = 3;  // 4 positions times 3 sums, 3 weights and an input are 16 registers

// Where numbers are. A patch is (pairs, 16 positions, 2 channels); an operator is cut into blocks of three registers of
// outputs, the last one of less, and a block is (pairs, 9 taps, outputs, 2 channels). What pads channels to pairs and outputs
// to whole registers is 0. lanes: outputs of a register, 8 or 16 as the path is.
struct ShiftLayout {
    std::size_t channels, lanes;

    std::size_t pairs() const { return (channels + 1) / 2; }
    std::size_t registers() const { return (channels + lanes - 1) / lanes; }
    std::size_t patch_size() const { return pairs() * kPatchPositions * 2; }
    std::size_t operator_size() const { return pairs() * kShiftTaps * registers() * lanes * 2; }
};

// Adds four arrays of `size` elements, a multiple of twice the lanes, which may be the same. Sums fit 16 bits.
using AddOperatorsFunction = void (*)(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum);

// Writes the cell (channels, 2, 2) made of a patch by four added operators, rounded once, within +-kShiftLimit.
using ShiftCellFunction = void (*)(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights,
                                   std::int16_t* out);

// Writes the patch of planes of `plane` elements; `places` are those of its positions in a plane.
using GatherPatchFunction = void (*)(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                                     const std::size_t (&places)[kPatchPositions], std::int16_t* patch);

void add_operators_scalar(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum);
void add_operators_avx2(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum);
void add_operators_vnni(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum);
// These are for 8 lanes, those of vnni for 16.
void shift_cell_scalar(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out);
void shift_cell_avx2(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out);
void shift_cell_vnni(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out);
void gather_patch_scalar(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                         const std::size_t (&places)[kPatchPositions], std::int16_t* patch);
void gather_patch_avx2(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                       const std::size_t (&places)[kPatchPositions], std::int16_t* patch);

}  // namespace duoview
