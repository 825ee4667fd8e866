// How little a block can differ at the vectors of a small window: most need no difference of their samples to be left out.
//
// Sums over parts of two blocks differ by no more than their samples do: the successive elimination of Li and Salari, "Successive
// Elimination Algorithm for Motion Estimation" (IEEE TIP 1995), with parts of 8 x 8 samples.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "block_difference.hpp"

namespace duoview {

template <int Size>
class BlockBounds {
public:
    static constexpr int kRows = 7, kColumns = 7;  // of a window, at most
    static constexpr int kBeyond = 7;              // samples that are read behind those of a row's rightmost block, at most

    // The block that is looked for.
    void enter(const BlockView& current) {
#ifdef __SSE2__
        for (int y = 0; y < kParts; ++y)
            for (int x = 0; x < kParts; ++x) {
                __m128i sum = _mm_setzero_si128();
                for (int row = 0; row < kPart; ++row)
                    sum = _mm_add_epi64(sum, _mm_sad_epu8(load_samples<kPart>(current.at(kPart * y + row, kPart * x)),
                                                          _mm_setzero_si128()));
                parts_[static_cast<std::size_t>(y * kParts + x)] = static_cast<std::uint16_t>(_mm_cvtsi128_si32(sum));
            }
#else
        static_cast<void>(current);
#endif
    }

    // Vectors (dy, dx) to (dy + rows - 1, dx + kColumns - 1), whose samples can be read, and kBeyond to the right of them.
    void find(const BlockView& previous, int dy, int dx, int rows) {
#ifdef __SSE2__
        for (auto& row : bounds_) row.fill(0);
        const auto samples = [&](int row, int x) {
            return _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(previous.at(dy + row, dx + kPart * x))),
                                     _mm_setzero_si128());
        };
        __m128i columns[kParts + 1];  // sums of eight rows
        for (int x = 0; x <= kParts; ++x) {
            columns[x] = samples(0, x);
            for (int row = 1; row < kPart; ++row) columns[x] = _mm_add_epi16(columns[x], samples(row, x));
        }
        const int last = rows - 1 + Size - kPart;
        for (int top = 0; top <= last; ++top) {
            take(columns, top, rows);
            if (top == last) break;
            for (int x = 0; x <= kParts; ++x)
                columns[x] = _mm_sub_epi16(_mm_add_epi16(columns[x], samples(top + kPart, x)), samples(top, x));
        }
#else
        static_cast<void>(previous), static_cast<void>(dy), static_cast<void>(dx), static_cast<void>(rows);
#endif
    }

    // No more than what the block differs by at a vector of the window.
    std::uint32_t at(int row, int column) const {
        return bounds_[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)];
    }

private:
    static constexpr int kPart = 8, kParts = Size / kPart;
    static constexpr std::size_t kLanes = 8;

#ifdef __SSE2__
    // The numbers `Bytes` / 2 places behind those of `a`, of which `b` has the last ones.
    template <int Bytes>
    static __m128i behind(__m128i a, __m128i b) {
        return _mm_or_si128(_mm_srli_si128(a, Bytes), _mm_slli_si128(b, 16 - Bytes));
    }

    // Sums of eight numbers in a row, from each of those in `from` but the last eight on.
    static void add_eight(const __m128i (&from)[kParts + 1], __m128i (&to)[kParts]) {
        __m128i pairs[kParts + 2], fours[kParts + 2];
        pairs[kParts + 1] = fours[kParts + 1] = _mm_setzero_si128();  // the last of a row are not asked for
        for (int x = 0; x <= kParts; ++x)
            pairs[x] = _mm_add_epi16(from[x], behind<2>(from[x], x < kParts ? from[x + 1] : _mm_setzero_si128()));
        for (int x = 0; x <= kParts; ++x) fours[x] = _mm_add_epi16(pairs[x], behind<4>(pairs[x], pairs[x + 1]));
        for (int x = 0; x < kParts; ++x) to[x] = _mm_add_epi16(fours[x], behind<8>(fours[x], fours[x + 1]));
    }

    // Adds what the parts that begin in row `top` of the window differ by to the bounds they belong to.
    void take(const __m128i (&columns)[kParts + 1], int top, int rows) {
        __m128i sums[kParts];
        add_eight(columns, sums);
        for (int y = 0; y < kParts; ++y) {
            const int row = top - kPart * y;
            if (row < 0 || row >= rows) continue;
            auto* const to = reinterpret_cast<__m128i*>(bounds_[static_cast<std::size_t>(row)].data());
            __m128i bound = _mm_load_si128(to);
            for (int x = 0; x < kParts; ++x) {
                const __m128i part = _mm_set1_epi16(static_cast<short>(parts_[static_cast<std::size_t>(y * kParts + x)]));
                // Neither has its highest bit set. The sum ends at 65535, which is a bound as well.
                bound = _mm_adds_epu16(bound, _mm_or_si128(_mm_subs_epu16(part, sums[x]), _mm_subs_epu16(sums[x], part)));
            }
            _mm_store_si128(to, bound);
        }
    }
#endif

    std::array<std::uint16_t, kParts * kParts> parts_{};
    alignas(16) std::array<std::array<std::uint16_t, kLanes>, kRows> bounds_{};
};

}  // namespace duoview
