// AVX2 path of the quadratic forms: two products and their sum an instruction, 24 outputs of three parts in registers.
#include <immintrin.h>

#include <cstring>

#include "quadratic_form.hpp"

namespace duoview {
namespace {

constexpr std::size_t kBlock = 3;  // registers of outputs: 9 sums, 3 weights and an input are 13 registers

__m256i load(const std::int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// Two channels of a part, in all lanes.
__m256i spread(const std::int16_t* two) {
    std::int32_t bits;
    std::memcpy(&bits, two, sizeof bits);
    return _mm256_set1_epi32(bits);
}

// Sums of products times the part itself, added up in 64 bits.
__m256i weigh(__m256i total, __m256i sums, const std::int16_t* part) {
    const __m256i factors = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(part)));
    const __m256i even = _mm256_mul_epi32(sums, factors);
    const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(sums, 32), _mm256_srli_epi64(factors, 32));
    return _mm256_add_epi64(total, _mm256_add_epi64(even, odd));
}

// `Registers` of outputs, from `first` on, of `Parts` parts by one matrix.
template <std::size_t Registers, std::size_t Parts>
__m256i add_block(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights, std::size_t first,
                  __m256i total) {
    const std::size_t size = layout.register_size(), lanes = layout.lanes();
    weights += first * size;
    __m256i sums[Registers][Parts];
    for (auto& of : sums)
        for (__m256i& sum : of) sum = _mm256_setzero_si256();
    for (std::size_t pair = 0; pair < layout.pairs(); ++pair) {
        __m256i factors[Registers];
        for (std::size_t r = 0; r < Registers; ++r) factors[r] = load(weights + r * size + pair * 2 * kFormLanes);
        for (std::size_t part = 0; part < Parts; ++part) {
            const __m256i two = spread(parts + part * lanes + 2 * pair);
            for (std::size_t r = 0; r < Registers; ++r)
                sums[r][part] = _mm256_add_epi32(sums[r][part], _mm256_madd_epi16(two, factors[r]));
        }
    }
    for (std::size_t r = 0; r < Registers; ++r)
        for (std::size_t part = 0; part < Parts; ++part)
            total = weigh(total, sums[r][part], parts + part * lanes + (first + r) * kFormLanes);
    return total;
}

template <std::size_t Parts>
__m256i add_matrix(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights, __m256i total) {
    std::size_t first = 0;
    for (; first + kBlock <= layout.registers(); first += kBlock)
        total = add_block<kBlock, Parts>(layout, parts, weights, first, total);
    if (layout.registers() - first == 2) total = add_block<2, Parts>(layout, parts, weights, first, total);
    if (layout.registers() - first == 1) total = add_block<1, Parts>(layout, parts, weights, first, total);
    return total;
}

}  // namespace

std::int64_t quadratic_form_avx2(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights) {
    __m256i total = add_matrix<kFormParts - 1>(layout, parts, weights, _mm256_setzero_si256());
    total = add_matrix<1>(layout, parts + (kFormParts - 1) * layout.lanes(), weights + layout.matrix_size(), total);
    alignas(32) std::int64_t sums[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), total);
    return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace duoview
