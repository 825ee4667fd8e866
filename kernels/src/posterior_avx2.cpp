// AVX2 path of posterior_sample: sixteen categories at a time, one position after another.
#include <immintrin.h>

#include <cstring>

#include "posterior_rows.hpp"

namespace duoview {
namespace {

struct Weights {
    __m256i low, high;  // of categories 0 .. 7 and 8 .. 15 of a group
};

// A 16-entry table of 16-bit numbers, split so that a byte shuffle can look it up.
struct SplitTable {
    __m256i low, high;
    explicit SplitTable(const std::uint16_t* table) {
        alignas(16) std::uint8_t bytes[2][16];
        for (int i = 0; i < 16; ++i) {
            bytes[0][i] = static_cast<std::uint8_t>(table[i]);
            bytes[1][i] = static_cast<std::uint8_t>(table[i] >> 8);
        }
        low = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes[0])));
        high = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes[1])));
    }
    // `index` holds 0 .. 15 in each 16-bit lane.
    __m256i operator()(__m256i index) const {
        const __m256i unused = _mm256_set1_epi16(static_cast<short>(0x8000));  // a byte index of 0x80 gives 0
        const __m256i low_bytes = _mm256_shuffle_epi8(low, _mm256_or_si256(index, unused));
        const __m256i high_bytes = _mm256_shuffle_epi8(high, _mm256_or_si256(_mm256_slli_epi16(index, 8),
                                                                            _mm256_set1_epi16(0x80)));
        return _mm256_or_si256(low_bytes, high_bytes);
    }
};

// 16-bit lanes stand as 0-3, 8-11, 4-7, 12-15, so that unpacking within 128 bits leaves 32-bit lanes in order.
__m256i ordered(__m256i lanes) { return _mm256_permute4x64_epi64(lanes, 0xD8); }

class Position {
public:
    Position() : coarse_(kOctaveCoarse), fine_(kOctaveFine) {
        lane_ = ordered(_mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    }

    // `used` of the sixteen numbers belong to the row; `whole` tells that all sixteen may be read.
    static __m256i load(const std::int16_t* logits, std::uint32_t used, bool whole) {
        if (whole) return ordered(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(logits)));
        alignas(32) std::int16_t copy[kGroup] = {};
        std::memcpy(copy, logits, used * sizeof *logits);
        return ordered(_mm256_load_si256(reinterpret_cast<const __m256i*>(copy)));
    }

    // All ones where the lane is not below `used`.
    __m256i beyond(std::uint32_t used) const {
        return _mm256_cmpgt_epi16(lane_, _mm256_set1_epi16(static_cast<short>(used - 1)));
    }

    // All ones in the lane of `category`, if it is one of this group's.
    __m256i only(std::uint32_t category) const { return _mm256_cmpeq_epi16(lane_, _mm256_set1_epi16(static_cast<short>(category))); }

    // octave_weight of sixteen logits; 0 where `dead` is all ones.
    Weights weights(__m256i greatest, __m256i logits, __m256i dead) const {
        const __m256i distance = _mm256_sub_epi16(greatest, logits);
        const __m256i nibble = _mm256_set1_epi16(15);
        const __m256i mantissa = _mm256_mulhi_epu16(coarse_(_mm256_and_si256(_mm256_srli_epi16(distance, 4), nibble)),
                                                    fine_(_mm256_and_si256(distance, nibble)));
        // The mantissa stands in the upper half of 32 bits; a shift by 32 or more gives 0.
        const __m256i shift = _mm256_or_si256(
            _mm256_add_epi16(_mm256_srli_epi16(distance, 8), _mm256_set1_epi16(16 - kWeightShift)), dead);
        const __m256i zero = _mm256_setzero_si256();
        return {_mm256_srlv_epi32(_mm256_unpacklo_epi16(zero, mantissa), _mm256_unpacklo_epi16(shift, zero)),
                _mm256_srlv_epi32(_mm256_unpackhi_epi16(zero, mantissa), _mm256_unpackhi_epi16(shift, zero))};
    }

private:
    SplitTable coarse_, fine_;
    __m256i lane_;
};

