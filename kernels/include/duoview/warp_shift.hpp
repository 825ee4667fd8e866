// Shifting cells of a latent, and what error vectors would leave in them, by warps: the integers of ShiftOperators and
// ErrorForms on the CPU. No sum leaves 32 bits, as is proved there of the operators and forms, so that no order changes it.
#pragma once

#include <cmath>
#include <cstdint>

#include "duoview/shift_rules.hpp"
#include "duoview/warp.hpp"
#include "duoview/warp_planes.hpp"

namespace duoview {

static constexpr std::uint32_t kShiftOutputs = kWarpLanes / kCellSide;  // channels that a warp shifts, a row of the cell each half
static constexpr std::uint32_t kFormBlocks = 4;  // times 32 channels that an error is measured of

// The number in the lower or upper half of a word.
DUOVIEW_HD std::int32_t half_of(std::uint32_t word, std::uint32_t which) {
    return static_cast<std::int16_t>(static_cast<std::uint16_t>(word >> (16 * which)));
}

// Two inputs times their weights.
DUOVIEW_HD std::int32_t two_products(std::uint32_t inputs, std::uint32_t weights) {
    return half_of(inputs, 0) * half_of(weights, 0) + half_of(inputs, 1) * half_of(weights, 1);
}

// A latent (channels, positions) in 1/64: two channels in a word, the even one below, 0 beside the last of an odd number. What
// is not finite is a fault.
struct RoundLatent {
    const float* values;
    std::uint32_t* rounded;  // (pairs, positions)
    std::uint64_t channels;
    std::uint64_t positions;
    std::uint64_t limit;     // of the magnitude
    std::uint64_t fault;     // a DeviceFault
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER std::uint32_t one(const Warp& warp, std::uint64_t i) const {
        const float value = values[i];
        if (!(value - value == 0.0f)) warp.atomic_min(error, error_word(static_cast<DeviceFault>(fault), i));
        return static_cast<std::uint16_t>(
            nearest_within(value * static_cast<float>(1 << kStateBits), static_cast<float>(limit)));
    }

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, (channels + 1) / 2 * positions, item, [&](std::uint64_t i) {
            const std::uint64_t channel = i / positions * 2, at = channel * positions + i % positions;
            rounded[i] = one(warp, at) | (channel + 1 < channels ? one(warp, at + positions) << 16 : 0u);
        });
    }
};

// Places in a plane of the positions around some rows of a shifted cell; beyond an edge is what is at the edge.
template <std::uint32_t Rows>
struct PatchPlaces {
    static constexpr std::uint32_t kRows = Rows + kShiftSide - 1, kColumns = kPatchSide;
    std::uint64_t rows[kRows], columns[kColumns];

    DUOVIEW_WARP_MEMBER static std::uint64_t inside(std::int64_t at, std::uint64_t side) {
        return at < 0 ? 0 : static_cast<std::uint64_t>(at) < side ? static_cast<std::uint64_t>(at) : side - 1;
    }

    // top, left: of the cell's first position here, before it is shifted.
    DUOVIEW_WARP_MEMBER PatchPlaces(std::uint64_t top, std::uint64_t left, int dy, int dx, std::uint64_t height,
                                    std::uint64_t width) {
        DUOVIEW_UNROLL
        for (std::uint32_t y = 0; y < kRows; ++y)
            rows[y] = inside(static_cast<std::int64_t>(top + y) + whole_positions(dy) - 1, height) * width;
        DUOVIEW_UNROLL
        for (std::uint32_t x = 0; x < kColumns; ++x)
            columns[x] = inside(static_cast<std::int64_t>(left + x) + whole_positions(dx) - 1, width);
    }
};

// One output channel of rows of a shifted cell: sums of products, to be rounded. state: (pairs, plane). weights: at that
// channel of the vector's matrix (pairs, 9, channels).
template <std::uint32_t Rows>
DUOVIEW_WARP void shift_rows(const std::uint32_t* state, std::uint64_t plane, const std::uint32_t* weights, std::uint64_t channels,
                             const PatchPlaces<Rows>& places, std::int32_t (&sums)[Rows * kCellSide]) {
    using Places = PatchPlaces<Rows>;
    DUOVIEW_UNROLL
    for (std::uint32_t at = 0; at < Rows * kCellSide; ++at) sums[at] = 0;
    for (std::uint64_t pair = 0; pair < (channels + 1) / 2; ++pair, state += plane, weights += kShiftTaps * channels) {
        std::uint32_t patch[Places::kRows * Places::kColumns];
        DUOVIEW_UNROLL
        for (std::uint32_t i = 0; i < Places::kRows * Places::kColumns; ++i)
            patch[i] = state[places.rows[i / Places::kColumns] + places.columns[i % Places::kColumns]];
        DUOVIEW_UNROLL
        for (std::uint32_t tap = 0; tap < kShiftTaps; ++tap) {
            const std::uint32_t weight = weights[tap * channels];
            DUOVIEW_UNROLL
            for (std::uint32_t at = 0; at < Rows * kCellSide; ++at) {
                const std::uint32_t row = tap / kShiftSide + at / kCellSide, column = tap % kShiftSide + at % kCellSide;
                sums[at] += two_products(patch[row * Places::kColumns + column], weight);
            }
        }
    }
}

