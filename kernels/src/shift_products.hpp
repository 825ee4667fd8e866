// Shifting a latent by sums of products in registers, written once: `Products` are those of a path, which also says how sums of
// the four positions of a cell become outputs.
#pragma once

#include <algorithm>
#include <cstring>

#include "shift_cells.hpp"

namespace duoview {

template <typename Products>
struct ShiftProducts {
    using Register = typename Products::Register;
    static constexpr std::size_t kLanes = Products::kLanes, kRegister = 2 * kLanes;  // elements of 16 bits

    // Writes the outputs of a register as (lanes, 4) int16, rounded and bounded.
    using Finish = void (*)(const Register (&sums)[kCellPositions], std::int16_t (&out)[kLanes * kCellPositions]);

    static void add(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum) {
        const std::int16_t *const a = operators[0], *const b = operators[1], *const c = operators[2], *const d = operators[3];
        const auto all = [&](const auto& of) {
            for (std::size_t i = 0; i < size; i += kRegister) Products::store(sum + i, of(i));
        };
        const auto both = [](const std::int16_t* one, const std::int16_t* other) {
            return Products::add16(Products::load(one), Products::load(other));
        };
        // Reading them is what takes time: where two are the same twice, or all four, each is read once.
        if ((a == b && c == d) || (a == c && b == d)) {
            all([&](std::size_t i) {
                const Register half = both(a + i, d + i);
                return Products::add16(half, half);
            });
        } else {
            all([&](std::size_t i) { return Products::add16(both(a + i, b + i), both(c + i, d + i)); });
        }
    }

    template <Finish finish>
    static void shift(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out) {
        std::size_t left = layout.registers(), begin = 0;
        for (; left >= kBlockRegisters; left -= kBlockRegisters, begin += kBlockRegisters * kLanes)
            weights = block<kBlockRegisters, finish>(layout, patch, weights, begin, out);
        if (left == 2) block<2, finish>(layout, patch, weights, begin, out);
        if (left == 1) block<1, finish>(layout, patch, weights, begin, out);
    }

private:
    template <std::size_t Registers, Finish finish>
    static const std::int16_t* block(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights,
                                     std::size_t begin, std::int16_t* out) {
        Register sums[Registers][kCellPositions];
        for (auto& of : sums)
            for (Register& sum : of) sum = Products::zero();
        for (std::size_t pair = 0; pair < layout.pairs(); ++pair, patch += 2 * kPatchPositions) {
#pragma GCC unroll 9
            for (std::size_t tap = 0; tap < kShiftTaps; ++tap, weights += Registers * kRegister) {
                const std::int16_t* const corner = patch + 2 * (tap / kShiftSide * kPatchSide + tap % kShiftSide);
                Register factors[Registers];
                for (std::size_t r = 0; r < Registers; ++r) factors[r] = Products::load(weights + r * kRegister);
                for (std::size_t at = 0; at < kCellPositions; ++at) {
                    const Register two = Products::spread(corner + 2 * (at / kCellSide * kPatchSide + at % kCellSide));
                    for (std::size_t r = 0; r < Registers; ++r)
                        sums[r][at] = Products::add_products(sums[r][at], two, factors[r]);
                }
            }
        }
        for (std::size_t r = 0; r < Registers; ++r) {
            std::int16_t found[kLanes * kCellPositions];
            finish(sums[r], found);
            const std::size_t first = begin + r * kLanes, used = std::min(kLanes, layout.channels - first);
            std::memcpy(out + first * kCellPositions, found, used * kCellPositions * sizeof *out);
        }
        return weights;
    }
};

}  // namespace duoview
