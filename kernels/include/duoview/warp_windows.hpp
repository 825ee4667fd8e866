// Parts of planes for networks that see a picture window by window, by warps: cut out, compared, noised, put together.
#pragma once

#include <cstdint>

#include "duoview/warp.hpp"
#include "duoview/warp_planes.hpp"

namespace duoview {

// A part (channels, height, width) of planes (channels, rows, columns).
struct CutWindow {
    const float* planes;
    float* window;
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t top;
    std::uint64_t left;
    std::uint64_t rows;
    std::uint64_t columns;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * height * width, item, [&](std::uint64_t i) {
            const std::uint64_t channel = i / (height * width), row = i / width % height, column = i % width;
            window[i] = planes[(channel * rows + top + row) * columns + left + column];
        });
    }
};

// Adds a window, each position by its share, to planes.
struct BlendWindow {
    const float* window;
    const float* share;  // (height, width)
    float* planes;
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t top;
    std::uint64_t left;
    std::uint64_t rows;
    std::uint64_t columns;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * height * width, item, [&](std::uint64_t i) {
            const std::uint64_t channel = i / (height * width), row = i / width % height, column = i % width;
            planes[(channel * rows + top + row) * columns + left + column] += window[i] * share[row * width + column];
        });
    }
};

// The index of the first word in which two arrays differ, where they do.
struct FindDifference {
    const std::uint32_t* first;
    const std::uint32_t* second;
    std::uint64_t count;
    std::uint64_t* place;  // holds all ones before

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, count, item, [&](std::uint64_t i) {
            if (first[i] != second[i]) warp.atomic_min(place, i);
        });
    }
};

// known + level * noise, (channels, positions), with a level for each position.
struct AddNoise {
    const float* known;
    const float* level;
    const float* noise;
    float* state;
    std::uint64_t channels;
    std::uint64_t positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * positions, item,
                     [&](std::uint64_t i) { state[i] = known[i] + level[i % positions] * noise[i]; });
    }
};

// (positions, channels) to (channels, positions).
struct ChannelsFirst {
    const float* values;
    float* planes;
    std::uint64_t channels;
    std::uint64_t positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * positions, item,
                     [&](std::uint64_t i) { planes[i] = values[i % positions * channels + i / positions]; });
    }
};

// first + scale * second, (channels, positions), with a scale for each channel, or 1.
struct AddScaled {
    const float* first;
    const float* second;
    const float* scale;  // (channels,), or null
    float* sum;
    std::uint64_t channels;
    std::uint64_t positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * positions, item, [&](std::uint64_t i) {
            sum[i] = first[i] + (scale == nullptr ? second[i] : second[i] * scale[i / positions]);
        });
    }
};

// What texture knows of a residual, (channels, positions) over a scale for each channel, and the noise level of its depth.
struct KnownResidual {
    const float* residual;       // of the base
    const float* base;
    const float* latent;
    const float* scale;          // (channels,)
    const std::uint8_t* depths;  // (positions,)
    const float* levels;         // by depth
    float* known;
    float* level;                // (positions,)
    std::uint64_t channels;
    std::uint64_t positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * positions, item, [&](std::uint64_t i) {
            const std::uint64_t channel = i / positions, at = i % positions;
            known[i] = depths[at] != 0 ? (residual[i] + (base[i] - latent[i])) / scale[channel] : 0.0f;
            if (channel == 0) level[at] = levels[depths[at]];
        });
    }
};

}  // namespace duoview
