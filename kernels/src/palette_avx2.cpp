// AVX2 path of sample_child and nearest.
#include <immintrin.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "palette.hpp"

#include "duoview/palette.hpp"

namespace duoview {
namespace {

constexpr std::size_t kChildStep = 32;
constexpr std::size_t kNearestStep = 32;  // vectors compared at a time: four registers, so that additions overlap

// child_bit of 16 half-words, as 0 or 1: (half >> 4) < 32 (c - 64) + 16.
__m256i sixteen_bits(__m256i classes, __m256i halves) {
    const __m256i threshold = _mm256_add_epi16(_mm256_slli_epi16(classes, 5),
                                               _mm256_set1_epi16(16 - 32 * static_cast<short>(kFirstChildClass)));
    return _mm256_srli_epi16(_mm256_cmpgt_epi16(threshold, _mm256_srli_epi16(halves, 4)), 15);
}

// Writes rows begin .. begin + used - 1, turned so that a channel's numbers of all vectors are together, the rest 0.
void transpose(const NearestProblem& problem, std::size_t begin, std::size_t used, float* block) {
    const std::uint32_t channels = problem.channels;
    for (std::size_t v = 0; v < kNearestStep; ++v) {
        const float* const row = problem.vectors + (begin + v) * problem.stride;
        for (std::uint32_t c = 0; c < channels; ++c) block[c * kNearestStep + v] = v < used ? row[c] : 0.0f;
    }
}

// The nearest leaf of each vector of a block.
void nearest_block(const NearestProblem& problem, const float* block, std::uint32_t (&best)[kNearestStep]) {
    __m256 least[4];
    __m256i index[4];
    for (int r = 0; r < 4; ++r) {
        least[r] = _mm256_set1_ps(std::numeric_limits<float>::infinity());
        index[r] = _mm256_setzero_si256();  // where no distance is finite, all are equal and the first leaf is it
    }
    const float* leaf = problem.leaves;
    for (std::uint32_t k = 0; k < problem.leaf_count; ++k, leaf += problem.channels) {
        __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
        for (std::uint32_t c = 0; c < problem.channels; ++c) {
            const __m256 value = _mm256_broadcast_ss(leaf + c);
            for (int r = 0; r < 4; ++r) {
                const __m256 d = _mm256_sub_ps(_mm256_loadu_ps(block + c * kNearestStep + 8 * r), value);
                sum[r] = _mm256_add_ps(sum[r], _mm256_mul_ps(d, d));
            }
        }
        const __m256i number = _mm256_set1_epi32(static_cast<int>(k));
        for (int r = 0; r < 4; ++r) {
            const __m256 nearer = _mm256_cmp_ps(sum[r], least[r], _CMP_LT_OQ);
            least[r] = _mm256_blendv_ps(least[r], sum[r], nearer);
            index[r] = _mm256_blendv_epi8(index[r], number, _mm256_castps_si256(nearer));
        }
    }
    for (int r = 0; r < 4; ++r) _mm256_storeu_si256(reinterpret_cast<__m256i*>(best + 8 * r), index[r]);
}

}  // namespace

void children_avx2(const std::uint8_t* nodes, const std::uint8_t* classes, const std::uint32_t* words, std::size_t skip,
                   std::size_t count, std::uint8_t* out) {
    const char* const halves = reinterpret_cast<const char*>(words) + 2 * skip;  // x86 stores low halves first
    std::size_t i = 0;
    for (; count - i >= kChildStep; i += kChildStep) {
        const __m256i first = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(classes + i)));
        const __m256i second = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(classes + i + 16)));
        const __m256i bits0 = sixteen_bits(first, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves + 2 * i)));
        const __m256i bits1 = sixteen_bits(second, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves + 2 * i + 32)));
        const __m256i bits = _mm256_permute4x64_epi64(_mm256_packus_epi16(bits0, bits1), 0xD8);
        const __m256i parents = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(nodes + i));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_or_si256(_mm256_add_epi8(parents, parents), bits));
    }
    children_scalar(nodes + i, classes + i, words + (skip + i) / 2, (skip + i) % 2, count - i, out + i);
}

void nearest_avx2(const NearestProblem& problem, std::size_t begin, std::size_t end) {
    if (end - begin < kNearestStep / 4) return nearest_scalar(problem, begin, end);  // the block would outgrow the vectors
    const std::unique_ptr<float[]> block(new float[kNearestStep * problem.channels]);
    std::uint32_t best[kNearestStep];
    for (std::size_t i = begin; i < end; i += kNearestStep) {
        const std::size_t used = std::min(kNearestStep, end - i);
        transpose(problem, i, used, block.get());
        nearest_block(problem, block.get(), best);
        for (std::size_t v = 0; v < used; ++v) problem.out[(i + v) * problem.out_stride] = static_cast<std::uint8_t>(best[v]);
    }
}

}  // namespace duoview
