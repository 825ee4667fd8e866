// AVX2 path: 32 lanes in four registers. Compiled with -mavx2 -mpopcnt; called only after the dispatcher has seen the CPU.
#include <immintrin.h>

#include "rans_decoder.hpp"
#include "rans_encoder.hpp"

namespace duoview {
namespace {

constexpr std::uint32_t kRegisters = 4;
// A register loads 16 bytes of words at the common position, wherever the registers before it left it.
constexpr std::ptrdiff_t kGroupBytes = 2 * kMaxLanes;

// For every set of lanes that need a word: which of the next eight words each lane takes.
struct WordOrder {
    std::uint8_t lanes[256][8];
};

constexpr WordOrder make_word_order() {
    WordOrder order{};
    for (int mask = 0; mask < 256; ++mask) {
        std::uint8_t next = 0;
        for (int lane = 0; lane < 8; ++lane)
            if (mask >> lane & 1) order.lanes[mask][lane] = next++;
    }
    return order;
}

constexpr WordOrder kWordOrder = make_word_order();

// Groups of 32 symbols, one per lane; stops before the first group that holds an escape or could pass the end of the data.
std::size_t decode_groups(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* classes, std::size_t count,
                          std::int16_t* symbols) {
    const __m256i slot_mask = _mm256_set1_epi32(static_cast<int>(kProbabilityScale) - 1);
    const __m256i escape = _mm256_set1_epi32(kEscape);
    __m256i x[kRegisters];
    for (std::uint32_t r = 0; r < kRegisters; ++r)
        x[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(state.x + 8 * r));
    const std::uint8_t* position = state.position;
    std::size_t done = 0;
    while (count - done >= kMaxLanes && state.end - position >= kGroupBytes) {
        __m256i popped[kRegisters], value[kRegisters];
        __m256i escaped = _mm256_setzero_si256();
        for (std::uint32_t r = 0; r < kRegisters; ++r) {
            const __m256i k = _mm256_cvtepu8_epi32(
                _mm_loadl_epi64(reinterpret_cast<const __m128i*>(classes + done + 8 * r)));
            const __m256i index = _mm256_or_si256(_mm256_slli_epi32(k, kProbabilityBits), _mm256_and_si256(x[r], slot_mask));
            const __m256i entry = _mm256_i32gather_epi32(reinterpret_cast<const int*>(lut), index, 4);
            value[r] = _mm256_srai_epi32(entry, 24);
            escaped = _mm256_or_si256(escaped, _mm256_cmpeq_epi32(value[r], escape));
            const __m256i frequency = _mm256_and_si256(entry, slot_mask);
            const __m256i bias = _mm256_and_si256(_mm256_srli_epi32(entry, 12), slot_mask);
            popped[r] = _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srli_epi32(x[r], kProbabilityBits)), bias);
        }
        if (!_mm256_testz_si256(escaped, escaped)) break;  // its words come before those of the lanes after it
        for (std::uint32_t r = 0; r < kRegisters; ++r) {
            const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(popped[r], 16), _mm256_setzero_si256());
            const unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
            const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(position)));
            const __m256i order = _mm256_cvtepu8_epi32(
                _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kWordOrder.lanes[mask])));
            const __m256i refilled = _mm256_or_si256(_mm256_slli_epi32(popped[r], 16), _mm256_permutevar8x32_epi32(words, order));
            x[r] = _mm256_blendv_epi8(popped[r], refilled, low);
            position += 2 * _mm_popcnt_u32(mask);
        }
        for (std::uint32_t r = 0; r < kRegisters; r += 2) {
            const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(value[r], value[r + 1]), 0xD8);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(symbols + done + 8 * r), packed);
        }
        done += kMaxLanes;
    }
    for (std::uint32_t r = 0; r < kRegisters; ++r) _mm256_storeu_si256(reinterpret_cast<__m256i*>(state.x + 8 * r), x[r]);
    state.position = position;
    return done;
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

std::uint8_t* encode_avx2(const EncodeJob& job, std::uint32_t* states, std::uint8_t* end) {
    return encode_symbols(job, states, end);
}

}  // namespace duoview
