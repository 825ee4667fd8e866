// The inner loop of the error that a latent's error makes in the picture: a quadratic form at many positions at once.
#pragma once

#include <cstddef>
#include <cstring>

namespace duoview {

constexpr std::size_t kFormPositions = 16;  // side by side in registers

// Writes x' W x at each of `count` positions, a multiple of kFormPositions. `x` is (channels, count), `weights` (channels,
// channels). Every position is added up alone, in float32, in the order of channels: (W x)_o over inputs, then x_o times that
// over outputs. So the result is the same on every path.
using PictureFormFunction = void (*)(const float* x, const float* weights, std::size_t channels, std::size_t count, float* out);

void picture_form_scalar(const float* x, const float* weights, std::size_t channels, std::size_t count, float* out);
void picture_form_avx2(const float* x, const float* weights, std::size_t channels, std::size_t count, float* out);

// Written once: `Vector` is a vector of floats of the compiler's, of which the file that uses it says how wide it is.
template <typename Vector>
struct PictureForm {
    static constexpr std::size_t kWide = sizeof(Vector) / sizeof(float), kVectors = kFormPositions / kWide;

    static Vector load(const float* p) {
        Vector vector;  // one at a time: compilers copy an array of them piece by piece
        std::memcpy(&vector, p, sizeof vector);
        return vector;
    }

    template <std::size_t Outputs>
    static void add(const float* x, const float* weights, std::size_t channels, std::size_t count, std::size_t first, float* total) {
        Vector sums[Outputs][kVectors] = {};
        for (std::size_t input = 0; input < channels; ++input) {
            Vector values[kVectors];
#pragma GCC unroll 4
            for (std::size_t i = 0; i < kVectors; ++i) values[i] = load(x + input * count + i * kWide);
#pragma GCC unroll 6
            for (std::size_t output = 0; output < Outputs; ++output) {
                const float weight = weights[(first + output) * channels + input];
#pragma GCC unroll 4
                for (std::size_t i = 0; i < kVectors; ++i) sums[output][i] += values[i] * weight;
            }
        }
#pragma GCC unroll 4
        for (std::size_t i = 0; i < kVectors; ++i) {
            Vector sum = load(total + i * kWide);
#pragma GCC unroll 6
            for (std::size_t output = 0; output < Outputs; ++output)
                sum += load(x + (first + output) * count + i * kWide) * sums[output][i];
            std::memcpy(total + i * kWide, &sum, sizeof sum);
        }
    }

    // `Outputs`: as many at once as sums fit registers.
    template <std::size_t Outputs>
    static void run(const float* x, const float* weights, std::size_t channels, std::size_t count, float* out) {
        std::memset(out, 0, count * sizeof *out);
        for (std::size_t at = 0; at < count; at += kFormPositions) {
            std::size_t first = 0;
            for (; first + Outputs <= channels; first += Outputs) add<Outputs>(x + at, weights, channels, count, first, out + at);
            for (; first < channels; ++first) add<1>(x + at, weights, channels, count, first, out + at);
        }
    }
};

}  // namespace duoview
