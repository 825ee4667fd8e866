// Planes between pictures, float networks and the entropy coder, by warps: what has to be made of them on the way.
#pragma once

#include <cstdint>

#include "duoview/warp.hpp"
#include "duoview/warp_compaction.hpp"

namespace duoview {

// Calls body(index) for every element of tile `item`.
template <typename Body>
DUOVIEW_WARP void each_of_tile(const Warp& warp, std::uint64_t count, std::uint64_t item, const Body& body) {
    const std::uint64_t begin = item * kTile;
    for (std::uint64_t base = begin; base < begin + kTile && base < count; base += kWarpLanes)
        warp.each([&](std::uint32_t lane) {
            if (base + lane < count) body(base + lane);
        });
}

// Planes of bytes, extended to the right and below by their last column and row; a warp writes one row of one plane.
struct PadPicture {
    const std::uint8_t* picture;
    std::uint64_t height;
    std::uint64_t width;
    std::uint8_t* padded;
    std::uint64_t padded_height;
    std::uint64_t padded_width;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t plane = item / padded_height, row = item % padded_height;
        const std::uint8_t* const from = picture + (plane * height + (row < height ? row : height - 1)) * width;
        std::uint8_t* const to = padded + item * padded_width;
        for (std::uint64_t base = 0; base < padded_width; base += kWarpLanes)
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t column = base + lane;
                if (column < padded_width) to[column] = from[column < width ? column : width - 1];
            });
    }
};

struct WidenSymbols {
    const std::int16_t* symbols;
    float* values;
    std::uint64_t count;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, count, item, [&](std::uint64_t i) { values[i] = static_cast<float>(symbols[i]); });
    }
};

// Values are integers already, of at most `limit` in magnitude; anything else is a fault, and becomes 0.
struct NarrowValues {
    const float* values;
    std::int16_t* symbols;
    std::uint64_t count;
    std::uint64_t limit;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, count, item, [&](std::uint64_t i) {
            const float value = values[i], most = static_cast<float>(limit);
            const bool inside = value >= -most && value <= most;  // false for a NaN
            const std::int16_t symbol = static_cast<std::int16_t>(inside ? value : 0.0f);
            const bool whole = inside && static_cast<float>(symbol) == value;
            if (!whole) warp.atomic_min(error, error_word(DeviceFault::value_not_whole, i));
            symbols[i] = whole ? symbol : std::int16_t{0};
        });
    }
};

}  // namespace duoview
