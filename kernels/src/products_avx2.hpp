// Registers of AVX2 for sums of products of 16-bit numbers; included by the files of that path only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace duoview {
namespace {

struct Products {
    using Register = __m256i;
    static constexpr std::size_t kLanes = 8;  // sums of 32 bits, each of two products of 16-bit numbers at a time

    static Register zero() { return _mm256_setzero_si256(); }
    static Register load(const std::int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store(std::int16_t* p, Register value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), value); }
    static Register add16(Register a, Register b) { return _mm256_add_epi16(a, b); }

    // Two numbers beside each other, in all lanes.
    static Register spread(const std::int16_t* two) {
        std::int32_t bits;
        std::memcpy(&bits, two, sizeof bits);
        return _mm256_set1_epi32(bits);
    }

    static Register add_products(Register sums, Register a, Register b) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
    }

    // Adds sums times as many numbers, in 64 bits.
    static Register weigh(Register total, Register sums, const std::int16_t* numbers) {
        const __m256i factors = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers)));
        const __m256i even = _mm256_mul_epi32(sums, factors);
        const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(sums, 32), _mm256_srli_epi64(factors, 32));
        return _mm256_add_epi64(total, _mm256_add_epi64(even, odd));
    }

    static std::int64_t total(Register sums) {
        alignas(32) std::int64_t four[4];
        _mm256_store_si256(reinterpret_cast<__m256i*>(four), sums);
        return four[0] + four[1] + four[2] + four[3];
    }
};

}  // namespace
}  // namespace duoview
