// Sums of absolute differences of square blocks of 8-bit samples, at whole and at half pixels.
//
// Half-pixel samples are bilinear, rounded as H.264 rounds: (a + b + 1) >> 1 between two, (a + b + c + d + 2) >> 2 between
// four.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace duoview {

// Samples of a plane that may be read beside a block: `origin` is the sample that the block would have at vector zero.
struct BlockView {
    const std::uint8_t* origin;
    std::ptrdiff_t stride;

    const std::uint8_t* at(std::ptrdiff_t y, std::ptrdiff_t x) const { return origin + y * stride + x; }
};

// In half pixels.
struct BlockVector {
    int dy, dx;

    bool operator==(const BlockVector& other) const { return dy == other.dy && dx == other.dx; }
};

#ifdef __SSE2__
// Every x86-64 CPU has these instructions. Compilers find them for one row, but not that sums of rows can stay in a register,
// nor how to round means of four in bytes.

// Size samples from `p`, 16 at most; those above are 0.
template <int Size>
__m128i load_samples(const std::uint8_t* p) {
    if constexpr (Size == 8) return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    else return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// The sum over a block of the current plane beside samples of a prediction: those that columns(x) calls with y = 0, 1, ... gives
// for the 16 columns, or 8, from x on.
template <int Size, typename Columns>
std::uint32_t block_difference(const BlockView& current, const Columns& columns) {
    static_assert(Size == 8 || Size == 16 || Size == 32, "loops are written for these");
    __m128i sums = _mm_setzero_si128();
    for (int x = 0; x < Size; x += 16) {
        auto prediction = columns(x);
        for (int y = 0; y < Size; ++y)
            sums = _mm_add_epi64(sums, _mm_sad_epu8(load_samples<Size>(current.at(y, x)), prediction(y)));
    }
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(sums) + _mm_cvtsi128_si32(_mm_srli_si128(sums, 8)));
}

// Means of two in a row, and where they were rounded up.
struct SampleMeans {
    __m128i mean, odd;

    template <int Size>
    static SampleMeans of(const std::uint8_t* p) {
        const __m128i a = load_samples<Size>(p), b = load_samples<Size>(p + 1);
        return {_mm_avg_epu8(a, b), _mm_xor_si128(a, b)};
    }
};

// (a + b + c + d + 2) >> 2 from the rounded means of a and b and of c and d. Their own mean is one too much where it was rounded
// up and one of them, too: it was not more than half that was to be rounded then.
inline __m128i mean_of_four(const SampleMeans& above, const SampleMeans& below) {
    const __m128i twice = _mm_and_si128(_mm_or_si128(above.odd, below.odd), _mm_xor_si128(above.mean, below.mean));
    return _mm_sub_epi8(_mm_avg_epu8(above.mean, below.mean), _mm_and_si128(twice, _mm_set1_epi8(1)));
}

// At whole pixels.
template <int Size>
std::uint32_t whole_difference(const BlockView& current, const BlockView& previous, int dy, int dx) {
    return block_difference<Size>(current, [&](int x) {
        return [first = previous.at(dy, dx) + x, stride = previous.stride](int y) {
            return load_samples<Size>(first + y * stride);
        };
    });
}

// At half pixels. Reads the sample after the last one of a row or column only where the vector is odd there.
template <int Size>
std::uint32_t half_difference(const BlockView& current, const BlockView& previous, const BlockVector& vector) {
    const std::uint8_t* const origin = previous.at(vector.dy >> 1, vector.dx >> 1);
    const std::ptrdiff_t stride = previous.stride;
    const bool between_rows = (vector.dy & 1) != 0, between_columns = (vector.dx & 1) != 0;
    if (!between_rows && !between_columns) return whole_difference<Size>(current, previous, vector.dy >> 1, vector.dx >> 1);
    if (between_rows && between_columns)
        return block_difference<Size>(current, [&](int x) {
            return [first = origin + x, stride, above = SampleMeans::of<Size>(origin + x)](int y) mutable {
                const SampleMeans below = SampleMeans::of<Size>(first + (y + 1) * stride);
                const __m128i found = mean_of_four(above, below);
                above = below;
                return found;
            };
        });
    const std::ptrdiff_t step = between_rows ? stride : 1;
    return block_difference<Size>(current, [&](int x) {
        return [first = origin + x, stride, step](int y) {
            return _mm_avg_epu8(load_samples<Size>(first + y * stride), load_samples<Size>(first + y * stride + step));
        };
    });
}
#else
// The sum over a block of the current plane beside what sample(y, x) gives.
template <int Size, typename Sample>
std::uint32_t block_difference(const BlockView& current, const Sample& sample) {
    std::uint32_t total = 0;
    for (int y = 0; y < Size; ++y)
        for (int x = 0; x < Size; ++x) total += static_cast<std::uint32_t>(std::abs(int{*current.at(y, x)} - sample(y, x)));
    return total;
}

// At whole pixels.
template <int Size>
std::uint32_t whole_difference(const BlockView& current, const BlockView& previous, int dy, int dx) {
    return block_difference<Size>(current, [&](int y, int x) { return int{*previous.at(dy + y, dx + x)}; });
}

// At half pixels. Reads the sample after the last one of a row or column only where the vector is odd there.
template <int Size>
std::uint32_t half_difference(const BlockView& current, const BlockView& previous, const BlockVector& vector) {
    const int below = vector.dy & 1, beside = vector.dx & 1, top = vector.dy >> 1, left = vector.dx >> 1;
    const auto at = [&](int y, int x) { return int{*previous.at(top + y, left + x)}; };
    if (below == 0 && beside == 0) return whole_difference<Size>(current, previous, top, left);
    if (below != 0 && beside != 0)
        return block_difference<Size>(current, [&](int y, int x) {
            return (at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1) + 2) >> 2;
        });
    return block_difference<Size>(current, [&](int y, int x) { return (at(y, x) + at(y + below, x + beside) + 1) >> 1; });
}
#endif

}  // namespace duoview
