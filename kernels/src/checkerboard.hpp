// The loops over planes between exact networks and the entropy coder.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/checkerboard.hpp"

namespace duoview {

struct QuantiseJob {
    PlaneShape shape;
    std::size_t half;
    const float* values;
    const std::uint8_t* classes;
    const std::int16_t* means;
    const float* margins;   // [64]
    const std::uint8_t* keep;  // (height, width), 0 where nothing is coded, or null: coded everywhere
    std::int16_t* symbols;  // planes; only positions of the half are written
    float* decoded;         // planes, in sixteenths; only positions of the half are written
};

// Elements of the half in coding order.
template <typename T>
void gather_half(const PlaneShape& shape, std::size_t half, const T* planes, T* out);

// Throws std::invalid_argument naming the first value that is not finite, or the first class above 63; what was written
// before it stays.
void quantise_half(const QuantiseJob& job);

// `coded` holds the half's symbols in coding order; writes planes of symbols and of decoded values, at the half's positions.
void dequantise_half(const PlaneShape& shape, std::size_t half, const std::int16_t* coded, const std::int16_t* means,
                     std::int16_t* symbols, float* decoded);

}  // namespace duoview
