// Building a palette tree by warps: the steps of the CPU's builder (palette_tree.cpp), each over all vectors or all nodes.
// Sums are of integers, so that the order in which atomics add them up does not matter.
#pragma once

#include <cstdint>
#include <cstring>

#include "duoview/palette_tree.hpp"
#include "duoview/warp.hpp"

namespace duoview {

static constexpr std::uint64_t kVectorsPerWarp = 256;

DUOVIEW_WARP void add_signed(const Warp& warp, std::int64_t* target, std::int64_t value) {
    if (value != 0) warp.atomic_add(reinterpret_cast<std::uint64_t*>(target), static_cast<std::uint64_t>(value));
}

// Rounds content to the grid.
struct GridVectors {
    const float* vectors;
    std::uint64_t count;  // numbers
    std::uint64_t scale;  // 1 / step: the bits of a float32
    std::int16_t* grid;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint32_t bits = static_cast<std::uint32_t>(scale);
        float factor;
        std::memcpy(&factor, &bits, sizeof factor);
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i >= count) return;
            std::int32_t coordinate = 0;
            if (!grid_coordinate(vectors[i], factor, &coordinate)) {
                warp.atomic_min(error, error_word(DeviceFault::off_grid, i));
                coordinate = 0;
            }
            grid[i] = static_cast<std::int16_t>(coordinate);
        });
    }
};

// Content, its weights (null: 1 each) and the node of every vector.
struct TreeContent {
    const std::int16_t* grid;
    const std::uint32_t* weights;
    std::uint64_t count;
    std::uint64_t channels;
    const std::uint16_t* labels;

    DUOVIEW_WARP_MEMBER std::int64_t weight(std::uint64_t i) const { return weights != nullptr ? weights[i] : 1; }

    // Adds value(i, label, c) to sums[label, c]: a lane a channel, and what belongs to one node in a row is added up first.
    template <typename Value>
    DUOVIEW_WARP_MEMBER void add_up(const Warp& warp, std::uint64_t item, std::int64_t* sums, Value&& value) const {
        const std::uint64_t begin = item * kVectorsPerWarp;
        const std::uint64_t end = begin + kVectorsPerWarp < count ? begin + kVectorsPerWarp : count;
        for (std::uint64_t first = 0; first < channels; first += kWarpLanes) {
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t c = first + lane;
                if (c >= channels) return;
                std::uint64_t node = labels[begin];
                std::int64_t sum = 0;
                for (std::uint64_t i = begin; i < end; ++i) {
                    if (labels[i] != node) {
                        add_signed(warp, sums + node * channels + c, sum);
                        node = labels[i];
                        sum = 0;
                    }
                    sum += value(i, node, c);
                }
                add_signed(warp, sums + node * channels + c, sum);
            });
        }
    }
};

struct TreeSums : TreeContent {
    std::int64_t* sums;
    std::int64_t* node_weights;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        add_up(warp, item, sums, [&](std::uint64_t i, std::uint64_t, std::uint64_t c) {
            return weight(i) * grid[i * channels + c];
        });
        const std::uint64_t begin = item * kVectorsPerWarp;
        const std::uint64_t end = begin + kVectorsPerWarp < count ? begin + kVectorsPerWarp : count;
        for (std::uint64_t i = begin; i < end; i += kWarpLanes)
            warp.each([&](std::uint32_t lane) {
                if (i + lane < end) add_signed(warp, node_weights + labels[i + lane], weight(i + lane));
            });
    }
};

struct TreeSpread : TreeContent {
    const std::int32_t* centres;
    std::int64_t* spread;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        add_up(warp, item, spread, [&](std::uint64_t i, std::uint64_t node, std::uint64_t c) {
            return weight(i) * spread_of(grid[i * channels + c], centres[node * channels + c]);
        });
    }
};

// The sum of all weights must be 1..2^31 - 1.
struct CheckWeight {
    const std::int64_t* root;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t) const {
        warp.each([&](std::uint32_t lane) {
            if (lane == 0 && (*root < 1 || *root > kMaxPaletteWeight))
                warp.atomic_min(error, error_word(DeviceFault::weight_sum, static_cast<std::uint64_t>(*root)));
        });
    }
};

// A node's own centre, or, where it has no vectors, that of its parent.
struct TreeCentres {
    const std::int64_t* sums;
    const std::int64_t* node_weights;
    const std::int32_t* parents;
    std::uint64_t nodes;
    std::uint64_t channels;
    std::int32_t* centres;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i >= nodes * channels) return;
            const std::uint64_t n = i / channels;
            centres[i] = node_weights[n] > 0 ? centre_of(sums[i], node_weights[n]) : parents[n / 2 * channels + i % channels];
        });
    }
};

