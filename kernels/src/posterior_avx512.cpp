// AVX-512 path of posterior_sample: sixteen categories in a register, masks instead of padding.
#include <immintrin.h>

#include "posterior_rows.hpp"

namespace duoview {
namespace {

class Position {
public:
    Position()
        : coarse_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOctaveCoarse))),
          fine_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOctaveFine))) {}

    // Lanes outside of `used` are not read; they are the least number.
    static __m256i load(const std::int16_t* logits, __mmask16 used) {
        return _mm256_mask_loadu_epi16(_mm256_set1_epi16(INT16_MIN), used, logits);
    }

    // octave_weight of the logits in `live`, 0 elsewhere.
    __m512i weights(__m256i greatest, __m256i logits, __mmask16 live) const {
        const __m256i distance = _mm256_sub_epi16(greatest, logits);
        // A permutation takes the low four bits of an index and leaves the others alone.
        const __m256i mantissa = _mm256_mulhi_epu16(_mm256_permutexvar_epi16(_mm256_srli_epi16(distance, 4), coarse_),
                                                    _mm256_permutexvar_epi16(distance, fine_));
        return _mm512_maskz_srlv_epi32(live, _mm512_slli_epi32(_mm512_cvtepu16_epi32(mantissa), kWeightShift),
                                       _mm512_cvtepu16_epi32(_mm256_srli_epi16(distance, 8)));
    }

private:
    __m256i coarse_, fine_;
};

// The greatest of sixteen signed numbers, in all lanes.
__m256i greatest_of(__m256i values) {
    const __m128i eight = _mm_max_epi16(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    const __m128i flip = _mm_set1_epi16(0x7FFF);  // the order of signed numbers, reversed and unsigned
    return _mm256_broadcastw_epi16(_mm_xor_si128(_mm_minpos_epu16(_mm_xor_si128(eight, flip)), flip));
}

// Running sums of 16 lanes.
__m512i cumulative(__m512i x) {
    const __m512i zero = _mm512_setzero_si512();
    x = _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 15));
    x = _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 14));
    x = _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 12));
    return _mm512_add_epi32(x, _mm512_alignr_epi32(x, zero, 8));
}

std::uint32_t last_lane(__m512i x) {
    return static_cast<std::uint32_t>(_mm_extract_epi32(_mm512_extracti32x4_epi32(x, 3), 3));
}

// How many of the running sums in `lanes` are not above the target.
std::uint32_t not_above(__m512i sums, std::uint32_t target, __mmask16 lanes) {
    const __mmask16 low = _mm512_mask_cmple_epu32_mask(lanes, sums, _mm512_set1_epi32(static_cast<int>(target)));
    return static_cast<std::uint32_t>(__builtin_popcount(low));
}

std::uint32_t self_weight(__m256i greatest, std::int16_t logit) {
    const std::uint32_t top = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(greatest)));
    return weight_at((top - static_cast<std::uint32_t>(logit)) & 0xFFFFu);
}

__mmask16 first_lanes(std::uint32_t count) { return static_cast<__mmask16>((1u << count) - 1u); }

// Rows of at most sixteen categories.
template <Transition kTransition>
void sample_short(const PosteriorStep& step, const Rows& rows, const std::int16_t* logits, const std::uint8_t* states,
                  const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const Position position;
    constexpr bool uniform = kTransition == Transition::uniform;
    constexpr bool tree = kTransition == Transition::tree;
    const std::uint32_t result_shift = tree ? step.leaf_depth - step.next_depth : 0;
    const __mmask16 used = first_lanes(rows.count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t state = states[i];
        if (kTransition == Transition::absorbing && state != step.categories) {
            out[i] = static_cast<std::uint8_t>(state);
            continue;
        }
        const std::uint32_t first = tree ? state * rows.count : 0;
        const std::int16_t* const start = logits + i * step.categories + first;
        const __m256i row = Position::load(start, used);
        const __m256i greatest = greatest_of(row);
        const std::uint32_t self = uniform ? self_weight(greatest, start[state]) : 0;
        const std::uint32_t live = uniform ? used & ~(1u << state) : used;
        const __m512i sums = cumulative(position.weights(greatest, row, static_cast<__mmask16>(live)));
        const PosteriorChoice choice = choose<kTransition>(step, state, last_lane(sums), self, words + 2 * i);
        const std::uint32_t found = (first + not_above(sums, choice.target, 0xFFFF)) >> result_shift;
        out[i] = static_cast<std::uint8_t>(pick(choice.search, found, choice.category));
    }
}

