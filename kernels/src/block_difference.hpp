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

// The sum over the rows of a block of the current plane beside those that `row(number, room)` points at: samples of the other
// plane, or what it made of them in `room`.
template <int Size, typename Row>
std::uint32_t block_difference(const BlockView& current, const Row& row) {
    static_assert(Size == 8 || Size == 16 || Size == 32, "loops are written for these");
#ifdef __SSE2__
    // Every x86-64 CPU has this instruction. Compilers find it for one row, but not that sums of rows can stay in a register.
    alignas(16) std::uint8_t room[Size];
    __m128i sums = _mm_setzero_si128();
    for (int y = 0; y < Size; ++y) {
        const std::uint8_t* const theirs = row(y, room);
        const std::uint8_t* const ours = current.at(y, 0);
        if constexpr (Size == 8) {
            sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(ours)),
                                                    _mm_loadl_epi64(reinterpret_cast<const __m128i*>(theirs))));
        } else {
            for (int x = 0; x < Size; x += 16)
                sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(ours + x)),
                                                        _mm_loadu_si128(reinterpret_cast<const __m128i*>(theirs + x))));
        }
    }
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(sums) + _mm_cvtsi128_si32(_mm_srli_si128(sums, 8)));
#else
    std::uint8_t room[Size];
    std::uint32_t total = 0;
    for (int y = 0; y < Size; ++y) {
        const std::uint8_t* const theirs = row(y, room);
        const std::uint8_t* const ours = current.at(y, 0);
        for (int x = 0; x < Size; ++x) total += static_cast<std::uint32_t>(std::abs(int{ours[x]} - int{theirs[x]}));
    }
    return total;
#endif
}

// At whole pixels.
template <int Size>
std::uint32_t whole_difference(const BlockView& current, const BlockView& previous, int dy, int dx) {
    const std::uint8_t* const first = previous.at(dy, dx);
    return block_difference<Size>(current, [&](int y, std::uint8_t*) { return first + y * previous.stride; });
}

// At half pixels. Reads the sample after the last one of a row or column only where the vector is odd there.
template <int Size>
std::uint32_t half_difference(const BlockView& current, const BlockView& previous, const BlockVector& vector) {
    const std::uint8_t* const first = previous.at(vector.dy >> 1, vector.dx >> 1);
    const std::ptrdiff_t stride = previous.stride;
    const bool between_rows = (vector.dy & 1) != 0, between_columns = (vector.dx & 1) != 0;
    if (!between_rows && !between_columns) return whole_difference<Size>(current, previous, vector.dy >> 1, vector.dx >> 1);
    if (between_rows && between_columns) {
        return block_difference<Size>(current, [&](int y, std::uint8_t* room) {
            const std::uint8_t* const a = first + y * stride;
            const std::uint8_t* const b = a + stride;
            for (int x = 0; x < Size; ++x)
                room[x] = static_cast<std::uint8_t>(static_cast<std::uint16_t>(a[x] + a[x + 1] + b[x] + b[x + 1] + 2) >> 2);
            return room;
        });
    }
    const std::ptrdiff_t step = between_rows ? stride : 1;
    return block_difference<Size>(current, [&](int y, std::uint8_t* room) {
        const std::uint8_t* const a = first + y * stride;
        const std::uint8_t* const b = a + step;
        for (int x = 0; x < Size; ++x) room[x] = static_cast<std::uint8_t>((a[x] + b[x] + 1) >> 1);
        return room;
    });
}

}  // namespace duoview
