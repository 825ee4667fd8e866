// Shifting cells of a latent: every path and any number of threads give, for any cells and vectors, what the definition gives
// in 64 bits, or the same error; an error is due exactly where a sum could overflow or something is out of its range. A latent
// that is moved as a whole is the same by a GPU's warps, lane by lane.
//
// Input: channels (1 byte, picks one of 1, 2, 3, 7, 8, 9, 17 and 25), rows, columns (1 each, of 0..4 cells), mode (1: bit 0
// leaves weights as they come, bit 1 the latent, bit 2 cells and vectors), cells (1, of 0..15), row, column, dy, dx of each (1
// each, signed), numbers of a pattern (1), those of the weights (2 each, signed), the rest that of the latent.
#include "shift_operators.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "input.hpp"
#include "palette_calls.hpp"
#include "warp_run.hpp"

namespace {

constexpr std::size_t kChannels[] = {1, 2, 3, 7, 8, 9, 17, 25};

int sized(int value, int limit) { return value % (limit + 1); }

// Four added weights of a shift within a position: (channels * 9, channels), by input, then output channel.
class Mean {
public:
    Mean(const fuzz::Array<std::int16_t>& weights, std::size_t channels, int dy, int dx) : channels_(channels) {
        for (int i = 0; i < 4; ++i) {  // of half pixels the two whole ones around them: of even ones the same twice
            const int y = ((dy + i / 2) >> 1) + 4, x = ((dx + i % 2) >> 1) + 4;
            parts_[i] = weights.data() + static_cast<std::size_t>(y * 9 + x) * 9 * channels * channels;
        }
    }

    std::int64_t at(std::size_t input, std::size_t output) const {
        const std::size_t i = input * channels_ + output;
        return std::int64_t{parts_[0][i]} + parts_[1][i] + parts_[2][i] + parts_[3][i];
    }

