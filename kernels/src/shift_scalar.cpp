#include <algorithm>

#include "shift_cells.hpp"

namespace duoview {
namespace {

constexpr std::size_t kLanes = 8;  // of the layout

}  // namespace

void add_operators_scalar(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum) {
    for (std::size_t i = 0; i < size; ++i)
        sum[i] = static_cast<std::int16_t>(operators[0][i] + operators[1][i] + operators[2][i] + operators[3][i]);
}

void shift_cell_scalar(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out) {
    for (std::size_t first = 0; first < layout.registers(); first += kBlockRegisters) {
        const std::size_t lanes = std::min(kBlockRegisters, layout.registers() - first) * kLanes;
        std::int32_t sums[kCellPositions][kBlockRegisters * kLanes] = {};
        for (std::size_t pair = 0; pair < layout.pairs(); ++pair) {
            for (std::size_t tap = 0; tap < kShiftTaps; ++tap, weights += 2 * lanes) {
                for (std::size_t at = 0; at < kCellPositions; ++at) {
                    const std::size_t row = tap / kShiftSide + at / kCellSide, column = tap % kShiftSide + at % kCellSide;
                    const std::int16_t* const two = patch + 2 * ((pair * kPatchSide + row) * kPatchSide + column);
                    for (std::size_t lane = 0; lane < lanes; ++lane)
                        sums[at][lane] += two[0] * weights[2 * lane] + two[1] * weights[2 * lane + 1];
                }
            }
        }
        const std::size_t begin = first * kLanes, used = std::min(lanes, layout.channels - begin);
        for (std::size_t lane = 0; lane < used; ++lane)
            for (std::size_t at = 0; at < kCellPositions; ++at)
                out[(begin + lane) * kCellPositions + at] = static_cast<std::int16_t>(shifted_value(sums[at][lane]));
    }
}

void gather_patch_scalar(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                         const std::size_t (&places)[kPatchPositions], std::int16_t* patch) {
    for (std::size_t channel = 0; channel < 2 * layout.pairs(); ++channel) {
        std::int16_t* const to = patch + channel / 2 * kPatchPositions * 2 + channel % 2;
        for (std::size_t i = 0; i < kPatchPositions; ++i)
            to[2 * i] = channel < layout.channels ? planes[channel * plane + places[i]] : std::int16_t{0};
    }
}

}  // namespace duoview