// First split: along the channel with the greatest spread, the first of equals.
struct TreeWidest {
    const std::int64_t* spread;
    std::uint64_t nodes;
    std::uint64_t channels;
    std::uint64_t* widest;
    std::uint64_t* frozen;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t n = item * kWarpLanes + lane;
            if (n >= nodes) return;
            std::uint64_t best = 0;
            for (std::uint64_t c = 1; c < channels; ++c)
                if (spread[n * channels + c] > spread[n * channels + best]) best = c;
            widest[n] = best;
            frozen[n] = 0;
        });
    }
};

struct TreeSplit : TreeContent {
    const std::int64_t* sums;
    const std::int64_t* node_weights;
    const std::uint64_t* widest;
    std::uint16_t* children;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i >= count) return;
            const std::uint64_t node = labels[i];
            const std::uint64_t c = widest[node];
            children[i] = static_cast<std::uint16_t>(
                2 * node + above_mean(grid[i * channels + c], sums[node * channels + c], node_weights[node]));
        });
    }
};

// |centre1|^2 - |centre0|^2 of the children of a node.
struct TreeOffsets {
    const std::int32_t* centres;
    std::uint64_t nodes;
    std::uint64_t channels;
    std::int64_t* offsets;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t n = item * kWarpLanes + lane;
            if (n >= nodes) return;
            const std::int32_t* const zero = centres + 2 * n * channels;
            std::int64_t sum = 0;
            for (std::uint64_t c = 0; c < channels; ++c) sum += split_offset_term(zero[c], zero[channels + c]);
            offsets[n] = sum;
        });
    }
};

// The nearer child of every vector whose node is not frozen.
struct TreeAssign : TreeContent {
    const std::int32_t* centres;
    const std::int64_t* offsets;
    const std::uint64_t* frozen;
    const std::uint16_t* children;
    std::uint16_t* next;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i >= count) return;
            const std::uint64_t node = labels[i];
            next[i] = children[i];
            if (frozen[node]) return;
            const std::int32_t* const zero = centres + 2 * node * channels;
            std::int64_t sum = -offsets[node];
            for (std::uint64_t c = 0; c < channels; ++c) sum += split_term(grid[i * channels + c], zero[c], zero[channels + c]);
            next[i] = static_cast<std::uint16_t>(2 * node + (sum > 0 ? 1 : 0));
        });
    }
};

// Freezes nodes that a round would leave with an empty child, or does not change; the others take the round's sums.
struct TreeSettle {
    std::int64_t* sums;
    std::int64_t* node_weights;
    const std::int64_t* next_sums;
    const std::int64_t* next_weights;
    std::uint64_t nodes;
    std::uint64_t channels;
    std::uint64_t* frozen;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t n = item * kWarpLanes + lane;
            if (n >= nodes) return;
            const std::uint64_t first = 2 * n * channels;
            bool still = node_weights[2 * n] == next_weights[2 * n] && node_weights[2 * n + 1] == next_weights[2 * n + 1];
            for (std::uint64_t i = first; still && i < first + 2 * channels; ++i) still = sums[i] == next_sums[i];
            if (still || next_weights[2 * n] == 0 || next_weights[2 * n + 1] == 0) frozen[n] = 1;
            if (frozen[n]) return;
            for (std::uint64_t i = first; i < first + 2 * channels; ++i) sums[i] = next_sums[i];
            node_weights[2 * n] = next_weights[2 * n];
            node_weights[2 * n + 1] = next_weights[2 * n + 1];
        });
    }
};

struct TreeMove {
    std::uint64_t count;
    const std::uint16_t* labels;
    const std::uint64_t* frozen;
    const std::uint16_t* next;
    std::uint16_t* children;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i < count && !frozen[labels[i]]) children[i] = next[i];
        });
    }
};

// Centres as float32: exact, since they have 24 bits and the unit is a power of two.
struct TreeNodes {
    const std::int32_t* centres;
    std::uint64_t count;  // numbers
    std::uint64_t unit;   // step / 256: the bits of a float32
    float* nodes;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint32_t bits = static_cast<std::uint32_t>(unit);
        float factor;
        std::memcpy(&factor, &bits, sizeof factor);
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i < count) nodes[i] = static_cast<float>(centres[i]) * factor;
        });
    }
};

}  // namespace duoview
