// AVX2 path: 32 lanes in four registers. Compiled with -mavx2 -mpopcnt; called only after the dispatcher has seen the CPU.
//
// Table entries are fetched with scalar loads and put together again: on Zen 4 that is 8 to 10 % faster than the gather
// instruction, and on CPUs with the gather data sampling fix far more. AVX-512 (16 lanes a register, expand and compress)
// measured 2 to 8 % slower than this in decoding and 6 to 11 % faster in encoding, on Zen 4: not worth a path of its own.
#include <immintrin.h>

#include "rans_decoder.hpp"
#include "rans_encoder.hpp"

namespace duoview {
namespace {

constexpr std::uint32_t kRegisters = 4;
// A register loads 16 bytes of words at the common position, wherever the registers before it left it.
constexpr std::ptrdiff_t kGroupBytes = 2 * kMaxLanes;

// For every set of eight lanes that move a word.
struct WordOrder {
    alignas(32) std::uint32_t refill[256][8];  // which of the next eight words each lane takes
    alignas(32) std::uint32_t flush[256][8];   // the lanes of the set in order, in the last places
};

constexpr WordOrder make_word_order() {
    WordOrder order{};
    for (int mask = 0; mask < 256; ++mask) {
        std::uint32_t next = 0;
        for (int lane = 0; lane < 8; ++lane)
            if (mask >> lane & 1) order.refill[mask][lane] = next++;
        std::uint32_t place = 8 - next;
        for (std::uint32_t lane = 0; lane < 8; ++lane)
            if (mask >> lane & 1) order.flush[mask][place++] = lane;
    }
    return order;
}

constexpr WordOrder kWordOrder = make_word_order();

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
__m128i load_half(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
void store(void* p, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(p), value); }
unsigned sign_mask(__m256i value) { return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(value))); }

DecodeEntry entry_at(const DecodeEntry* lut, std::uint64_t index) { return lut[static_cast<std::uint32_t>(index)]; }

__m256i fetch_decode(const DecodeEntry* lut, __m256i index) {
    const auto a = static_cast<std::uint64_t>(_mm256_extract_epi64(index, 0));
    const auto b = static_cast<std::uint64_t>(_mm256_extract_epi64(index, 1));
    const auto c = static_cast<std::uint64_t>(_mm256_extract_epi64(index, 2));
    const auto d = static_cast<std::uint64_t>(_mm256_extract_epi64(index, 3));
    const auto at = [lut](std::uint64_t i) { return static_cast<int>(entry_at(lut, i)); };
    return _mm256_setr_epi32(at(a), at(a >> 32), at(b), at(b >> 32), at(c), at(c >> 32), at(d), at(d >> 32));
}

// Groups of 32 symbols, one per lane; stops before the first group that holds an escape or could pass the end of the data.
std::size_t decode_groups(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* classes, std::size_t count,
                          std::int16_t* symbols) {
    const __m256i slot_mask = _mm256_set1_epi32(static_cast<int>(kProbabilityScale) - 1);
    const __m256i escape = _mm256_set1_epi16(kEscape);
    __m256i x[kRegisters];
    for (std::uint32_t r = 0; r < kRegisters; ++r) x[r] = load(state.x + 8 * r);
    const std::uint8_t* position = state.position;
    std::size_t done = 0;
    while (count - done >= kMaxLanes && state.end - position >= kGroupBytes) {
        __m256i entry[kRegisters];
        for (std::uint32_t r = 0; r < kRegisters; ++r) {
            const __m256i k = _mm256_cvtepu8_epi32(
                _mm_loadl_epi64(reinterpret_cast<const __m128i*>(classes + done + 8 * r)));
            entry[r] = fetch_decode(
                lut, _mm256_or_si256(_mm256_slli_epi32(k, kProbabilityBits), _mm256_and_si256(x[r], slot_mask)));
        }
        const __m256i front = _mm256_packs_epi32(_mm256_srai_epi32(entry[0], 24), _mm256_srai_epi32(entry[1], 24));
        const __m256i back = _mm256_packs_epi32(_mm256_srai_epi32(entry[2], 24), _mm256_srai_epi32(entry[3], 24));
        const __m256i escaped = _mm256_or_si256(_mm256_cmpeq_epi16(front, escape), _mm256_cmpeq_epi16(back, escape));
        if (!_mm256_testz_si256(escaped, escaped)) break;  // its words come before those of the lanes after it
        for (std::uint32_t r = 0; r < kRegisters; ++r) {
            const __m256i frequency = _mm256_and_si256(entry[r], slot_mask);
            const __m256i bias = _mm256_and_si256(_mm256_srli_epi32(entry[r], 12), slot_mask);
            const __m256i popped =
                _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srli_epi32(x[r], kProbabilityBits)), bias);
            const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(popped, 16), _mm256_setzero_si256());
            const unsigned mask = sign_mask(low);
            const __m256i words = _mm256_cvtepu16_epi32(load_half(position));
            const __m256i refilled = _mm256_or_si256(
                _mm256_slli_epi32(popped, 16), _mm256_permutevar8x32_epi32(words, load(kWordOrder.refill[mask])));
            x[r] = _mm256_blendv_epi8(popped, refilled, low);
            position += 2 * _mm_popcnt_u32(mask);
        }
        store(symbols + done, _mm256_permute4x64_epi64(front, 0xD8));
        store(symbols + done + 16, _mm256_permute4x64_epi64(back, 0xD8));
        done += kMaxLanes;
    }
    for (std::uint32_t r = 0; r < kRegisters; ++r) store(state.x + 8 * r, x[r]);
    state.position = position;
    return done;
}

