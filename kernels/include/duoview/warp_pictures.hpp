// Pictures of bytes by warps: changes to them, how much of them was generated, other layouts, and luma.
#pragma once

#include <cstdint>

#include "duoview/warp.hpp"
#include "duoview/warp_planes.hpp"

namespace duoview {

static constexpr std::uint64_t kPlanes = 3;        // red, green, blue
static constexpr std::uint64_t kMostCell = 8;      // pixels on a side of a cell of which a share is told
static constexpr float kShareUnits = 4294967296.0f;  // shares are summed as integers: no order can change that

// What lies in 8 bits of shown + (changed - base).
struct ApplyChange {
    const std::uint8_t* shown;
    const std::uint8_t* changed;
    const std::uint8_t* base;
    std::uint8_t* out;
    std::uint64_t count;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, count, item, [&](std::uint64_t i) {
            const std::int32_t value = std::int32_t{shown[i]} + changed[i] - base[i];
            out[i] = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
        });
    }
};

// Sum over cells of the share of their detail that was generated (duoview.generated), in units of 2^-32. Sums of squares of
// whole numbers are exact; cells lie in the first rows and columns of planes (3, height, width); a warp does a row of cells.
struct SumGenerated {
    const std::uint8_t* shown;
    const std::uint8_t* coded;
    std::uint64_t* total;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t cell_rows;     // pixels on a side of a cell, at most 8 each
    std::uint64_t cell_columns;
    std::uint64_t across;        // cells

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        for (std::uint64_t begin = 0; begin < across; begin += kWarpLanes)
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t cell = begin + lane;
                if (cell >= across) return;
                const std::uint32_t pixels = static_cast<std::uint32_t>(cell_rows * cell_columns);
                std::uint32_t extra = 0;
                float detail = 0.0f;
                for (std::uint64_t plane = 0; plane < kPlanes; ++plane) {
                    std::uint32_t sum = 0, squares = 0;
                    for (std::uint64_t y = 0; y < cell_rows; ++y)
                        for (std::uint64_t x = 0; x < cell_columns; ++x) {
                            const std::uint64_t at =
                                (plane * height + item * cell_rows + y) * width + cell * cell_columns + x;
                            const std::int32_t base = coded[at], apart = std::int32_t{shown[at]} - base;
                            extra += static_cast<std::uint32_t>(apart * apart);
                            sum += static_cast<std::uint32_t>(base);
                            squares += static_cast<std::uint32_t>(base * base);
                        }
                    detail += static_cast<float>(pixels * squares - sum * sum) / static_cast<float>(pixels);
                }
                const float added = static_cast<float>(extra);
                const float share = added / (added + detail + static_cast<float>(kPlanes * pixels));
                warp.atomic_add(total, static_cast<std::uint64_t>(share * kShareUnits));
            });
    }
};

// Planar RGB to NV12: luma (height, width), then rows of pairs of chroma of 2x2 pixels. Weights are of 65536, signed, in the
// order y, u, v of r, g, b; a warp does two rows.
struct PictureToNv12 {
    const std::uint8_t* picture;
    std::uint8_t* out;
    std::uint64_t height;  // even, as width is
    std::uint64_t width;
    const std::int32_t* weights;  // (9,)
    std::uint64_t luma_begin;     // where black lies: 16, or 0 of full range

    DUOVIEW_WARP_MEMBER static std::uint8_t in_range(std::int32_t value) {
        return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
    }

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t plane = height * width;
        std::uint8_t* const chroma = out + plane + item * width;
        for (std::uint64_t begin = 0; begin < width / 2; begin += kWarpLanes)
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t column = begin + lane;
                if (column >= width / 2) return;
                std::int32_t red = 0, green = 0, blue = 0;
                for (std::uint64_t corner = 0; corner < 4; ++corner) {
                    const std::uint64_t at = (2 * item + corner / 2) * width + 2 * column + corner % 2;
                    const std::int32_t r = picture[at], g = picture[plane + at], b = picture[2 * plane + at];
                    const std::int32_t luma = weights[0] * r + weights[1] * g + weights[2] * b;
                    out[at] = in_range(((luma + (1 << 15)) >> 16) + static_cast<std::int32_t>(luma_begin));
                    red += r;
                    green += g;
                    blue += b;
                }
                for (std::uint64_t one = 0; one < 2; ++one) {
                    const std::int32_t* const of = weights + 3 + 3 * one;
                    const std::int32_t value = of[0] * red + of[1] * green + of[2] * blue;
                    chroma[2 * column + one] = in_range(((value + (1 << 17)) >> 18) + 128);
                }
            });
    }
};

