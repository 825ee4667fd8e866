// Shift operators of a latent: for every shift by whole pixels a matrix from 3x3 neighbours to what a position becomes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "dispatch.hpp"

namespace duoview {

constexpr int kShiftReach = 4;                     // whole pixels that operators go, up and down, left and right
constexpr std::size_t kShifts = 2 * kShiftReach + 1;

// A cell of 2x2 positions, and what comes to it: half pixels down and to the right of it.
struct ShiftedCell {
    std::int64_t row, column;
    std::int8_t dy, dx;
};

struct LatentPlanes {
    const std::int16_t* values;  // (channels, height, width) in 1/64, within +-kShiftLimit
    std::size_t height, width;   // multiples of kCellSide
};

// The same in floats.
struct FloatPlanes {
    const float* values;
    std::size_t height, width;
};

// Throws std::invalid_argument naming the first number that is not finite; `name` is what the planes are. Their owner may be
// writing to them meanwhile: where all are finite by now, it says that.
[[noreturn]] void refuse_not_finite(const char* name, const FloatPlanes& planes, std::size_t channels);

// Holds the operators in the order in which they are multiplied. Safe to use from several threads at once.
class ShiftOperators {
public:
    // `weights`: (kShifts, kShifts, channels * 9, channels) in 1/512, inputs by channel, then neighbour. Throws
    // std::invalid_argument naming the shift if the weights of four added operators do not fit 16 bits, or could take a sum
    // of products beyond 32.
    ShiftOperators(const std::int16_t* weights, std::size_t channels, const ShiftKernels& kernels);

    std::size_t channels() const { return layout_.channels; }

    // Writes (cells, channels, 2, 2). Throws std::invalid_argument for a value, cell or vector out of range.
    void shift(const LatentPlanes& state, const std::vector<ShiftedCell>& cells, std::size_t threads, std::int16_t* out) const;

    // Writes `out` of the state's shape, in floats of 1/64: where `vectors` (height / 2, width / 2, 2) of half pixels down and to
    // the right are 0 the state as it is, elsewhere what shift() gives for it, rounded to 1/64 and kept within the limit. Throws
    // std::invalid_argument for a vector out of range and, where one is not 0, for a state that is not finite.
    void compensate(const FloatPlanes& state, const std::int8_t* vectors, std::size_t threads, float* out) const;

    // The operators as devices read them, added up: (kShiftKinds, pairs(), 9 taps, channels, 2 channels of the input).
    std::vector<std::int16_t> summed() const;
    std::size_t pairs() const { return layout_.pairs(); }

    // Hands every cell (channels, 2, 2) over by its index, in no order and from several threads. What shift() checks has to hold.
    using TakeCell = std::function<void(std::size_t index, const std::int16_t* cell)>;
    void each(const LatentPlanes& state, const std::vector<ShiftedCell>& cells, std::size_t threads, const TakeCell& take) const;

private:
    // Adds the four operators of a shift by half pixels within a position, in the order of ShiftLayout.
    void add(int dy, int dx, std::int16_t* sum) const;

    ShiftLayout layout_;
    ShiftKernels kernels_;
    std::vector<std::int16_t> packed_;
};

}  // namespace duoview
