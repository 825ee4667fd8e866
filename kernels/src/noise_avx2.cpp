// AVX2 path of the noise kernels: four Philox blocks in the low halves of 64-bit lanes, eight normals a step.
#include <immintrin.h>

#include "noise.hpp"

#include "duoview/normal.hpp"
#include "duoview/normal_table.hpp"
#include "duoview/philox.hpp"

namespace duoview {
namespace {

constexpr std::size_t kStep = 16;  // words of four blocks

// Words of blocks block .. block + 3, in order. High halves of the 64-bit lanes hold rubbish until the end.
void four_blocks(const NoiseAddress& address, std::uint64_t block, __m256i (&out)[2]) {
    const __m256i multiplier0 = _mm256_set1_epi64x(kPhiloxMultiplier0);
    const __m256i multiplier1 = _mm256_set1_epi64x(kPhiloxMultiplier1);
    const __m256i index = _mm256_add_epi64(_mm256_set1_epi64x(static_cast<long long>(block)), _mm256_setr_epi64x(0, 1, 2, 3));
    __m256i c0 = index;
    __m256i c1 = _mm256_srli_epi64(index, 32);
    __m256i c2 = _mm256_set1_epi64x(static_cast<long long>(address.stream));
    __m256i c3 = _mm256_set1_epi64x(static_cast<long long>(address.stream >> 32));
    std::uint32_t key0 = static_cast<std::uint32_t>(address.seed);
    std::uint32_t key1 = static_cast<std::uint32_t>(address.seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round) {
        const __m256i product0 = _mm256_mul_epu32(multiplier0, c0);
        const __m256i product1 = _mm256_mul_epu32(multiplier1, c2);
        const __m256i k0 = _mm256_set1_epi64x(key0);
        const __m256i k1 = _mm256_set1_epi64x(key1);
        c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1), k0);
        c1 = product1;
        c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3), k1);
        c3 = product0;
        key0 += kPhiloxWeyl0;
        key1 += kPhiloxWeyl1;
    }
    // Words 0 and 1 of each block into one 64-bit lane, words 2 and 3 into another, then blocks into order.
    const __m256i front = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), 0xAA);
    const __m256i back = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), 0xAA);
    const __m256i even = _mm256_unpacklo_epi64(front, back);  // blocks 0 and 2
    const __m256i odd = _mm256_unpackhi_epi64(front, back);   // blocks 1 and 3
    out[0] = _mm256_permute2x128_si256(even, odd, 0x20);
    out[1] = _mm256_permute2x128_si256(even, odd, 0x31);
}

// normal_from_bits on eight words.
__m256 eight_normals(__m256i bits) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i scaled = _mm256_or_si256(_mm256_slli_epi32(bits, 1), _mm256_set1_epi32(1));
    __m256i zeros = zero;
    // Leading zeros by halving, since AVX2 has no count: where the upper 16, 8, 4, 2, 1 bits are empty, move up.
    for (int shift = 16; shift > 0; shift /= 2) {
        const __m256i empty = _mm256_cmpeq_epi32(_mm256_srli_epi32(scaled, 32 - shift), zero);
        const __m256i by = _mm256_and_si256(empty, _mm256_set1_epi32(shift));
        scaled = _mm256_sllv_epi32(scaled, by);
        zeros = _mm256_add_epi32(zeros, by);
    }
    const __m256i octave = _mm256_slli_epi32(_mm256_sub_epi32(_mm256_set1_epi32(31), zeros), kNormalStepBits);
    const __m256i index = _mm256_or_si256(octave, _mm256_and_si256(_mm256_srli_epi32(scaled, 24), _mm256_set1_epi32(0x7F)));
    const __m256i upper = _mm256_i32gather_epi32(kNormalQuantile, index, 4);
    const __m256i lower = _mm256_i32gather_epi32(kNormalQuantile + 1, index, 4);
    const __m256i fraction = _mm256_and_si256(_mm256_srli_epi32(scaled, 8), _mm256_set1_epi32(0xFFFF));
    const __m256i product = _mm256_mullo_epi32(_mm256_sub_epi32(upper, lower), fraction);
    const __m256i drop = _mm256_srli_epi32(_mm256_add_epi32(product, _mm256_set1_epi32(0x8000)), 16);
    const __m256i magnitude = _mm256_sub_epi32(upper, drop);
    const __m256i sign = _mm256_srai_epi32(bits, 31);
    const __m256i value = _mm256_sub_epi32(_mm256_xor_si256(magnitude, sign), sign);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(value), _mm256_set1_ps(kNormalUnit));
}

// Elements before the first whole block, and those after the last whole step, are left to the scalar path.
std::size_t lead(const NoiseAddress& address, std::size_t count) {
    const std::size_t words = (4 - address.offset % 4) % 4;
    return words < count ? words : count;
}

NoiseAddress advanced(NoiseAddress address, std::size_t count) {
    address.offset += count;
    return address;
}

}  // namespace

void philox_avx2(const NoiseAddress& address, std::size_t count, std::uint32_t* out) {
    std::size_t done = lead(address, count);
    philox_scalar(address, done, out);
    for (; count - done >= kStep; done += kStep) {
        __m256i words[2];
        four_blocks(address, (address.offset + done) / 4, words);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + done), words[0]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + done + 8), words[1]);
    }
    philox_scalar(advanced(address, done), count - done, out + done);
}

void normals_avx2(const NoiseAddress& address, std::size_t count, float* out) {
    std::size_t done = lead(address, count);
    normals_scalar(address, done, out);
    for (; count - done >= kStep; done += kStep) {
        __m256i words[2];
        four_blocks(address, (address.offset + done) / 4, words);
        _mm256_storeu_ps(out + done, eight_normals(words[0]));
        _mm256_storeu_ps(out + done + 8, eight_normals(words[1]));
    }
    normals_scalar(advanced(address, done), count - done, out + done);
}

}  // namespace duoview
