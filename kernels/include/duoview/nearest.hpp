// Squared distance of a vector to a palette leaf, in float32 with every rounding defined.
#pragma once

#include <cstdint>
#include <cstring>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr std::uint32_t kMaxLeaves = 256;

// round(sum + round(d d)) with d = round(a - b), to nearest even. Files that include this are compiled without contraction,
// since a fused multiply-add would round once less.
DUOVIEW_HD float squared_distance_step(float sum, float a, float b) {
#if defined(__CUDA_ARCH__)
    const float d = __fsub_rn(a, b);
    return __fadd_rn(sum, __fmul_rn(d, d));
#else
    const float d = a - b;
    const float square = d * d;
    return sum + square;
#endif
}

DUOVIEW_HD bool is_finite(float value) {
#if defined(__CUDA_ARCH__)
    const std::uint32_t bits = __float_as_uint(value);
#else
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
#endif
    return (bits & 0x7F800000u) != 0x7F800000u;
}

// The first of `count` leaves, each of `channels` numbers, that no other is nearer than. Sums may overflow to infinity, which
// is equal to itself.
DUOVIEW_HD std::uint8_t nearest_leaf(const float* vector, const float* leaves, std::uint32_t count, std::uint32_t channels) {
    std::uint32_t best = 0;
    float least = 0.0f;
    for (std::uint32_t leaf = 0; leaf < count; ++leaf, leaves += channels) {
        float sum = 0.0f;
        for (std::uint32_t c = 0; c < channels; ++c) sum = squared_distance_step(sum, vector[c], leaves[c]);
        if (leaf == 0 || sum < least) {
            least = sum;
            best = leaf;
        }
    }
    return static_cast<std::uint8_t>(best);
}

}  // namespace duoview