// The sums of four registers.
__m128i four_sums(const __m512i* x) {
    __m256i half[4];
    for (int r = 0; r < 4; ++r) half[r] = _mm256_add_epi32(_mm512_castsi512_si256(x[r]), _mm512_extracti64x4_epi64(x[r], 1));
    const __m256i four = _mm256_hadd_epi32(_mm256_hadd_epi32(half[0], half[1]), _mm256_hadd_epi32(half[2], half[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
}

// Longer rows: the sums of the groups first, then one group again. `kGroups` is their number where the compiler is to know it,
// or else 0.
template <Transition kTransition, std::uint32_t kGroups>
void sample_long(const PosteriorStep& step, const Rows& rows, const std::int16_t* logits, const std::uint8_t* states,
                 const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const Position position;
    constexpr bool uniform = kTransition == Transition::uniform;
    constexpr bool tree = kTransition == Transition::tree;
    const std::uint32_t result_shift = tree ? step.leaf_depth - step.next_depth : 0;
    const std::uint32_t groups = kGroups ? kGroups : rows.groups;
    const std::uint32_t last = groups - 1;
    const __mmask16 before_last = first_lanes(last);
    __m256i row[kMaxGroups];
    __m512i weights[kMaxGroups];
    for (__m512i& weight : weights) weight = _mm512_setzero_si512();
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t state = states[i];
        if (kTransition == Transition::absorbing && state != step.categories) {
            out[i] = static_cast<std::uint8_t>(state);
            continue;
        }
        const std::uint32_t first = tree ? state * rows.count : 0;
        const std::int16_t* const start = logits + i * step.categories + first;
        __m256i most = _mm256_set1_epi16(INT16_MIN);
        for (std::uint32_t g = 0; g < groups; ++g) {
            row[g] = Position::load(start + g * kGroup, first_lanes(g == last ? rows.last_used : kGroup));
            most = _mm256_max_epi16(most, row[g]);
        }
        const __m256i greatest = greatest_of(most);
        const std::uint32_t self = uniform ? self_weight(greatest, start[state]) : 0;
        const std::uint32_t excluded_group = uniform ? state / kGroup : kMaxGroups;
        for (std::uint32_t g = 0; g < groups; ++g) {
            const std::uint32_t excluded = g == excluded_group ? 1u << state % kGroup : 0u;
            const std::uint32_t live = first_lanes(g == last ? rows.last_used : kGroup) & ~excluded;
            weights[g] = position.weights(greatest, row[g], static_cast<__mmask16>(live));
        }
        __m512i sums = _mm512_castsi128_si512(four_sums(weights));
        sums = _mm512_inserti32x4(_mm512_setzero_si512(), _mm512_castsi512_si128(sums), 0);
        if (groups > 4) sums = _mm512_inserti32x4(sums, four_sums(weights + 4), 1);
        if (groups > 8) sums = _mm512_inserti32x4(sums, four_sums(weights + 8), 2);
        if (groups > 12) sums = _mm512_inserti32x4(sums, four_sums(weights + 12), 3);
        sums = cumulative(sums);
        std::uint32_t before[kMaxGroups + 1];
        before[0] = 0;
        _mm512_storeu_si512(before + 1, sums);
        const PosteriorChoice choice = choose<kTransition>(step, state, last_lane(sums), self, words + 2 * i);
        // Searched even where nothing asks for it: cheaper than a branch that chance decides.
        const std::uint32_t g = not_above(sums, choice.target, before_last);
        const std::uint32_t within = not_above(cumulative(weights[g]), choice.target - before[g], 0xFFFF);
        const std::uint32_t found = (first + g * kGroup + within) >> result_shift;
        out[i] = static_cast<std::uint8_t>(pick(choice.search, found, choice.category));
    }
}

template <Transition kTransition>
void sample_rows(const PosteriorStep& step, const Rows& rows, const std::int16_t* logits, const std::uint8_t* states,
                 const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const auto sample = rows.groups == 1   ? sample_short<kTransition>
                        : rows.groups == 2 ? sample_long<kTransition, 2>
                        : rows.groups == 4 ? sample_long<kTransition, 4>
                                           : sample_long<kTransition, 0>;
    sample(step, rows, logits, states, words, count, out);
}

}  // namespace

void posterior_avx512(const PosteriorStep& step, const std::int16_t* logits, std::size_t, const std::uint8_t* states,
                      const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const auto sample = step.transition == Transition::uniform     ? sample_rows<Transition::uniform>
                        : step.transition == Transition::absorbing ? sample_rows<Transition::absorbing>
                                                                   : sample_rows<Transition::tree>;
    sample(step, rows_of(step), logits, states, words, count, out);
}

}  // namespace duoview
