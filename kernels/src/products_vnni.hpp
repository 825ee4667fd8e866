// Registers of AVX-512 for sums of products of 16-bit numbers, which VNNI adds up as it multiplies; included by the files of
// that path only.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace duoview {
namespace {

struct Products {
    using Register = __m512i;
    static constexpr std::size_t kLanes = 16;  // sums of 32 bits, each of two products of 16-bit numbers at a time

    static Register zero() { return _mm512_setzero_si512(); }
    static Register load(const std::int16_t* p) { return _mm512_loadu_si512(p); }
    static void store(std::int16_t* p, Register value) { _mm512_storeu_si512(p, value); }
    static Register add16(Register a, Register b) { return _mm512_add_epi16(a, b); }

    // Two numbers beside each other, in all lanes.
    static Register spread(const std::int16_t* two) {
        std::int32_t bits;
        std::memcpy(&bits, two, sizeof bits);
        return _mm512_set1_epi32(bits);
    }

    static Register add_products(Register sums, Register a, Register b) {
        return _mm512_dpwssd_epi32(sums, a, b);
    }

    // Adds sums times as many numbers, in 64 bits.
    static Register weigh(Register total, Register sums, const std::int16_t* numbers) {
        const __m512i factors = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers)));
        const __m512i even = _mm512_mul_epi32(sums, factors);
        const __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(sums, 32), _mm512_srli_epi64(factors, 32));
        return _mm512_add_epi64(total, _mm512_add_epi64(even, odd));
    }

    static std::int64_t total(Register sums) { return _mm512_reduce_add_epi64(sums); }
};

}  // namespace
}  // namespace duoview