// The greatest of sixteen signed numbers, in all lanes.
__m256i greatest_of(__m256i values) {
    const __m128i eight = _mm_max_epi16(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    const __m128i flip = _mm_set1_epi16(0x7FFF);  // the order of signed numbers, reversed and unsigned
    return _mm256_broadcastw_epi16(_mm_xor_si128(_mm_minpos_epu16(_mm_xor_si128(eight, flip)), flip));
}

// Running sums of 8 lanes.
__m256i cumulative8(__m256i x) {
    x = _mm256_add_epi32(x, _mm256_slli_si256(x, 4));
    x = _mm256_add_epi32(x, _mm256_slli_si256(x, 8));
    const __m256i carry = _mm256_shuffle_epi32(_mm256_permute2x128_si256(x, x, 0x08), 0xFF);  // low half's total, to the high
    return _mm256_add_epi32(x, carry);
}

Weights cumulative(Weights w) {
    w.low = cumulative8(w.low);
    w.high = _mm256_add_epi32(cumulative8(w.high), _mm256_permutevar8x32_epi32(w.low, _mm256_set1_epi32(7)));
    return w;
}

std::uint32_t last_lane(__m256i x) {
    return static_cast<std::uint32_t>(_mm_extract_epi32(_mm256_extracti128_si256(x, 1), 3));
}

// How many of sixteen running sums are not above the target; all are below 2^31.
std::uint32_t not_above(Weights sums, std::uint32_t target) {
    const __m256i t = _mm256_set1_epi32(static_cast<int>(target));
    const unsigned low = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(sums.low, t))));
    const unsigned high = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(sums.high, t))));
    return 16u - static_cast<unsigned>(__builtin_popcount(low | high << 8));
}

// Rows of at most sixteen categories: everything stays in registers.
template <Transition kTransition>
void sample_short(const PosteriorStep& step, const Rows& rows, const std::int16_t* logits, std::size_t readable,
                  const std::uint8_t* states, const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const Position position;
    constexpr bool uniform = kTransition == Transition::uniform;
    constexpr bool tree = kTransition == Transition::tree;
    const std::uint32_t result_shift = tree ? step.leaf_depth - step.next_depth : 0;
    const __m256i pad = position.beyond(rows.last_used);
    const __m256i least = _mm256_set1_epi16(INT16_MIN);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t state = states[i];
        if (kTransition == Transition::absorbing && state != step.categories) {
            out[i] = static_cast<std::uint8_t>(state);
            continue;
        }
        const std::uint32_t first = tree ? state * rows.count : 0;
        const std::size_t at = i * step.categories + first;
        const __m256i row = Position::load(logits + at, rows.count, readable - at >= kGroup);
        const __m256i greatest = greatest_of(_mm256_blendv_epi8(row, least, pad));
        __m256i dead = pad;
        std::uint32_t self = 0;
        if (uniform) {
            dead = _mm256_or_si256(dead, position.only(state));
            const std::uint32_t top = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(greatest)));
            self = weight_at((top - static_cast<std::uint32_t>(logits[at + state])) & 0xFFFFu);
        }
        const Weights sums = cumulative(position.weights(greatest, row, dead));
        const PosteriorChoice choice = choose<kTransition>(step, state, last_lane(sums.high), self, words + 2 * i);
        const std::uint32_t found = (first + not_above(sums, choice.target)) >> result_shift;
        out[i] = static_cast<std::uint8_t>(pick(choice.search, found, choice.category));
    }
}

