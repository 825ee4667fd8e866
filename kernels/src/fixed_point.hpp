// Floats as integers of a number of fraction bits: how latents come to kernels that must not depend on a float's rounding.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "default_arithmetic.hpp"
#include "duoview/shift_rules.hpp"

namespace duoview {

// Nearest integers, of two the even one, of `values` times 2^bits, within +-limit, which is at most 32767. False if one is not
// finite: what is written then means nothing.
inline bool to_fixed_point(const float* values, std::size_t count, int bits, int limit, std::int16_t* out) {
    const DefaultArithmetic arithmetic;
    const float scale = std::ldexp(1.0f, bits), most = static_cast<float>(limit);
    constexpr std::uint32_t kExponent = 0x7F800000u;  // all of it in what is not finite
    std::uint32_t beyond = 0;
    std::size_t i = 0;
#ifdef __SSE2__
    // Every x86-64 CPU has these. Compilers keep the loop below scalar: its comparisons might trap.
    const __m128 factor = _mm_set1_ps(scale), greatest = _mm_set1_ps(most), least = _mm_set1_ps(-most);
    const __m128i exponent = _mm_set1_epi32(static_cast<int>(kExponent));
    __m128i wrong = _mm_setzero_si128();
    const auto four = [&](const float* at) {
        const __m128 value = _mm_loadu_ps(at);
        wrong = _mm_or_si128(wrong, _mm_cmpeq_epi32(_mm_and_si128(_mm_castps_si128(value), exponent), exponent));
        return _mm_cvtps_epi32(_mm_min_ps(_mm_max_ps(_mm_mul_ps(value, factor), least), greatest));
    };
    for (; count - i >= 8; i += 8) {
        const __m128i low = four(values + i), high = four(values + i + 4);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm_packs_epi32(low, high));
    }
    beyond = _mm_movemask_epi8(wrong) != 0 ? 1 : 0;
#endif
    for (; i < count; ++i) {
        std::uint32_t pattern;
        std::memcpy(&pattern, values + i, sizeof pattern);
        beyond |= (pattern & kExponent) == kExponent ? 1u : 0u;
        out[i] = static_cast<std::int16_t>(nearest_within(values[i] * scale, most));
    }
    return beyond == 0;
}

}  // namespace duoview