// Puts what comes to moved cells into `out`, which holds the latent as it was. A warp does 16 channels of a cell: neighbouring
// lanes read weights side by side, and all of them the same positions.
struct CompensateCells {
    const std::uint32_t* state;      // (pairs, height, width)
    const std::int8_t* vectors;      // (height / 2, width / 2, 2)
    const std::uint32_t* operators;  // (256, pairs, 9, channels)
    float* out;                      // (channels, height, width)
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t blocks = (channels + kShiftOutputs - 1) / kShiftOutputs, across = width / kCellSide;
        const std::uint64_t cell = item / blocks, first = item % blocks * kShiftOutputs, plane = height * width;
        const int dy = vectors[2 * cell], dx = vectors[2 * cell + 1];
        if (dy == 0 && dx == 0) return;
        const bool beyond = dy < -kMaxShift || dy > kMaxShift || dx < -kMaxShift || dx > kMaxShift;
        const std::uint32_t* const matrix = operators + shift_kind(dy, dx) * ((channels + 1) / 2) * kShiftTaps * channels;
        warp.each([&](std::uint32_t lane) {
            if (beyond && lane == 0) warp.atomic_min(error, error_word(DeviceFault::vector_range, cell));
            const std::uint64_t output = first + lane % kShiftOutputs;
            if (output >= channels) return;
            const std::uint64_t row = cell / across * kCellSide + lane / kShiftOutputs, column = cell % across * kCellSide;
            const PatchPlaces<1> places(row, column, dy, dx, height, width);
            std::int32_t sums[kCellSide];
            shift_rows<1>(state, plane, matrix + output, channels, places, sums);
            float* const to = out + output * plane + row * width + column;
            DUOVIEW_UNROLL
            for (std::uint32_t x = 0; x < kCellSide; ++x)
                to[x] = static_cast<float>(shifted_value(sums[x])) / static_cast<float>(1 << kStateBits);
        });
    }
};

// The error that an offered vector would leave in its cell; a warp does one, a lane every 32nd channel. Infinite for what was
// offered to the cell before, and in cells that are offered nothing but 0.
struct VectorErrors {
    const std::uint32_t* wanted;     // (pairs, height, width)
    const std::uint32_t* state;      // the same shape
    const std::int8_t* offered;      // (count, height / 2, width / 2, 2)
    const std::uint32_t* operators;  // (256, pairs, 9, channels)
    const std::int16_t* forms;       // (2, channels, channels)
    float* errors;                   // (count, height / 2, width / 2)
    std::uint64_t count;
    std::uint64_t channels;          // up to 32 * kFormBlocks
    std::uint64_t height;
    std::uint64_t width;
    double unit;                     // of errors, a power of two
    std::uint64_t* error;

