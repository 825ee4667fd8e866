// AVX2 path of shifting a latent: two products and their sum an instruction, 24 outputs of four positions in registers.
#include "products_avx2.hpp"
#include "shift_products.hpp"

namespace duoview {
namespace {

constexpr std::size_t kRegister = 16;  // elements of 16 bits

__m128i load_four(const std::int16_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

// Packing saturates what is bounded afterwards anyway.
void finish(const __m256i (&sums)[kCellPositions], std::int16_t (&out)[Products::kLanes * kCellPositions]) {
    const __m256i half = _mm256_set1_epi32(1 << (kShiftBits - 1));
    __m256i rounded[kCellPositions];
    for (std::size_t at = 0; at < kCellPositions; ++at)
        rounded[at] = _mm256_srai_epi32(_mm256_add_epi32(sums[at], half), kShiftBits);
    const __m256i top = _mm256_packs_epi32(rounded[0], rounded[1]), bottom = _mm256_packs_epi32(rounded[2], rounded[3]);
    const __m256i left = _mm256_unpacklo_epi16(top, bottom), right = _mm256_unpackhi_epi16(top, bottom);
    const __m256i most = _mm256_set1_epi16(kShiftLimit), least = _mm256_set1_epi16(-kShiftLimit);
    const __m256i low = _mm256_max_epi16(_mm256_min_epi16(_mm256_unpacklo_epi16(left, right), most), least);
    const __m256i high = _mm256_max_epi16(_mm256_min_epi16(_mm256_unpackhi_epi16(left, right), most), least);
    Products::store(out, _mm256_permute2x128_si256(low, high, 0x20));
    Products::store(out + kRegister, _mm256_permute2x128_si256(low, high, 0x31));
}

}  // namespace

void add_operators_avx2(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum) {
    ShiftProducts<Products>::add(operators, size, sum);
}

void shift_cell_avx2(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out) {
    ShiftProducts<Products>::shift<finish>(layout, patch, weights, out);
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
