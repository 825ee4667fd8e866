// AVX-512 path, with VNNI, of shifting a latent: as that of AVX2 with registers twice as wide, for 48 outputs of four positions.
#include "products_vnni.hpp"
#include "shift_products.hpp"

namespace duoview {
namespace {

constexpr std::size_t kRegister = 32;  // elements of 16 bits

// Packing saturates what is bounded afterwards anyway.
void finish(const __m512i (&sums)[kCellPositions], std::int16_t (&out)[Products::kLanes * kCellPositions]) {
    const __m512i half = _mm512_set1_epi32(1 << (kShiftBits - 1));
    __m512i rounded[kCellPositions];
    for (std::size_t at = 0; at < kCellPositions; ++at)
        rounded[at] = _mm512_srai_epi32(_mm512_add_epi32(sums[at], half), kShiftBits);
    const __m512i top = _mm512_packs_epi32(rounded[0], rounded[1]), bottom = _mm512_packs_epi32(rounded[2], rounded[3]);
    const __m512i left = _mm512_unpacklo_epi16(top, bottom), right = _mm512_unpackhi_epi16(top, bottom);
    const __m512i most = _mm512_set1_epi16(kShiftLimit), least = _mm512_set1_epi16(-kShiftLimit);
    // Of every four outputs, in a quarter of a register each, the first two and the other two.
    const __m512i low = _mm512_max_epi16(_mm512_min_epi16(_mm512_unpacklo_epi16(left, right), most), least);
    const __m512i high = _mm512_max_epi16(_mm512_min_epi16(_mm512_unpackhi_epi16(left, right), most), least);
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    Products::store(out, _mm512_permutex2var_epi64(low, first, high));
    Products::store(out + kRegister, _mm512_permutex2var_epi64(low, second, high));
}

}  // namespace

void add_operators_vnni(const std::int16_t* const (&operators)[4], std::size_t size, std::int16_t* sum) {
    ShiftProducts<Products>::add(operators, size, sum);
}

void shift_cell_vnni(const ShiftLayout& layout, const std::int16_t* patch, const std::int16_t* weights, std::int16_t* out) {
    ShiftProducts<Products>::shift<finish>(layout, patch, weights, out);
}

}  // namespace duoview
