// Floats as integers of a number of fraction bits: how latents come to kernels that must not depend on a float's rounding.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "default_arithmetic.hpp"

namespace duoview {

// Nearest integers, of two the even one, of `values` times 2^bits, within +-limit, which is at most 32767. False if one is not
// finite: what is written then means nothing.
inline bool to_fixed_point(const float* values, std::size_t count, int bits, int limit, std::int16_t* out) {
    const DefaultArithmetic arithmetic;
    const float scale = std::ldexp(1.0f, bits), most = static_cast<float>(limit);
    constexpr float kWhole = 1.5f * (1 << 23);  // a float near it has no fraction: adding it rounds, at vector speed
    constexpr std::uint32_t kExponent = 0x7F800000u;  // all of it in what is not finite
    std::uint32_t beyond = 0;
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t pattern;
        std::memcpy(&pattern, values + i, sizeof pattern);
        beyond |= (pattern & kExponent) == kExponent ? 1u : 0u;
        const float scaled = values[i] * scale;
        const float low = scaled > -most ? scaled : -most;
        const float inside = low < most ? low : most;
        out[i] = static_cast<std::int16_t>(static_cast<std::int32_t>((inside + kWhole) - kWhole));
    }
    return beyond == 0;
}

}  // namespace duoview
