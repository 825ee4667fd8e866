// Steps down a palette tree, and nearest leaves, by warps.
#pragma once

#include <cstdint>

#include "duoview/nearest.hpp"
#include "duoview/palette.hpp"
#include "duoview/philox.hpp"
#include "duoview/warp.hpp"

namespace duoview {

static constexpr std::uint64_t kChildrenPerWarp = 1024;

// Position p of a stream takes half-word p: a block of random words serves the eight positions of a lane.
struct SampleChild {
    const std::uint8_t* nodes;
    const std::uint8_t* classes;
    std::uint8_t* out;
    std::uint64_t count;
    std::uint64_t seed;
    std::uint64_t stream;
    std::uint64_t offset;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER std::uint8_t child(const Warp& warp, std::uint64_t index, std::uint32_t node, std::uint32_t k,
                                           const PhiloxBlock& random, std::uint32_t i) const {
        if (node > kLastParent) warp.atomic_min(error, error_word(DeviceFault::node_range, index));
        if (k < kFirstChildClass || k > kLastChildClass) warp.atomic_min(error, error_word(DeviceFault::child_class, index));
        return child_of(node, k, half_word(random.word[i / 2], i % 2));
    }

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t skipped = offset % 8;
        const bool whole = skipped == 0 && (reinterpret_cast<std::uintptr_t>(nodes) | reinterpret_cast<std::uintptr_t>(classes) |
                                            reinterpret_cast<std::uintptr_t>(out)) % 8 == 0;
        for (std::uint64_t row = item * (kChildrenPerWarp / 8); row < (item + 1) * (kChildrenPerWarp / 8); row += kWarpLanes) {
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t first = (row + lane) * 8 - skipped;  // wraps around before the first element
                if ((row + lane) * 8 >= count + skipped) return;
                const PhiloxBlock random = philox_at(seed, stream, offset / 8 + row + lane);
                if (whole && first + 8 <= count) {
                    const std::uint64_t node = *reinterpret_cast<const std::uint64_t*>(nodes + first);
                    const std::uint64_t k = *reinterpret_cast<const std::uint64_t*>(classes + first);
                    std::uint64_t children = 0;
                    DUOVIEW_UNROLL for (std::uint32_t i = 0; i < 8; ++i)
                        children |= std::uint64_t{child(warp, first + i, node >> (8 * i) & 0xFFu, k >> (8 * i) & 0xFFu, random, i)} << (8 * i);
                    *reinterpret_cast<std::uint64_t*>(out + first) = children;
                    return;
                }
                for (std::uint32_t i = 0; i < 8; ++i)
                    if (first + i < count) out[first + i] = child(warp, first + i, nodes[first + i], classes[first + i], random, i);
            });
        }
    }
};

// One lane a vector; vectors lie as (count / groups, groups, channels), leaves as (groups, leaves, channels).
struct NearestLeaf {
    const float* vectors;
    const float* leaves;
    std::uint8_t* out;
    std::uint64_t count;
    std::uint64_t groups;
    std::uint64_t leaf_count;
    std::uint64_t channels;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i >= count) return;
            const float* const vector = vectors + i * channels;
            for (std::uint64_t c = 0; c < channels; ++c)
                if (!is_finite(vector[c])) warp.atomic_min(error, error_word(DeviceFault::not_finite, i * channels + c));
            out[i] = nearest_leaf(vector, leaves + i % groups * leaf_count * channels, static_cast<std::uint32_t>(leaf_count),
                                  static_cast<std::uint32_t>(channels));
        });
    }
};

struct CheckLeaves {
    const float* leaves;
    std::uint64_t count;  // numbers
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t i = item * kWarpLanes + lane;
            if (i < count && !is_finite(leaves[i])) warp.atomic_min(error, error_word(DeviceFault::leaf_not_finite, i));
        });
    }
};

}  // namespace duoview
