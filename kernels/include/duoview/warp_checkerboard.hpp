// Planes between exact networks and the entropy coder, by warps: one row of one channel each.
#pragma once

#include <cstdint>

#include "duoview/checkerboard.hpp"
#include "duoview/nearest.hpp"
#include "duoview/rans.hpp"
#include "duoview/warp.hpp"

namespace duoview {

// Calls body(index in the planes, index in the picture, index in coding order) for every position of the half in row `item`.
template <typename Body>
DUOVIEW_WARP void each_of_row(const Warp& warp, const PlaneShape& shape, std::uint64_t half, std::uint64_t item, const Body& body) {
    const std::uint64_t channel = item / shape.height, row = item % shape.height;
    const std::uint64_t first = first_column(shape, channel, row, half);
    const std::uint64_t count = row_positions(shape, first);
    const std::uint64_t coded = positions_before(shape, channel, row, half);
    for (std::uint64_t base = 0; base < count; base += kWarpLanes) {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = base + lane;
            if (i >= count) return;
            const std::uint64_t at = row * shape.width + first + 2 * i;
            body(channel * shape.height * shape.width + at, at, coded + i);
        });
    }
}

template <typename T>
struct GatherHalf {
    const T* planes;
    T* out;
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t half;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_row(warp, {channels, height, width}, half, item,
                    [&](std::uint64_t i, std::uint64_t, std::uint64_t coded) { out[coded] = planes[i]; });
    }
};

using GatherClasses = GatherHalf<std::uint8_t>;
using GatherSymbols = GatherHalf<std::int16_t>;

struct QuantiseHalf {
    const float* values;
    const std::uint8_t* classes;
    const std::int16_t* means;
    const float* margins;
    const std::uint8_t* keep;  // or null: everywhere
    std::int16_t* symbols;
    float* decoded;
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t half;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_row(warp, {channels, height, width}, half, item, [&](std::uint64_t i, std::uint64_t at, std::uint64_t) {
            const std::uint32_t k = classes[i];
            const float value = values[i];
            const bool gaussian = k < kGaussianClasses, finite = is_finite(value);
            if (!gaussian) warp.atomic_min(error, error_word(DeviceFault::gaussian_class, i));
            if (!finite) warp.atomic_min(error, error_word(DeviceFault::value_not_finite, i));
            const bool coded = gaussian && finite && k != 0 && (keep == nullptr || keep[at] != 0);
            const std::int16_t symbol = coded ? quantise_symbol(value, means[i], margins[k]) : std::int16_t{0};
            symbols[i] = symbol;
            decoded[i] = dequantise_symbol(symbol, means[i]);
        });
    }
};

struct DequantiseHalf {
    const std::int16_t* coded;
    const std::int16_t* means;
    std::int16_t* symbols;
    float* decoded;
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t half;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_row(warp, {channels, height, width}, half, item, [&](std::uint64_t i, std::uint64_t, std::uint64_t place) {
            symbols[i] = coded[place];
            decoded[i] = dequantise_symbol(coded[place], means[i]);
        });
    }
};

}  // namespace duoview