// NV12 to planar RGB. Chroma lies in the middle of 2x2 pixels, as libswscale has it where no place is told, and is interpolated.
// Weights are of 65536: luma in all, v in red, u and v in green, u in blue; a warp does one row.
struct Nv12ToPicture {
    const std::uint8_t* frame;
    std::uint8_t* out;
    std::uint64_t height;  // even, as width is
    std::uint64_t width;
    const std::int32_t* weights;  // (5,)
    std::uint64_t luma_begin;     // where black lies: 16, or 0 of full range

    // The pair before or behind that one which holds a row or column, whichever is nearer to it.
    DUOVIEW_WARP_MEMBER static std::uint64_t neighbour(std::uint64_t place, std::uint64_t pairs) {
        const std::uint64_t own = place / 2;
        return place % 2 ? (own + 1 < pairs ? own + 1 : own) : (own > 0 ? own - 1 : own);
    }

    // Sixteen times the chroma of a place: u where `one` is 0, v where it is 1.
    DUOVIEW_WARP_MEMBER std::int32_t chroma(std::uint64_t row, std::uint64_t column, std::uint64_t one) const {
        const std::uint64_t near = 2 * (column / 2), far = 2 * neighbour(column, width / 2);
        const std::uint8_t* const first = frame + height * width + row / 2 * width + one;
        const std::uint8_t* const second = frame + height * width + neighbour(row, height / 2) * width + one;
        return 3 * (3 * std::int32_t{first[near]} + first[far]) + 3 * std::int32_t{second[near]} + second[far];
    }

    DUOVIEW_WARP_MEMBER static std::uint8_t sample(std::int32_t sixteenfold) {
        const std::int32_t value = (sixteenfold + (1 << 19)) >> 20;
        return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
    }

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t plane = height * width;
        for (std::uint64_t begin = 0; begin < width; begin += kWarpLanes)
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t column = begin + lane, at = item * width + column;
                if (column >= width) return;
                const std::int32_t luma = 16 * weights[0] * (std::int32_t{frame[at]} - static_cast<std::int32_t>(luma_begin));
                const std::int32_t u = chroma(item, column, 0) - 2048, v = chroma(item, column, 1) - 2048;
                out[at] = sample(luma + weights[1] * v);
                out[plane + at] = sample(luma + weights[2] * u + weights[3] * v);
                out[2 * plane + at] = sample(luma + weights[4] * u);
            });
    }
};

// Luma of planar RGB, to look for motion in: (r + 2 g + b + 2) / 4, four pixels a lane.
struct PictureLuma {
    const std::uint32_t* picture;  // (3, words)
    std::uint32_t* luma;           // (words,)
    std::uint64_t words;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, words, item, [&](std::uint64_t i) {
            const std::uint32_t r = picture[i], g = picture[words + i], b = picture[2 * words + i], mask = 0x00FF00FFu;
            // Two pixels in a word: no sum of four bytes needs more than 16 bits.
            const std::uint32_t even = (r & mask) + 2 * (g & mask) + (b & mask) + 0x00020002u;
            const std::uint32_t odd = (r >> 8 & mask) + 2 * (g >> 8 & mask) + (b >> 8 & mask) + 0x00020002u;
            luma[i] = (even >> 2 & mask) | (odd >> 2 & mask) << 8;
        });
    }
};

// Takes a plane over where it changed a latent: eight pixels in a row a lane.
struct UpdateReference {
    const std::uint64_t* plane;   // (height, width / 8)
    const std::uint8_t* changed;  // (height / 8, width / 8)
    std::uint64_t* reference;
    std::uint64_t height;
    std::uint64_t across;         // width / 8

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, height * across, item, [&](std::uint64_t i) {
            if (changed[i / across / 8 * across + i % across] != 0) reference[i] = plane[i];
        });
    }
};

}  // namespace duoview