// Entries of eight symbols, given their places in the table as 16-bit integers.
__m256i fetch_encode(const EncodeEntry* entries, __m128i places) {
    const auto a = static_cast<std::uint64_t>(_mm_cvtsi128_si64(places));
    const auto b = static_cast<std::uint64_t>(_mm_extract_epi64(places, 1));
    const auto at = [entries](std::uint64_t i) { return static_cast<int>(entries[i & 0xFFFFu]); };
    return _mm256_setr_epi32(at(a), at(a >> 16), at(a >> 32), at(a >> 48), at(b), at(b >> 16), at(b >> 32), at(b >> 48));
}

// floor(x / frequency) for 1 <= frequency <= 4095 and x < frequency * 2^20, by single-precision division. x / 2 and
// frequency / 2 are what is divided, since conversion takes signed integers only. Up to frequency 2 that is exact but for the
// bit that x / 2 drops, worth one at frequency 1. Above, that bit is worth at most 1/3 of the quotient's unit, and conversion
// and division err by 2^-22 of a quotient below 2^20 at most, in every rounding mode. So the truncated value is off by one at
// most, which the remainder tells.
__m256i divide(__m256i x, __m256i frequency) {
    const __m256 dividend = _mm256_cvtepi32_ps(_mm256_srli_epi32(x, 1));
    const __m256 divisor = _mm256_mul_ps(_mm256_cvtepi32_ps(frequency), _mm256_set1_ps(0.5f));
    const __m256i near = _mm256_cvttps_epi32(_mm256_div_ps(dividend, divisor));
    const __m256i remainder = _mm256_sub_epi32(x, _mm256_mullo_epi32(near, frequency));
    const __m256i too_small = _mm256_cmpgt_epi32(remainder, _mm256_sub_epi32(frequency, _mm256_set1_epi32(1)));
    return _mm256_sub_epi32(_mm256_add_epi32(near, _mm256_srai_epi32(remainder, 31)), too_small);
}