    using Parts = PerLane<std::int32_t>[kCellPositions][kFormBlocks];

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t across = width / kCellSide, cells = height / kCellSide * across;
        const std::uint64_t number = item / cells, cell = item % cells;
        const std::int8_t* const own = offered + 2 * item;
        const int dy = own[0], dx = own[1];
        bool moves = false, is_new = true;
        for (std::uint64_t k = 0; k < count; ++k) {
            const std::int8_t* const other = offered + 2 * (k * cells + cell);
            moves = moves || other[0] != 0 || other[1] != 0;
            is_new = is_new && (k >= number || other[0] != own[0] || other[1] != own[1]);
        }
        if (!moves || !is_new) {
            warp.each([&](std::uint32_t lane) {
                if (lane == 0) errors[item] = HUGE_VALF;
            });
            return;
        }
        if (dy < -kMaxShift || dy > kMaxShift || dx < -kMaxShift || dx > kMaxShift)
            warp.each([&](std::uint32_t lane) {
                if (lane == 0) warp.atomic_min(error, error_word(DeviceFault::offered_range, item));
            });
        Parts parts;
        find_parts(warp, cell / across * kCellSide, cell % across * kCellSide, dy, dx, parts);
        PerLane<std::uint64_t> totals;
        weigh(warp, parts, totals);
        const std::int64_t total = static_cast<std::int64_t>(warp.exclusive_sum(totals));
        warp.each([&](std::uint32_t lane) {
            if (lane == 0)
                errors[item] = static_cast<float>(static_cast<double>(total) * unit);
        });
    }

    // The Haar transform of what a cell lacks, its sum last, in every lane's channels.
    DUOVIEW_WARP_MEMBER void find_parts(const Warp& warp, std::uint64_t top, std::uint64_t left, int dy, int dx, Parts& parts) const {
        const std::uint64_t plane = height * width;
        const std::uint32_t* const matrix = operators + shift_kind(dy, dx) * ((channels + 1) / 2) * kShiftTaps * channels;
        warp.each([&](std::uint32_t lane) {
            const PatchPlaces<kCellSide> places(top, left, dy, dx, height, width);
            DUOVIEW_UNROLL
            for (std::uint32_t block = 0; block < kFormBlocks; ++block) {
                const std::uint64_t channel = block * kWarpLanes + lane;
                std::int32_t d[kCellPositions] = {}, sums[kCellPositions];
                if (channel < channels) {
                    const std::uint64_t begin = channel / 2 * plane + top * width + left;
                    const std::uint32_t which = static_cast<std::uint32_t>(channel % 2);
                    const bool still = dy == 0 && dx == 0;
                    if (!still) shift_rows<kCellSide>(state, plane, matrix + channel, channels, places, sums);
                    DUOVIEW_UNROLL
                    for (std::uint32_t at = 0; at < kCellPositions; ++at) {
                        const std::uint64_t place = begin + at / kCellSide * width + at % kCellSide;
                        d[at] = half_of(wanted[place], which) -
                                (still ? half_of(state[place], which) : static_cast<std::int32_t>(shifted_value(sums[at])));
                    }
                }
                parts[0][block][lane] = d[0] + d[1] - d[2] - d[3];
                parts[1][block][lane] = d[0] - d[1] + d[2] - d[3];
                parts[2][block][lane] = d[0] - d[1] - d[2] + d[3];
                parts[3][block][lane] = d[0] + d[1] + d[2] + d[3];
            }
        });
    }

    // The forms of the parts, in every lane of its own channels as outputs.
    DUOVIEW_WARP_MEMBER void weigh(const Warp& warp, const Parts& parts, PerLane<std::uint64_t>& totals) const {
        Parts sums;
        warp.each([&](std::uint32_t lane) {
            totals[lane] = 0;
            DUOVIEW_UNROLL
            for (std::uint32_t i = 0; i < kCellPositions * kFormBlocks; ++i) sums[i / kFormBlocks][i % kFormBlocks][lane] = 0;
        });
        DUOVIEW_UNROLL
        for (std::uint32_t from = 0; from < kFormBlocks; ++from) {
            for (std::uint32_t source = 0; source < kWarpLanes && from * kWarpLanes + source < channels; ++source) {
                std::int32_t input[kCellPositions];
                DUOVIEW_UNROLL
                for (std::uint32_t part = 0; part < kCellPositions; ++part) input[part] = warp.broadcast(parts[part][from], source);
                warp.each([&](std::uint32_t lane) {
                    const std::int16_t* const apart = forms + (from * kWarpLanes + source) * channels;
                    const std::int16_t* const mean = apart + channels * channels;
                    DUOVIEW_UNROLL
                    for (std::uint32_t block = 0; block < kFormBlocks; ++block) {
                        const std::uint64_t output = block * kWarpLanes + lane;
                        if (output >= channels) continue;
                        DUOVIEW_UNROLL
                        for (std::uint32_t part = 0; part < kCellPositions; ++part)
                            sums[part][block][lane] += input[part] * (part + 1 < kCellPositions ? apart : mean)[output];
                    }
                });
            }
        }
        warp.each([&](std::uint32_t lane) {
            DUOVIEW_UNROLL
            for (std::uint32_t i = 0; i < kCellPositions * kFormBlocks; ++i) {
                const std::uint32_t part = i / kFormBlocks, block = i % kFormBlocks;
                totals[lane] += static_cast<std::uint64_t>(std::int64_t{sums[part][block][lane]} * parts[part][block][lane]);
            }
        });
    }
};

}  // namespace duoview
