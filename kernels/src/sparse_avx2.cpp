// AVX2 path of packing and spreading: eight elements a step, by byte shuffles looked up for the set of coded ones.
#include <immintrin.h>

#include "sparse.hpp"
#include "survey.hpp"

namespace duoview {
namespace {

constexpr std::uint8_t kNothing = 0x80;  // a shuffle writes 0 for it

struct Shuffles {
    std::uint8_t pack[256][8];     // classes: places of the coded ones, in order
    std::uint8_t gather[256][16];  // symbols of two bytes: the same
    std::uint8_t spread[256][16];  // symbols of two bytes: which of the next ones goes to each place
};

constexpr Shuffles make_shuffles() {
    Shuffles shuffles{};
    for (int mask = 0; mask < 256; ++mask) {
        std::uint8_t next = 0;
        for (int place = 0; place < 8; ++place) {
            const bool coded = (mask >> place & 1) != 0;
            shuffles.spread[mask][2 * place] = coded ? static_cast<std::uint8_t>(2 * next) : kNothing;
            shuffles.spread[mask][2 * place + 1] = coded ? static_cast<std::uint8_t>(2 * next + 1) : kNothing;
            if (!coded) continue;
            shuffles.gather[mask][2 * next] = static_cast<std::uint8_t>(2 * place);
            shuffles.gather[mask][2 * next + 1] = static_cast<std::uint8_t>(2 * place + 1);
            shuffles.pack[mask][next++] = static_cast<std::uint8_t>(place);
        }
        for (int place = next; place < 8; ++place) {
            shuffles.pack[mask][place] = kNothing;
            shuffles.gather[mask][2 * place] = shuffles.gather[mask][2 * place + 1] = kNothing;
        }
    }
    return shuffles;
}

constexpr Shuffles kShuffles = make_shuffles();

__m128i load_half(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
__m128i load_eight(const std::uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

// One bit for each of eight classes that is not 0.
unsigned coded_mask(__m128i classes) {
    return ~static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(classes, _mm_setzero_si128()))) & 0xFFu;
}

}  // namespace

std::size_t pack_avx2(const std::uint8_t* classes, std::size_t count, std::uint8_t* packed) {
    std::size_t coded = 0, i = 0;
    for (; count - i >= 8; i += 8) {
        const __m128i eight = load_eight(classes + i);
        const unsigned mask = coded_mask(eight);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(packed + coded), _mm_shuffle_epi8(eight, load_eight(kShuffles.pack[mask])));
        coded += static_cast<std::size_t>(_mm_popcnt_u32(mask));
    }
    return coded + pack_scalar(classes + i, count - i, packed + coded);
}

std::size_t pack_symbols_avx2(const std::uint8_t* classes, const std::int16_t* symbols, std::size_t count,
                              std::int16_t* packed) {
    std::size_t coded = 0, i = 0;
    for (; count - i >= 8; i += 8) {
        const unsigned mask = coded_mask(load_eight(classes + i));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(packed + coded),
                         _mm_shuffle_epi8(load_half(symbols + i), load_half(kShuffles.gather[mask])));
        coded += static_cast<std::size_t>(_mm_popcnt_u32(mask));
    }
    return coded + pack_symbols_scalar(classes + i, symbols + i, count - i, packed + coded);
}

void spread_avx2(const std::uint8_t* classes, std::size_t count, std::size_t coded, std::int16_t* symbols) {
    std::size_t i = count;
    for (; i >= 8; i -= 8) {
        const unsigned mask = coded_mask(load_eight(classes + i - 8));
        coded -= static_cast<std::size_t>(_mm_popcnt_u32(mask));
        // Eight symbols from the first one wanted: coded + 8 <= i holds, so this stays inside what is not yet final.
        const __m128i next = load_half(symbols + coded);
        const __m128i order = load_half(kShuffles.spread[mask]);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols + i - 8), _mm_shuffle_epi8(next, order));
    }
    spread_scalar(classes, i, coded, symbols);
}

ClassSurvey survey_classes_avx2(const std::uint8_t* classes, std::size_t count) { return survey_classes(classes, count); }

SymbolSurvey survey_symbols_avx2(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count) {
    return survey_symbols(symbols, classes, count);
}

}  // namespace duoview
