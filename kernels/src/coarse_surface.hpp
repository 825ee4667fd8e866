// What a block differs by at every vector within a reach on shrunk planes, and where that is least: the first step of a search.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "block_difference.hpp"

namespace duoview {

class CoarseSurface {
public:
    static constexpr int kSize = 8;   // samples on the side of a block
    static constexpr int kReach = 8;  // greatest that can be looked at
    static constexpr std::size_t kBest = 4;

    struct Minimum {
        std::int32_t difference;
        int dy, dx;
    };

    // Sums of absolute differences at all vectors of up to `reach` samples.
    CoarseSurface(const BlockView& current, const BlockView& previous, int reach) : reach_(reach) {
        differences_.fill(kRim);
        for (int dy = -reach; dy <= reach; ++dy) {
            int dx = -reach;
#ifdef __SSE2__
            for (; dx + kGroup <= reach + 1; dx += kGroup)
                _mm_storeu_si128(reinterpret_cast<__m128i*>(at(dy, dx)), eight(current, previous.at(dy, dx), previous.stride));
#endif
            for (; dx <= reach; ++dx) *at(dy, dx) = static_cast<std::int16_t>(whole_difference<kSize>(current, previous, dy, dx));
        }
    }

    // The lowest of the local minima, row by row where they are equal; returns how many there are. A minimum is less than what
    // is to its left and above, and not more than what is to its right and below.
    std::size_t lowest(std::array<Minimum, kBest>& found) const {
        std::size_t count = 0;
        const auto take = [&](int dy, int dx) {
            const std::int32_t difference = *at(dy, dx);
            if (count == kBest && difference >= found.back().difference) return;
            std::size_t i = count == kBest ? kBest - 1 : count++;
            for (; i > 0 && difference < found[i - 1].difference; --i) found[i] = found[i - 1];
            found[i] = {difference, dy, dx};
        };
        for (int dy = -reach_; dy <= reach_; ++dy) {
#ifdef __SSE2__
            for (int dx = -reach_; dx <= reach_; dx += kGroup)
                for (unsigned minima = minima_of(at(dy, dx)); minima != 0; minima &= minima - 1)
                    take(dy, dx + __builtin_ctz(minima));
#else
            for (int dx = -reach_; dx <= reach_; ++dx) {
                const std::int16_t* const s = at(dy, dx);
                if (*s < s[-1] && *s < s[-kLine] && *s <= s[1] && *s <= s[kLine]) take(dy, dx);
            }
#endif
        }
        return count;
    }

private:
    static constexpr int kGroup = 8;  // of a register of 16 bits
    // With a rim that is never the lower one, so that minima need no test for edges; 8 x 8 samples differ by at most 16320.
    static constexpr std::int16_t kRim = 0x7FFF;
    static constexpr int kLine = 2 * kReach + 2 + kGroup;  // whole groups are read from every vector of a row on

    std::int16_t* at(int dy, int dx) { return &differences_[place(dy, dx)]; }
    const std::int16_t* at(int dy, int dx) const { return &differences_[place(dy, dx)]; }
    std::size_t place(int dy, int dx) const { return static_cast<std::size_t>((dy + reach_ + 1) * kLine + dx + reach_ + 1); }

#ifdef __SSE2__
    // Two rows of 8 samples.
    static __m128i two_rows(const std::uint8_t* p, std::ptrdiff_t stride) {
        const __m128i first = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        return _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(first), reinterpret_cast<const double*>(p + stride)));
    }

    // The differences of a block from eight, each a sample to the right of the one before.
    static __m128i eight(const BlockView& current, const std::uint8_t* previous, std::ptrdiff_t stride) {
        __m128i sums[kGroup];
        for (__m128i& sum : sums) sum = _mm_setzero_si128();
        for (int y = 0; y < kSize; y += 2) {
            const __m128i ours = two_rows(current.at(y, 0), current.stride);
            for (int x = 0; x < kGroup; ++x)
                sums[x] = _mm_add_epi64(sums[x], _mm_sad_epu8(ours, two_rows(previous + y * stride + x, stride)));
        }
        // Of each two sums of 16 bits that are to be added: all those of upper rows, and all those of lower ones, in order.
        const auto four = [&](int a, int b) {
            const __m128i even = _mm_packs_epi32(sums[a], sums[a + 4]), odd = _mm_packs_epi32(sums[b], sums[b + 4]);
            return _mm_or_si128(even, _mm_slli_epi32(odd, 16));
        };
        const __m128i left = four(0, 1), right = four(2, 3);
        const __m128i low = _mm_unpacklo_epi32(left, right), high = _mm_unpackhi_epi32(left, right);
        return _mm_add_epi16(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high));
    }

    // A bit for each of eight that is a local minimum.
    static unsigned minima_of(const std::int16_t* eight) {
        const auto load = [](const std::int16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
        const __m128i values = load(eight);
        const __m128i lower = _mm_and_si128(_mm_cmpgt_epi16(load(eight - 1), values),
                                            _mm_cmpgt_epi16(load(eight - kLine), values));
        const __m128i higher = _mm_or_si128(_mm_cmpgt_epi16(values, load(eight + 1)),
                                            _mm_cmpgt_epi16(values, load(eight + kLine)));
        const __m128i minima = _mm_andnot_si128(higher, lower);
        return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(minima, _mm_setzero_si128())));
    }
#endif

    const int reach_;
    std::array<std::int16_t, (2 * kReach + 3) * kLine + kGroup> differences_;
};

}  // namespace duoview
