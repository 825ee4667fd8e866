// The inner loop of the error that a latent's error makes in the picture: two quadratic forms at the positions of a block.
#pragma once

#include <cstddef>
#include <cstring>

namespace duoview {

constexpr std::size_t kBlockColumns = 8, kBlockRows = 2;  // positions of a block, side by side in registers
constexpr std::size_t kBlockPositions = kBlockColumns * kBlockRows;
constexpr std::size_t kAroundRows = kBlockRows + 2, kAroundColumns = kBlockColumns + 2;  // with what is next to them

// A block of a latent's error and what it is seen with. What lies outside of the latent is 0.
struct PictureBlock {
    const float* error[kAroundRows];  // of channel 0, rows from the one above the block on, at its first column; read from one
                                      // column before it to one behind it
    const float* less[kAroundRows];   // what has to be taken from it to be the error; all null for nothing
    std::size_t plane, channels;      // elements from a channel to the next one
    const float* weights;             // (2, channels, channels), by input, then output
    const float* shares;              // (kBlockPositions): one over how many of the 3x3 around each position are inside
};

// Elements of `room` that a block needs.
constexpr std::size_t picture_room(std::size_t channels) { return 2 * channels * kBlockPositions; }

// Writes d' A d + m' B m at each position of a block, m the mean over the 3x3 around it and d the error there less m. Every
// position is added up alone, in float32, in the order of channels: (A d)_o over inputs, then d_o times that over outputs. So the
// result is the same on every path. `room` is for what comes between, of picture_room().
using PictureFormFunction = void (*)(const PictureBlock& block, float* room, float (&out)[kBlockPositions]);

void picture_form_scalar(const PictureBlock& block, float* room, float (&out)[kBlockPositions]);
void picture_form_avx2(const PictureBlock& block, float* room, float (&out)[kBlockPositions]);
void picture_form_avx512(const PictureBlock& block, float* room, float (&out)[kBlockPositions]);

// Written once. `Wide` and `Row` are vectors of floats of the compiler's, of which the file that uses them says how wide they
// are: the widest there is, and one within a row of a block. Outputs: as many at once as sums fit registers.
template <typename Wide, typename Row, std::size_t Outputs>
struct PictureForm {
    static constexpr std::size_t kWide = sizeof(Wide) / sizeof(float), kVectors = kBlockPositions / kWide;
    static constexpr std::size_t kRow = sizeof(Row) / sizeof(float);
    static_assert(kBlockPositions % kWide == 0 && kBlockColumns % kRow == 0, "vectors are within a block, and within a row");

    static void find(const PictureBlock& block, float* room, float (&out)[kBlockPositions]) {
        const std::size_t size = block.channels * kBlockPositions, matrix = block.channels * block.channels;
        if (block.less[0]) split<true>(block, room, room + size);
        else split<false>(block, room, room + size);
        float mean[kBlockPositions];
        run(room, block.weights, block.channels, out);
        run(room + size, block.weights + matrix, block.channels, mean);
        for (std::size_t i = 0; i < kBlockPositions; ++i) out[i] += mean[i];
    }

private:
    template <typename Vector>
    static Vector load(const float* p) {
        Vector vector;  // one at a time: compilers copy an array of them piece by piece
        std::memcpy(&vector, p, sizeof vector);
        return vector;
    }

    // The mean over the 3x3 around each position, of what is inside, and what is beside it: (channels, positions) each.
    template <bool Less>
    static void split(const PictureBlock& block, float* beside, float* flat) {
        for (std::size_t channel = 0; channel < block.channels; ++channel) {
            for (std::size_t x = 0; x < kBlockColumns; x += kRow) {
                const std::size_t at = channel * block.plane + x;
                const auto error = [&](std::size_t row, std::ptrdiff_t beside_it) {
                    const Row value = load<Row>(block.error[row] + at + beside_it);
                    if constexpr (Less) return value - load<Row>(block.less[row] + at + beside_it);
                    else return value;
                };
                Row own[kBlockRows], sums[kBlockRows];
                const auto add_column = [&](std::ptrdiff_t beside_it) {
                    const Row above = error(0, beside_it), first = error(1, beside_it), second = error(2, beside_it),
                              below = error(3, beside_it);
                    const Row columns[kBlockRows] = {(first + above) + second, (second + first) + below};
                    for (std::size_t y = 0; y < kBlockRows; ++y) sums[y] = beside_it == 0 ? columns[y] : sums[y] + columns[y];
                    if (beside_it == 0) {
                        own[0] = first;
                        own[1] = second;
                    }
                };
                add_column(0);
                add_column(-1);
                add_column(1);
                for (std::size_t y = 0; y < kBlockRows; ++y) {
                    const std::size_t to = channel * kBlockPositions + y * kBlockColumns + x;
                    const Row mean = sums[y] * load<Row>(block.shares + y * kBlockColumns + x), rest = own[y] - mean;
                    std::memcpy(flat + to, &mean, sizeof mean);
                    std::memcpy(beside + to, &rest, sizeof rest);
                }
            }
        }
    }

    template <std::size_t Count>
    static void add(const float* x, const float* weights, std::size_t channels, std::size_t first, float* total) {
        Wide sums[Count][kVectors] = {};
        for (std::size_t input = 0; input < channels; ++input) {
            Wide values[kVectors];
#pragma GCC unroll 4
            for (std::size_t i = 0; i < kVectors; ++i) values[i] = load<Wide>(x + input * kBlockPositions + i * kWide);
#pragma GCC unroll 24
            for (std::size_t output = 0; output < Count; ++output) {
                const float weight = weights[input * channels + first + output];
#pragma GCC unroll 4
                for (std::size_t i = 0; i < kVectors; ++i) sums[output][i] += values[i] * weight;
            }
        }
#pragma GCC unroll 4
        for (std::size_t i = 0; i < kVectors; ++i) {
            Wide sum = load<Wide>(total + i * kWide);
#pragma GCC unroll 24
            for (std::size_t output = 0; output < Count; ++output)
                sum += load<Wide>(x + (first + output) * kBlockPositions + i * kWide) * sums[output][i];
            std::memcpy(total + i * kWide, &sum, sizeof sum);
        }
    }

    static void run(const float* x, const float* weights, std::size_t channels, float* out) {
        std::memset(out, 0, kBlockPositions * sizeof *out);
        std::size_t first = 0;
        for (; first + Outputs <= channels; first += Outputs) add<Outputs>(x, weights, channels, first, out);
        for (; first < channels; ++first) add<1>(x, weights, channels, first, out);
    }
};

}  // namespace duoview