// Groups of 32 symbols from the last one left (state.left is a multiple of 32); stops before the first group that needs an
// escape, or is uncodable.
void encode_groups(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols, const std::uint8_t* classes) {
    const __m256i frequency_mask = _mm256_set1_epi32(static_cast<int>(kProbabilityScale) - 1);
    const __m256i scale = _mm256_set1_epi32(static_cast<int>(kProbabilityScale));
    const __m256i word_mask = _mm256_set1_epi32(0xFFFF);
    const __m256i offset = _mm256_set1_epi16(kEncodeOffset);
    __m256i x[kRegisters];
    for (std::uint32_t r = 0; r < kRegisters; ++r) x[r] = load(state.x + 8 * r);
    std::uint8_t* position = state.position;
    std::size_t left = state.left;
    while (left > 0) {
        const std::size_t i = left - kMaxLanes;
        const __m256i front = _mm256_add_epi16(load(symbols + i), offset);
        const __m256i back = _mm256_add_epi16(load(symbols + i + 16), offset);
        const __m256i beyond = _mm256_srli_epi16(_mm256_or_si256(front, back), 8);
        if (!_mm256_testz_si256(beyond, beyond)) break;
        const __m256i front_places =
            _mm256_or_si256(_mm256_slli_epi16(_mm256_cvtepu8_epi16(load_half(classes + i)), 8), front);
        const __m256i back_places =
            _mm256_or_si256(_mm256_slli_epi16(_mm256_cvtepu8_epi16(load_half(classes + i + 16)), 8), back);
        const __m256i entry[kRegisters] = {
            fetch_encode(tables.symbols, _mm256_castsi256_si128(front_places)),
            fetch_encode(tables.symbols, _mm256_extracti128_si256(front_places, 1)),
            fetch_encode(tables.symbols, _mm256_castsi256_si128(back_places)),
            fetch_encode(tables.symbols, _mm256_extracti128_si256(back_places, 1)),
        };
        __m256i missing = _mm256_setzero_si256();
        for (std::uint32_t r = 0; r < kRegisters; ++r)
            missing = _mm256_or_si256(missing, _mm256_cmpeq_epi32(entry[r], _mm256_setzero_si256()));
        if (!_mm256_testz_si256(missing, missing)) break;
        for (std::uint32_t r = kRegisters; r-- > 0;) {
            const __m256i frequency = _mm256_and_si256(entry[r], frequency_mask);
            const __m256i limit = _mm256_slli_epi32(frequency, 20);
            const __m256i full = _mm256_cmpeq_epi32(_mm256_max_epu32(x[r], limit), x[r]);
            const unsigned mask = sign_mask(full);
            const __m256i words =
                _mm256_and_si256(_mm256_permutevar8x32_epi32(x[r], load(kWordOrder.flush[mask])), word_mask);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(position - 16),
                             _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
            position -= 2 * _mm_popcnt_u32(mask);
            const __m256i flushed = _mm256_blendv_epi8(x[r], _mm256_srli_epi32(x[r], 16), full);
            const __m256i moved = _mm256_mullo_epi32(divide(flushed, frequency), _mm256_sub_epi32(scale, frequency));
            x[r] = _mm256_add_epi32(_mm256_add_epi32(flushed, _mm256_srli_epi32(entry[r], 12)), moved);
        }
        left = i;
    }
    for (std::uint32_t r = 0; r < kRegisters; ++r) store(state.x + 8 * r, x[r]);
    state.position = position;
    state.left = left;
}

}  // namespace

void decode_avx2(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width, const std::uint8_t* classes,
                 std::size_t count, std::int16_t* symbols) {
    if (state.lanes != kMaxLanes) {  // one or four states fill no register
        decode_scalar(state, lut, width, classes, count, symbols);
        return;
    }
    const std::size_t lead = (kMaxLanes - state.next) % kMaxLanes;
    std::size_t done = decode_run(state, lut, width, classes, lead < count ? lead : count, symbols);
    while (state.fault == Fault::none && done < count) {
        done += decode_groups(state, lut, classes + done, count - done, symbols + done);
        // A group with an escape, or the rest: symbol by symbol.
        const std::size_t rest = count - done < kMaxLanes ? count - done : kMaxLanes;
        done += decode_run(state, lut, width, classes + done, rest, symbols + done);
    }
}

void encode_avx2(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols, const std::uint8_t* classes) {
    if (state.lanes != kMaxLanes) {
        encode_scalar(state, tables, symbols, classes);
        return;
    }
    if (!has_room(state) || !encode_run(state, tables, symbols, classes, state.left % kMaxLanes)) return;
    while (state.left > 0 && has_room(state)) {
        encode_groups(state, tables, symbols, classes);
        // A group with an escape: symbol by symbol.
        if (state.left > 0 && !encode_run(state, tables, symbols, classes, kMaxLanes)) return;
    }
}

}  // namespace duoview