// Longer rows: the sums of the groups first, then one group again. `kGroups` is their number where the compiler is to know it,
// or else 0.
template <Transition kTransition, std::uint32_t kGroups>
void sample_long(const PosteriorStep& step, const Rows& rows, const std::int16_t* logits, std::size_t readable,
                 const std::uint8_t* states, const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const Position position;
    constexpr bool uniform = kTransition == Transition::uniform;
    constexpr bool tree = kTransition == Transition::tree;
    const std::uint32_t result_shift = tree ? step.leaf_depth - step.next_depth : 0;
    const std::uint32_t groups = kGroups ? kGroups : rows.groups;
    const __m256i pad = position.beyond(rows.last_used);
    const __m256i least = _mm256_set1_epi16(INT16_MIN);
    const __m256i none = _mm256_setzero_si256();
    __m256i row[kMaxGroups];
    Weights weights[kMaxGroups];
    __m256i eights[kMaxGroups + 3];  // a group's weights, in 8 sums; padded to whole fours
    for (__m256i& sum : eights) sum = none;
    alignas(16) std::uint32_t group_sum[kMaxGroups + 3];
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t state = states[i];
        if (kTransition == Transition::absorbing && state != step.categories) {
            out[i] = static_cast<std::uint8_t>(state);
            continue;
        }
        const std::uint32_t first = tree ? state * rows.count : 0;
        const std::size_t at = i * step.categories + first;
        const std::uint32_t last = groups - 1;
        __m256i most = Position::load(logits + at + last * kGroup, rows.last_used, readable - at >= groups * kGroup);
        row[last] = most;
        most = _mm256_blendv_epi8(most, least, pad);
        for (std::uint32_t g = 0; g < last; ++g) {
            row[g] = Position::load(logits + at + g * kGroup, kGroup, true);
            most = _mm256_max_epi16(most, row[g]);
        }
        const __m256i greatest = greatest_of(most);
        std::uint32_t self = 0;
        if (uniform) {
            const std::uint32_t top = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(greatest)));
            self = weight_at((top - static_cast<std::uint32_t>(logits[at + state])) & 0xFFFFu);
        }
        for (std::uint32_t g = 0; g < groups; ++g) {
            __m256i dead = g == last ? pad : none;
            if (uniform) dead = _mm256_or_si256(dead, position.only(state - g * kGroup));
            weights[g] = position.weights(greatest, row[g], dead);
            eights[g] = _mm256_add_epi32(weights[g].low, weights[g].high);
        }
        for (std::uint32_t g = 0; g < groups; g += 4) {
            const __m256i four = _mm256_hadd_epi32(_mm256_hadd_epi32(eights[g], eights[g + 1]),
                                                   _mm256_hadd_epi32(eights[g + 2], eights[g + 3]));
            _mm_store_si128(reinterpret_cast<__m128i*>(group_sum + g),
                            _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1)));
        }
        std::uint32_t sum = 0;
        for (std::uint32_t g = 0; g < groups; ++g) {
            sum += group_sum[g];
            group_sum[g] = sum;
        }
        const PosteriorChoice choice = choose<kTransition>(step, state, sum, self, words + 2 * i);
        std::uint32_t g = 0;  // searched even where nothing asks for it: cheaper than a branch that chance decides
        for (std::uint32_t k = 0; k < last; ++k) g += group_sum[k] <= choice.target;
        const std::uint32_t before = g ? group_sum[g - 1] : 0;
        const std::uint32_t within = not_above(cumulative(weights[g]), choice.target - before);
        const std::uint32_t found = (first + g * kGroup + within) >> result_shift;
        out[i] = static_cast<std::uint8_t>(pick(choice.search, found, choice.category));
    }
}

template <Transition kTransition>
void sample_rows(const PosteriorStep& step, const Rows& rows, const std::int16_t* logits, std::size_t readable,
                 const std::uint8_t* states, const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const auto sample = rows.groups == 1   ? sample_short<kTransition>
                        : rows.groups == 2 ? sample_long<kTransition, 2>
                        : rows.groups == 4 ? sample_long<kTransition, 4>
                                           : sample_long<kTransition, 0>;
    sample(step, rows, logits, readable, states, words, count, out);
}

}  // namespace

void posterior_avx2(const PosteriorStep& step, const std::int16_t* logits, std::size_t readable, const std::uint8_t* states,
                    const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    const auto sample = step.transition == Transition::uniform     ? sample_rows<Transition::uniform>
                        : step.transition == Transition::absorbing ? sample_rows<Transition::absorbing>
                                                                   : sample_rows<Transition::tree>;
    sample(step, rows_of(step), logits, readable, states, words, count, out);
}

}  // namespace duoview