    bool fits() const {
        for (std::size_t output = 0; output < channels_; ++output) {
            std::int64_t magnitude = 0;
            for (std::size_t input = 0; input < channels_ * 9; ++input) {
                const std::int64_t sum = at(input, output);
                if (sum < -32768 || sum > 32767) return false;
                magnitude += std::abs(sum);
            }
            if (magnitude * 1024 + 1024 >= std::int64_t{1} << 31) return false;
        }
        return true;
    }

private:
    std::size_t channels_;
    const std::int16_t* parts_[4];
};

bool all_fit(const fuzz::Array<std::int16_t>& weights, std::size_t channels) {
    for (int dy = -8; dy < 8; ++dy)
        for (int dx = -8; dx < 8; ++dx)
            if (!Mean(weights, channels, dy, dx).fits()) return false;
    return true;
}

std::int64_t floor_divided(std::int64_t value, std::int64_t by) { return (value - ((value % by) + by) % by) / by; }

std::int64_t defined(const fuzz::Array<std::int16_t>& weights, std::size_t channels, const duoview::LatentPlanes& state,
                     const duoview::ShiftedCell& cell, std::size_t output, std::size_t position) {
    const std::int64_t down = floor_divided(cell.dy + 8, 16), right = floor_divided(cell.dx + 8, 16);
    const Mean mean(weights, channels, static_cast<int>(cell.dy - 16 * down), static_cast<int>(cell.dx - 16 * right));
    std::int64_t sum = 1024;
    for (std::size_t input = 0; input < channels * 9; ++input) {
        const std::int64_t row = 2 * cell.row + static_cast<std::int64_t>(position / 2 + input % 9 / 3) + down - 1;
        const std::int64_t column = 2 * cell.column + static_cast<std::int64_t>(position % 2 + input % 3) + right - 1;
        const auto y = static_cast<std::size_t>(std::clamp<std::int64_t>(row, 0, static_cast<std::int64_t>(state.height) - 1));
        const auto x = static_cast<std::size_t>(std::clamp<std::int64_t>(column, 0, static_cast<std::int64_t>(state.width) - 1));
        sum += state.values[(input / 9 * state.height + y) * state.width + x] * mean.at(input, output);
    }
    return std::clamp<std::int64_t>(floor_divided(sum, 2048), -1024, 1024);
}

// A latent as the vectors of its cells move it, by the CPU and by what kernels/cuda_shift.py launches.
void compensate_both(const duoview::ShiftOperators& operators, const duoview::LatentPlanes& state,
                     const std::vector<duoview::ShiftedCell>& cells) {
    using namespace duoview;
    const std::uint64_t channels = operators.channels(), positions = state.height * state.width, pairs = operators.pairs();
    fuzz::Array<std::int8_t> vectors(positions / kCellPositions * 2);
    for (std::size_t i = 0; i < vectors.size(); ++i) vectors[i] = 0;
    for (const ShiftedCell& cell : cells) {
        const std::size_t at = static_cast<std::size_t>(cell.row) * state.width / kCellSide + static_cast<std::size_t>(cell.column);
        vectors[2 * at] = cell.dy;
        vectors[2 * at + 1] = cell.dx;
    }
    fuzz::Array<float> latent(channels * positions), expected(latent.size()), found(latent.size());
    for (std::size_t i = 0; i < latent.size(); ++i) found[i] = latent[i] = static_cast<float>(state.values[i]) / (1 << kStateBits);
    operators.compensate({latent.data(), state.height, state.width}, vectors.data(), 1, expected.data());
    fuzz::Array<std::uint32_t> rounded(pairs * positions);
    const std::vector<std::int16_t> summed = operators.summed();
    std::vector<std::uint32_t> table(summed.size() / 2);
    std::memcpy(table.data(), summed.data(), summed.size() * sizeof(std::int16_t));
    std::uint64_t error = kNoError;
    fuzz::run(RoundLatent{latent.data(), rounded.data(), channels, positions, kShiftLimit,
                          static_cast<std::uint64_t>(DeviceFault::state_not_finite), &error}, tiles_of(rounded.size()));
    fuzz::run(CompensateCells{rounded.data(), vectors.data(), table.data(), found.data(), channels, state.height, state.width, &error},
              vectors.size() / 2 * ((channels + kShiftOutputs - 1) / kShiftOutputs));
    fuzz::require(error == kNoError && found == expected, "warps move a latent as threads do");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::size_t channels = kChannels[input.number<std::uint8_t>() % 8];
    const int rows = input.number<std::uint8_t>() % 5, columns = input.number<std::uint8_t>() % 5;
    const std::uint8_t mode = input.number<std::uint8_t>();
    std::vector<duoview::ShiftedCell> cells(input.number<std::uint8_t>() % 16);
    bool possible = true;
    for (duoview::ShiftedCell& cell : cells) {
        int row = input.number<std::int8_t>(), column = input.number<std::int8_t>();
        int dy = input.number<std::int8_t>(), dx = input.number<std::int8_t>();
        if (!(mode & 4)) {
            row = rows ? std::abs(row) % rows : 0;
            column = columns ? std::abs(column) % columns : 0;
            dy = sized(dy, 64);
            dx = sized(dx, 64);
        }
        cell = {row, column, static_cast<std::int8_t>(dy), static_cast<std::int8_t>(dx)};
        possible = possible && row >= 0 && row < rows && column >= 0 && column < columns && std::abs(dy) <= 64 && std::abs(dx) <= 64;
    }
    std::vector<std::int16_t> pattern(1 + input.number<std::uint8_t>());
    for (std::int16_t& number : pattern) number = input.number<std::int16_t>();
    fuzz::Array<std::int16_t> weights(81 * channels * 9 * channels);
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const int number = pattern[i % pattern.size()];
        weights[i] = static_cast<std::int16_t>(mode & 1 ? number : sized(number, 2000));
    }
    const std::vector<std::uint8_t> rest = input.rest();
    const std::size_t height = 2 * static_cast<std::size_t>(rows), width = 2 * static_cast<std::size_t>(columns);
    fuzz::Array<std::int16_t> values(channels * height * width);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto byte = [&](std::size_t k) { return rest.size() < 2 ? 0 : rest[k % (rest.size() / 2 * 2)]; };
        const auto number = static_cast<std::int16_t>(byte(2 * i) | byte(2 * i + 1) << 8);
        values[i] = static_cast<std::int16_t>(mode & 2 ? int{number} : sized(number, 1024));
        possible = possible && std::abs(int{values[i]}) <= 1024;
    }

    const duoview::LatentPlanes state{values.data(), height, width};
    const bool fits = all_fit(weights, channels);
    fuzz::Array<std::int16_t> expected(cells.size() * channels * 4);
    for (std::size_t i = 0; fits && possible && i < expected.size(); ++i)
        expected[i] = static_cast<std::int16_t>(defined(weights, channels, state, cells[i / 4 / channels], i / 4 % channels, i % 4));
    std::string first;
    for (const std::string& path : duoview::all_paths()) {
        std::unique_ptr<duoview::ShiftOperators> operators;
        std::string error = fuzz::error_of([&] {
            operators = std::make_unique<duoview::ShiftOperators>(weights.data(), channels, duoview::choose_shift(path));
        });
        fuzz::require(error.empty() == fits, "operators are refused exactly where a sum could overflow", path);
        if (operators && possible && first.empty()) compensate_both(*operators, state, cells);
        for (std::size_t threads = 1; operators && threads <= 3; threads += 2) {
            fuzz::Array<std::int16_t> found(expected.size());
            error = fuzz::error_of([&] { operators->shift(state, cells, threads, found.data()); });
            fuzz::require(error.empty() == possible, "an error is due exactly where something is out of range", path);
            if (error.empty()) fuzz::require(found == expected, "cells are as defined", path);
        }
        if (first.empty()) first = error;
        fuzz::require(error == first, "every path has the same error", path);
    }
    return 0;
}
