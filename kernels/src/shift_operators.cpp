#include "shift_operators.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "fixed_point.hpp"
#include "parallel.hpp"

namespace duoview {
namespace {

constexpr std::size_t kJobCells = 64;              // of one kind: adding up their operators is little beside them
constexpr std::size_t kAlignment = 64;             // bytes of a cache line: no load of weights crosses two

// Magnitudes of a column that keep every sum of products, with half a unit for rounding, within 32 bits.
constexpr std::uint64_t kMostMagnitude =
    (std::uint64_t{std::numeric_limits<std::int32_t>::max()} - (1u << (kShiftBits - 1))) / kShiftLimit;

// Numbers of the two operators, along one axis, whose mean is the shift by so many half pixels: the same twice for whole ones.
std::size_t before(int half_pixels) { return static_cast<std::size_t>((half_pixels >> 1) + kShiftReach); }
std::size_t behind(int half_pixels) { return static_cast<std::size_t>(((half_pixels + 1) >> 1) + kShiftReach); }

[[noreturn]] void refuse(int dy, int dx, std::size_t channel, const std::string& what) {
    throw std::invalid_argument("weights: operator of the shift by " + std::to_string(dy) + " half pixels vertically and " +
                                std::to_string(dx) + " horizontally, output channel " + std::to_string(channel) + ": " + what);
}

// That no sum of four weights exceeds 16 bits, and no sum of products 32, whatever the latent: see kMostMagnitude.
void prove(const std::int16_t* weights, std::size_t channels) {
    const std::size_t inputs = channels * kShiftTaps, size = inputs * channels;
    std::vector<std::uint64_t> magnitudes(channels);
    for (int dy = -kInside; dy < kInside; ++dy) {
        for (int dx = -kInside; dx < kInside; ++dx) {
            const std::int16_t* const a = weights + (before(dy) * kShifts + before(dx)) * size;
            const std::int16_t* const b = weights + (before(dy) * kShifts + behind(dx)) * size;
            const std::int16_t* const c = weights + (behind(dy) * kShifts + before(dx)) * size;
            const std::int16_t* const d = weights + (behind(dy) * kShifts + behind(dx)) * size;
            std::fill(magnitudes.begin(), magnitudes.end(), 0);
            for (std::size_t row = 0; row < inputs; ++row) {
                for (std::size_t channel = 0; channel < channels; ++channel) {
                    const std::size_t i = row * channels + channel;
                    const int sum = a[i] + b[i] + c[i] + d[i];
                    if (sum != static_cast<std::int16_t>(sum))
                        refuse(dy, dx, channel, "four added weights are " + std::to_string(sum) + "; -32768..32767 is needed");
                    magnitudes[channel] += static_cast<std::uint64_t>(std::abs(sum));
                }
            }
            for (std::size_t channel = 0; channel < channels; ++channel)
                if (magnitudes[channel] > kMostMagnitude)
                    refuse(dy, dx, channel, "magnitudes of four added weights sum to " + std::to_string(magnitudes[channel]) +
                                                "; up to " + std::to_string(kMostMagnitude) + " cannot overflow");
        }
    }
}

// Puts a matrix (channels * 9, channels) in the order of ShiftLayout; `to` is all 0.
void pack(const ShiftLayout& layout, const std::int16_t* matrix, std::int16_t* to) {
    for (std::size_t first = 0; first < layout.registers(); first += kBlockRegisters) {
        const std::size_t begin = first * layout.lanes;
        const std::size_t lanes = std::min(kBlockRegisters, layout.registers() - first) * layout.lanes;
        const std::size_t used = std::min(lanes, layout.channels - begin);
        for (std::size_t channel = 0; channel < layout.channels; ++channel) {
            for (std::size_t tap = 0; tap < kShiftTaps; ++tap) {
                const std::int16_t* const from = matrix + (channel * kShiftTaps + tap) * layout.channels + begin;
                std::int16_t* const at = to + (channel / 2 * kShiftTaps + tap) * lanes * 2 + channel % 2;
                for (std::size_t lane = 0; lane < used; ++lane) at[2 * lane] = from[lane];
            }
        }
        to += layout.pairs() * kShiftTaps * lanes * 2;
    }
}

std::unique_ptr<std::int16_t[], decltype(&std::free)> aligned(std::size_t elements) {
    const std::size_t bytes = (elements * sizeof(std::int16_t) + kAlignment - 1) / kAlignment * kAlignment;
    void* const memory = std::aligned_alloc(kAlignment, bytes);
    if (!memory) throw std::bad_alloc();
    return {static_cast<std::int16_t*>(memory), &std::free};
}

void check_state(const LatentPlanes& state, std::size_t channels) {
    const std::size_t plane = state.height * state.width, count = channels * plane;
    int least = 0, most = 0;
    for (std::size_t i = 0; i < count; ++i) {
        least = std::min<int>(least, state.values[i]);
        most = std::max<int>(most, state.values[i]);
    }
    if (least >= -kShiftLimit && most <= kShiftLimit) return;
    std::size_t i = 0;
    while (std::abs(int{state.values[i]}) <= kShiftLimit) ++i;
    throw std::invalid_argument(
        "state has " + std::to_string(state.values[i]) + " at channel " + std::to_string(i / plane) + ", row " +
        std::to_string(i % plane / state.width) + ", column " + std::to_string(i % state.width) + "; -" +
        std::to_string(kShiftLimit) + ".." + std::to_string(kShiftLimit) + " is needed");
}

void check_cells(const LatentPlanes& state, const std::vector<ShiftedCell>& cells) {
    const auto rows = static_cast<std::int64_t>(state.height / kCellSide);
    const auto columns = static_cast<std::int64_t>(state.width / kCellSide);
    for (std::size_t i = 0; i < cells.size(); ++i) {
        const ShiftedCell& cell = cells[i];
        if (cell.row < 0 || cell.row >= rows || cell.column < 0 || cell.column >= columns)
            throw std::invalid_argument("cells has row " + std::to_string(cell.row) + ", column " + std::to_string(cell.column) +
                                        " at index " + std::to_string(i) + "; there are " + std::to_string(rows) + " rows and " +
                                        std::to_string(columns) + " columns of cells");
        if (std::abs(int{cell.dy}) > kMaxShift || std::abs(int{cell.dx}) > kMaxShift)
            throw std::invalid_argument("vectors has (" + std::to_string(cell.dy) + ", " + std::to_string(cell.dx) +
                                        ") at index " + std::to_string(i) + "; -" + std::to_string(kMaxShift) + ".." +
                                        std::to_string(kMaxShift) + " half pixels are needed");
    }
}

std::size_t kind_of(const ShiftedCell& cell) { return shift_kind(cell.dy, cell.dx); }

// Places in a plane of the positions around a moved cell; beyond an edge is what is at the edge.
void find_places(const LatentPlanes& state, const ShiftedCell& cell, std::size_t (&places)[kPatchPositions]) {
    const auto clamped = [](std::int64_t at, std::size_t side) {
        return static_cast<std::size_t>(std::clamp<std::int64_t>(at, 0, static_cast<std::int64_t>(side) - 1));
    };
    const std::int64_t top = cell.row * std::int64_t{kCellSide} + whole_positions(cell.dy) - 1;
    const std::int64_t left = cell.column * std::int64_t{kCellSide} + whole_positions(cell.dx) - 1;
    for (std::size_t i = 0; i < kPatchPositions; ++i)
        places[i] = clamped(top + static_cast<std::int64_t>(i / kPatchSide), state.height) * state.width +
                    clamped(left + static_cast<std::int64_t>(i % kPatchSide), state.width);
}

struct Run {
    std::size_t begin, end;  // of the cells sorted by kind
};

}  // namespace

ShiftOperators::ShiftOperators(const std::int16_t* weights, std::size_t channels, const ShiftKernels& kernels)
    : layout_{channels, kernels.lanes}, kernels_(kernels) {
    prove(weights, channels);
    packed_.resize(kShifts * kShifts * layout_.operator_size());
    for (std::size_t i = 0; i < kShifts * kShifts; ++i)
        pack(layout_, weights + i * channels * kShiftTaps * channels, packed_.data() + i * layout_.operator_size());
}

void ShiftOperators::shift(const LatentPlanes& state, const std::vector<ShiftedCell>& cells, std::size_t threads,
                           std::int16_t* out) const {
    check_state(state, layout_.channels);
    check_cells(state, cells);
    const std::size_t size = layout_.channels * kCellPositions;
    each(state, cells, threads, [&](std::size_t i, const std::int16_t* cell) { std::copy_n(cell, size, out + i * size); });
}

void refuse_not_finite(const char* name, const FloatPlanes& planes, std::size_t channels) {
    const std::size_t plane = planes.height * planes.width;
    std::size_t i = 0;
    while (i < channels * plane && std::isfinite(planes.values[i])) ++i;
    if (i == channels * plane) throw std::invalid_argument(std::string(name) + " was not finite, and changed while it was read");
    throw std::invalid_argument(std::string(name) + " is not finite at channel " + std::to_string(i / plane) + ", row " +
                                std::to_string(i % plane / planes.width) + ", column " + std::to_string(i % planes.width));
}

void ShiftOperators::compensate(const FloatPlanes& state, const std::int8_t* vectors, std::size_t threads, float* out) const {
    const std::size_t plane = state.height * state.width, columns = state.width / kCellSide;
    std::copy_n(state.values, layout_.channels * plane, out);
    std::vector<ShiftedCell> cells;
    for (std::size_t i = 0; i < plane / kCellPositions; ++i, vectors += 2) {
        const ShiftedCell cell{static_cast<std::int64_t>(i / columns), static_cast<std::int64_t>(i % columns), vectors[0], vectors[1]};
        if (std::abs(int{cell.dy}) > kMaxShift || std::abs(int{cell.dx}) > kMaxShift)
            throw std::invalid_argument("vectors has (" + std::to_string(cell.dy) + ", " + std::to_string(cell.dx) + ") at row " +
                                        std::to_string(cell.row) + ", column " + std::to_string(cell.column) + "; -" +
                                        std::to_string(kMaxShift) + ".." + std::to_string(kMaxShift) + " half pixels are needed");
        if (cell.dy != 0 || cell.dx != 0) cells.push_back(cell);
    }
    if (cells.empty()) return;
    std::vector<std::int16_t> values(layout_.channels * plane);
    if (!to_fixed_point(state.values, values.size(), kStateBits, kShiftLimit, values.data()))
        refuse_not_finite("state", state, layout_.channels);
    const LatentPlanes planes{values.data(), state.height, state.width};
    each(planes, cells, threads, [&](std::size_t i, const std::int16_t* cell) {
        const auto row = static_cast<std::size_t>(cells[i].row), column = static_cast<std::size_t>(cells[i].column);
        float* const to = out + (row * state.width + column) * kCellSide;
        for (std::size_t k = 0; k < layout_.channels * kCellPositions; ++k)
            to[k / kCellPositions * plane + k % kCellPositions / kCellSide * state.width + k % kCellSide] =
                static_cast<float>(cell[k]) / (1 << kStateBits);
    });
}

std::vector<std::int16_t> ShiftOperators::summed() const {
    const std::size_t channels = layout_.channels, size = layout_.operator_size();
    std::vector<std::int16_t> found(kShiftKinds * layout_.pairs() * kShiftTaps * channels * 2), sum(size);
    std::int16_t* to = found.data();
    for (int dy = -kInside; dy < kInside; ++dy) {
        for (int dx = -kInside; dx < kInside; ++dx) {
            add(dy, dx, sum.data());
            for (std::size_t row = 0; row < layout_.pairs() * kShiftTaps; ++row, to += 2 * channels) {
                const std::int16_t* block = sum.data();
                for (std::size_t first = 0; first < layout_.registers(); first += kBlockRegisters) {
                    const std::size_t begin = first * layout_.lanes;
                    const std::size_t lanes = std::min(kBlockRegisters, layout_.registers() - first) * layout_.lanes;
                    const std::size_t used = std::min(lanes, channels - begin);
                    std::copy_n(block + row * lanes * 2, 2 * used, to + 2 * begin);
                    block += layout_.pairs() * kShiftTaps * lanes * 2;
                }
            }
        }
    }
    return found;
}

void ShiftOperators::add(int dy, int dx, std::int16_t* sum) const {
    const auto of = [&](std::size_t y, std::size_t x) { return packed_.data() + (y * kShifts + x) * layout_.operator_size(); };
    kernels_.add({of(before(dy), before(dx)), of(before(dy), behind(dx)), of(behind(dy), before(dx)), of(behind(dy), behind(dx))},
                 layout_.operator_size(), sum);
}

void ShiftOperators::each(const LatentPlanes& state, const std::vector<ShiftedCell>& cells, std::size_t threads,
                          const TakeCell& take) const {
    // Cells in the order of their kinds, so that operators are added up once for many.
    std::size_t ends[kShiftKinds + 1] = {};
    for (const ShiftedCell& cell : cells) ++ends[kind_of(cell) + 1];
    std::vector<Run> runs;
    for (std::size_t kind = 0; kind < kShiftKinds; ++kind) {
        ends[kind + 1] += ends[kind];
        for (std::size_t begin = ends[kind]; begin < ends[kind + 1]; begin += kJobCells)
            runs.push_back({begin, std::min(begin + kJobCells, ends[kind + 1])});
    }
    std::vector<std::size_t> order(cells.size());
    for (std::size_t i = 0; i < cells.size(); ++i) order[ends[kind_of(cells[i])]++] = i;

    run_parallel(threads, runs.size(), [&](std::size_t job) {
        const auto weights = aligned(layout_.operator_size()), patch = aligned(layout_.patch_size());
        std::vector<std::int16_t> cell(layout_.channels * kCellPositions);
        const ShiftedCell& first = cells[order[runs[job].begin]];
        add(inside_position(first.dy), inside_position(first.dx), weights.get());
        for (std::size_t i = runs[job].begin; i < runs[job].end; ++i) {
            std::size_t places[kPatchPositions];
            find_places(state, cells[order[i]], places);
            kernels_.gather(layout_, state.values, state.height * state.width, places, patch.get());
            kernels_.shift(layout_, patch.get(), weights.get(), cell.data());
            take(order[i], cell.data());
        }
    });
}

}  // namespace duoview
