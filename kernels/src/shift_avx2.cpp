// AVX2 path of shifting a latent: two products and their sum an instruction, 24 outputs of four positions in registers.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "shift_cells.hpp"

namespace duoview {
namespace {

constexpr std::size_t kRegister = 16;  // elements of 16 bits

__m256i load(const std::int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
void store(std::int16_t* p, __m256i value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), value); }
__m128i load_four(const std::int16_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

// Two channels at a position, in all lanes.
__m256i spread(const std::int16_t* two) {
    std::int32_t bits;
    std::memcpy(&bits, two, sizeof bits);
    return _mm256_set1_epi32(bits);
}

// Eight outputs of four positions as (8, 4) int16, rounded and bounded. Packing saturates what is bounded afterwards anyway.
void finish(const __m256i (&sums)[kCellPositions], std::int16_t (&out)[kLanes * kCellPositions]) {
    const __m256i half = _mm256_set1_epi32(1 << (kShiftBits - 1));
    __m256i rounded[kCellPositions];
    for (std::size_t at = 0; at < kCellPositions; ++at)
        rounded[at] = _mm256_srai_epi32(_mm256_add_epi32(sums[at], half), kShiftBits);
    const __m256i top = _mm256_packs_epi32(rounded[0], rounded[1]), bottom = _mm256_packs_epi32(rounded[2], rounded[3]);
    const __m256i left = _mm256_unpacklo_epi16(top, bottom), right = _mm256_unpackhi_epi16(top, bottom);
    const __m256i most = _mm256_set1_epi16(kShiftLimit), least = _mm256_set1_epi16(-kShiftLimit);
    const __m256i low = _mm256_max_epi16(_mm256_min_epi16(_mm256_unpacklo_epi16(left, right), most), least);
    const __m256i high = _mm256_max_epi16(_mm256_min_epi16(_mm256_unpackhi_epi16(left, right), most), least);
    store(out, _mm256_permute2x128_si256(low, high, 0x20));
    store(out + kRegister, _mm256_permute2x128_si256(low, high, 0x31));
}

template <std::size_t Registers>
const std::int16_t* shift_block(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights,
                                std::size_t begin, std::int16_t* out) {
    __m256i sums[Registers][kCellPositions];
    for (auto& of : sums)
        for (__m256i& sum : of) sum = _mm256_setzero_si256();
    for (std::size_t pair = 0; pair < layout.pairs(); ++pair, patch += 2 * kPatchPositions) {
#pragma GCC unroll 9
        for (std::size_t tap = 0; tap < kShiftTaps; ++tap, weights += Registers * kRegister) {
            const std::int16_t* const corner = patch + 2 * (tap / kShiftSide * kPatchSide + tap % kShiftSide);
            __m256i factors[Registers];
            for (std::size_t r = 0; r < Registers; ++r) factors[r] = load(weights + r * kRegister);
            for (std::size_t at = 0; at < kCellPositions; ++at) {
                const __m256i two = spread(corner + 2 * (at / kCellSide * kPatchSide + at % kCellSide));
                for (std::size_t r = 0; r < Registers; ++r)
                    sums[r][at] = _mm256_add_epi32(sums[r][at], _mm256_madd_epi16(two, factors[r]));
            }
        }
    }
    for (std::size_t r = 0; r < Registers; ++r) {
        std::int16_t found[kLanes * kCellPositions];
        finish(sums[r], found);
        const std::size_t first = begin + r * kLanes, used = std::min(kLanes, layout.channels - first);
        std::memcpy(out + first * kCellPositions, found, used * kCellPositions * sizeof *out);
    }
    return weights;
}

}  // namespace

void add_operators_avx2(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum) {
    const std::int16_t *const a = operators[0], *const b = operators[1], *const c = operators[2], *const d = operators[3];
    for (std::size_t i = 0; i < size; i += kRegister)
        store(sum + i, _mm256_add_epi16(_mm256_add_epi16(load(a + i), load(b + i)), _mm256_add_epi16(load(c + i), load(d + i))));
}

void shift_cell_avx2(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out) {
    std::size_t left = layout.registers(), begin = 0;
    for (; left >= kBlockRegisters; left -= kBlockRegisters, begin += kBlockRegisters * kLanes)
        weights = shift_block<kBlockRegisters>(layout, patch, weights, begin, out);
    if (left == 2) shift_block<2>(layout, patch, weights, begin, out);
    if (left == 1) shift_block<1>(layout, patch, weights, begin, out);
}

void gather_patch_avx2(const ShiftLayout& layout, const std::int16_t* planes, std::size_t plane,
                       const std::size_t (&places)[kPatchPositions], std::int16_t* patch) {
    // Away from the edges the positions of a row of the patch are beside each other.
    if (places[kPatchSide - 1] - places[0] != kPatchSide - 1 || layout.channels % 2 != 0)
        return gather_patch_scalar(layout, planes, plane, places, patch);
    for (std::size_t pair = 0; pair < layout.pairs(); ++pair, planes += 2 * plane) {
        for (std::size_t row = 0; row < kPatchPositions; row += kPatchSide, patch += 2 * kPatchSide) {
            const std::int16_t* const from = planes + places[row];
            _mm_storeu_si128(reinterpret_cast<__m128i*>(patch), _mm_unpacklo_epi16(load_four(from), load_four(from + plane)));
        }
    }
}

}  // namespace duoview
