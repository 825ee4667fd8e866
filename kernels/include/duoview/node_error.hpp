// Squared error that the nodes of a palette leave at a position, in float32 with every rounding defined.
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

// round(sum + round(d d)) with d = round(round(a - b) scale), to nearest even; files that include this are compiled without
// contraction.
DUOVIEW_HD float scaled_distance_step(float sum, float a, float b, float scale) {
#if defined(__CUDA_ARCH__)
    const float d = __fmul_rn(__fsub_rn(a, b), scale);
    return __fadd_rn(sum, __fmul_rn(d, d));
#else
    const float difference = a - b;
    const float d = difference * scale;
    const float square = d * d;
    return sum + square;
#endif
}

// Adds what a group of `numbers` lacks: the difference of its vector from its node's, or, where that is null, all of it.
DUOVIEW_HD float node_error(float sum, const float* vector, const float* node, std::uint64_t numbers, float scale) {
    for (std::uint64_t number = 0; number < numbers; ++number)
        sum = scaled_distance_step(sum, vector[number], node == nullptr ? 0.0f : node[number], scale);
    return sum;
}

}  // namespace duoview
