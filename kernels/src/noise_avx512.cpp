// AVX-512 path of the noise kernels: eight Philox blocks in the low halves of 64-bit lanes, sixteen normals a step.
#include <immintrin.h>

#include "noise.hpp"

#include "duoview/normal.hpp"
#include "duoview/normal_table.hpp"
#include "duoview/philox.hpp"

namespace duoview {
namespace {

constexpr std::size_t kStep = 32;  // words of eight blocks

// A quantile in the low half, how far it is above the next one in the high half: one load gives both.
struct PairTable {
    alignas(64) std::uint64_t pair[4096];
    constexpr PairTable() : pair{} {
        for (int i = 0; i < 4096; ++i) {
            const std::uint64_t drop = static_cast<std::uint64_t>(kNormalQuantile[i] - kNormalQuantile[i + 1]);
            pair[i] = drop << 32 | static_cast<std::uint64_t>(kNormalQuantile[i]);
        }
    }
};
constexpr PairTable kPairs{};

// Words of blocks block .. block + 7, in order. High halves of the 64-bit lanes hold rubbish until the end.
void eight_blocks(const NoiseAddress& address, std::uint64_t block, __m512i (&out)[2]) {
    const __m512i multiplier0 = _mm512_set1_epi64(kPhiloxMultiplier0);
    const __m512i multiplier1 = _mm512_set1_epi64(kPhiloxMultiplier1);
    __m512i c0 = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(block)), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    __m512i c1 = _mm512_srli_epi64(c0, 32);
    __m512i c2 = _mm512_set1_epi64(static_cast<long long>(address.stream));
    __m512i c3 = _mm512_set1_epi64(static_cast<long long>(address.stream >> 32));
    std::uint32_t key0 = static_cast<std::uint32_t>(address.seed);
    std::uint32_t key1 = static_cast<std::uint32_t>(address.seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round) {
        constexpr int kXor = 0x96;  // of all three
        const __m512i product0 = _mm512_mul_epu32(multiplier0, c0);
        const __m512i product1 = _mm512_mul_epu32(multiplier1, c2);
        c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(product1, 32), c1, _mm512_set1_epi64(key0), kXor);
        c1 = product1;
        c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(product0, 32), c3, _mm512_set1_epi64(key1), kXor);
        c3 = product0;
        key0 += kPhiloxWeyl0;
        key1 += kPhiloxWeyl1;
    }
    const __m512i front = _mm512_mask_blend_epi32(0xAAAA, c0, _mm512_slli_epi64(c1, 32));
    const __m512i back = _mm512_mask_blend_epi32(0xAAAA, c2, _mm512_slli_epi64(c3, 32));
    out[0] = _mm512_permutex2var_epi64(front, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), back);
    out[1] = _mm512_permutex2var_epi64(front, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), back);
}

// normal_from_bits on sixteen words.
__m512 sixteen_normals(__m512i bits) {
    const __m512i w = _mm512_or_si512(_mm512_slli_epi32(bits, 1), _mm512_set1_epi32(1));
    const __m512i zeros = _mm512_lzcnt_epi32(w);
    const __m512i scaled = _mm512_sllv_epi32(w, zeros);
    const __m512i octave = _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(31), zeros), kNormalStepBits);
    const __m512i step = _mm512_and_si512(_mm512_srli_epi32(scaled, 24), _mm512_set1_epi32(0x7F));
    alignas(64) std::uint32_t index[16];
    _mm512_store_si512(index, _mm512_or_si512(octave, step));
    // Sixteen loads: on the CPUs this was measured on a gather is slower.
    alignas(64) std::uint64_t pairs[16];
    for (int i = 0; i < 16; ++i) pairs[i] = kPairs.pair[index[i]];
    const __m512i front = _mm512_load_si512(pairs);
    const __m512i back = _mm512_load_si512(pairs + 8);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i upper = _mm512_permutex2var_epi32(front, even, back);
    const __m512i drop = _mm512_permutex2var_epi32(front, _mm512_or_si512(even, _mm512_set1_epi32(1)), back);
    const __m512i fraction = _mm512_and_si512(_mm512_srli_epi32(scaled, 8), _mm512_set1_epi32(0xFFFF));
    const __m512i product = _mm512_add_epi32(_mm512_mullo_epi32(drop, fraction), _mm512_set1_epi32(0x8000));
    const __m512i magnitude = _mm512_sub_epi32(upper, _mm512_srli_epi32(product, 16));
    const __mmask16 negative = _mm512_movepi32_mask(bits);
    const __m512i value = _mm512_mask_sub_epi32(magnitude, negative, _mm512_setzero_si512(), magnitude);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(value), _mm512_set1_ps(kNormalUnit));
}

// Elements before the first whole block, and those after the last whole step, are left to the AVX2 path.
std::size_t lead(const NoiseAddress& address, std::size_t count) {
    const std::size_t words = (4 - address.offset % 4) % 4;
    return words < count ? words : count;
}

NoiseAddress advanced(NoiseAddress address, std::size_t count) {
    address.offset += count;
    return address;
}

}  // namespace

void philox_avx512(const NoiseAddress& address, std::size_t count, std::uint32_t* out) {
    std::size_t done = lead(address, count);
    philox_scalar(address, done, out);
    for (; count - done >= kStep; done += kStep) {
        __m512i words[2];
        eight_blocks(address, (address.offset + done) / 4, words);
        _mm512_storeu_si512(out + done, words[0]);
        _mm512_storeu_si512(out + done + 16, words[1]);
    }
    philox_avx2(advanced(address, done), count - done, out + done);
}

void normals_avx512(const NoiseAddress& address, std::size_t count, float* out) {
    std::size_t done = lead(address, count);
    normals_scalar(address, done, out);
    for (; count - done >= kStep; done += kStep) {
        __m512i words[2];
        eight_blocks(address, (address.offset + done) / 4, words);
        _mm512_storeu_ps(out + done, sixteen_normals(words[0]));
        _mm512_storeu_ps(out + done + 16, sixteen_normals(words[1]));
    }
    normals_avx2(advanced(address, done), count - done, out + done);
}

}  // namespace duoview
