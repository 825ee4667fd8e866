// What a motion search compares, by warps: planes that are extended and shrunk, and the cells of one with places of another.
// Who chooses among it stands in warp_motion_band.hpp.
#pragma once

#include <cstdint>

#include "duoview/motion_rules.hpp"
#include "duoview/warp.hpp"
#include "duoview/warp_planes.hpp"

namespace duoview {

static constexpr std::uint32_t kMotionCell = 16;
static constexpr std::uint32_t kCellWords = kMotionCell / 4;    // of a row
static constexpr std::uint32_t kCellPixels = kMotionCell * kMotionCell;
// Samples beside a plane that repeat its edge: more than a vector reaches, and whole pieces of 16 bytes.
static constexpr std::uint64_t kExtension = 48;
static constexpr std::uint64_t kShrunkExtension = 16;
static constexpr std::uint32_t kAround = 2 * kRefine + 1;
static constexpr std::uint32_t kRefined = kAround * kAround;    // vectors around a minimum
static constexpr std::uint32_t kOffers = kRefined * kCoarseBest;
static constexpr std::uint16_t kNoOffer = 0xFFFF;               // no sum of 256 differences is as much
static constexpr std::uint32_t kNoMinimum = 0xFFFF;

// The sum of the differences of four samples each, and one more number.
DUOVIEW_WARP std::uint32_t add_differences(std::uint32_t a, std::uint32_t b, std::uint32_t sum) {
#if defined(__CUDACC__)
    return __vsadu4(a, b) + sum;
#else
    for (std::uint32_t shift = 0; shift < 32; shift += 8) {
        const std::uint32_t x = a >> shift & 0xFFu, y = b >> shift & 0xFFu;
        sum += x > y ? x - y : y - x;
    }
    return sum;
#endif
}

// Four samples that begin `bits` behind those of the first word, up to 32.
DUOVIEW_WARP std::uint32_t samples_at(std::uint32_t first, std::uint32_t second, std::uint32_t bits) {
    return static_cast<std::uint32_t>((std::uint64_t{second} << 32 | first) >> bits);
}

// `Words` words of samples from any place of a plane on, which is words itself; reads one word more.
template <std::uint32_t Words>
DUOVIEW_WARP void read_samples(const std::uint32_t* plane, std::uint64_t at, std::uint32_t (&out)[Words]) {
    const std::uint32_t bits = static_cast<std::uint32_t>(at % 4) * 8;
    std::uint32_t word = plane[at / 4];
    DUOVIEW_UNROLL
    for (std::uint32_t i = 0; i < Words; ++i) {
        const std::uint32_t next = plane[at / 4 + i + 1];
        out[i] = samples_at(word, next, bits);
        word = next;
    }
}

DUOVIEW_WARP std::uint64_t within(std::uint64_t at, std::uint64_t border, std::uint64_t side) {
    return at < border ? 0 : at - border < side ? at - border : side - 1;
}

// A plane with kExtension samples on every side that repeat its edge; four samples a lane.
struct ExtendPlane {
    const std::uint32_t* plane;
    std::uint32_t* out;  // (height + 2 * kExtension, width + 2 * kExtension) samples
    std::uint64_t height;
    std::uint64_t width;  // a multiple of 4

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t words = width / 4, border = kExtension / 4, wide = words + 2 * border;
        each_of_tile(warp, (height + 2 * kExtension) * wide, item, [&](std::uint64_t i) {
            const std::uint64_t column = i % wide;
            const std::uint32_t word = plane[within(i / wide, kExtension, height) * words + within(column, border, words)];
            out[i] = column < border ? (word & 0xFFu) * 0x01010101u : column < border + words ? word : (word >> 24) * 0x01010101u;
        });
    }
};

// A plane at a quarter of its height and width, with kShrunkExtension samples on every side that repeat its edge. A sample is
// the mean of 16, rounded, halves up; four a lane.
struct ShrinkPlane {
    const std::uint32_t* plane;
    std::uint32_t* out;  // (height / 4 + 2 * kShrunkExtension, width / 4 + 2 * kShrunkExtension) samples
    std::uint64_t height;
    std::uint64_t width;  // multiples of 16

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t words = width / 4, across = words / 4, border = kShrunkExtension / 4, wide = across + 2 * border;
        each_of_tile(warp, (height / kShrunkFactor + 2 * kShrunkExtension) * wide, item, [&](std::uint64_t i) {
            const std::uint64_t column = i % wide;
            const std::uint64_t row = within(i / wide, kShrunkExtension, height / kShrunkFactor);
            const std::uint32_t* const from = plane + row * kShrunkFactor * words + within(column, border, across) * 4;
            std::uint32_t shrunk = 0;
            DUOVIEW_UNROLL
            for (std::uint32_t x = 0; x < 4; ++x) {
                std::uint32_t sum = 8;
                DUOVIEW_UNROLL
                for (std::uint32_t y = 0; y < kShrunkFactor; ++y) sum = add_differences(from[y * words + x], 0, sum);
                shrunk |= sum / 16 << 8 * x;
            }
            out[i] = column < border            ? (shrunk & 0xFFu) * 0x01010101u
                     : column < border + across ? shrunk
                                                : (shrunk >> 24) * 0x01010101u;
        });
    }
};

// What cells leave where they are, for a beginning: every vector is 0. A warp a cell, eight samples a lane.
struct ZeroDifferences {
    const std::uint32_t* previous;
    const std::uint32_t* current;
    std::int8_t* vectors;  // (rows, columns, 2)
    std::uint32_t* sums;   // (rows, columns, 2)
    std::uint64_t columns;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        PerLane<std::uint32_t> sum;
        warp.each([&](std::uint32_t lane) {
            const std::uint64_t row = item / columns * kMotionCell + lane / 2;
            const std::uint64_t at = (row * columns + item % columns) * kCellWords + lane % 2 * 2;
            sum[lane] = add_differences(current[at], previous[at], add_differences(current[at + 1], previous[at + 1], 0));
        });
        warp.group_sum(sum, kWarpLanes);
        warp.each([&](std::uint32_t lane) {
            if (lane > 1) return;
            vectors[2 * item + lane] = 0;
            sums[2 * item + lane] = sum[lane];
        });
    }
};

// Where a cell lies, for those that compare it with the extended plane.
struct MotionPlace {
    const std::uint32_t* current;
    const std::uint32_t* extended;
    std::uint64_t width;     // of the plane
    std::uint64_t row, column;  // of the cell, in samples

    DUOVIEW_WARP_MEMBER const std::uint32_t* own(std::uint32_t y) const { return current + ((row + y) * width + column) / 4; }
    DUOVIEW_WARP_MEMBER std::uint64_t stride() const { return width + 2 * kExtension; }
    // The first sample at a vector of whole pixels.
    DUOVIEW_WARP_MEMBER std::uint64_t at(int dy, int dx) const {
        return (row + kExtension + static_cast<std::uint64_t>(std::int64_t{dy})) * stride() + column + kExtension +
               static_cast<std::uint64_t>(std::int64_t{dx});
    }

    DUOVIEW_WARP_MEMBER std::uint32_t whole_difference(int dy, int dx) const {
        std::uint32_t sum = 0;
        std::uint64_t from = at(dy, dx);
        for (std::uint32_t y = 0; y < kMotionCell; ++y, from += stride()) {
            std::uint32_t theirs[kCellWords];
            read_samples(extended, from, theirs);
            DUOVIEW_UNROLL
            for (std::uint32_t i = 0; i < kCellWords; ++i) sum = add_differences(own(y)[i], theirs[i], sum);
        }
        return sum;
    }

    // Sums of two samples side by side, or twice one: of even samples, and of odd ones, 16 bits each.
    DUOVIEW_WARP_MEMBER void sum_row(std::uint64_t from, std::uint32_t odd, std::uint32_t (&even_sums)[kCellWords],
                                     std::uint32_t (&odd_sums)[kCellWords]) const {
        const std::uint32_t bits = static_cast<std::uint32_t>(from % 4) * 8, mask = 0x00FF00FFu;
        std::uint32_t word = extended[from / 4];
        DUOVIEW_UNROLL
        for (std::uint32_t i = 0; i < kCellWords; ++i) {
            const std::uint32_t next = extended[from / 4 + i + 1];
            const std::uint32_t a = samples_at(word, next, bits), b = samples_at(word, next, bits + 8 * odd);
            even_sums[i] = (a & mask) + (b & mask);
            odd_sums[i] = (a >> 8 & mask) + (b >> 8 & mask);
            word = next;
        }
    }

    // At half pixels: the mean of the two or four samples around. Where a component is even they are the same ones twice, which
    // rounds to the same.
    DUOVIEW_WARP_MEMBER std::uint32_t half_difference(int dy, int dx) const {
        const std::uint32_t odd_y = static_cast<std::uint32_t>(dy) & 1u, odd_x = static_cast<std::uint32_t>(dx) & 1u;
        std::uint64_t from = at(dy >> 1, dx >> 1);
        std::uint32_t sum = 0, even[kCellWords], odd[kCellWords];
        sum_row(from, odd_x, even, odd);
        for (std::uint32_t y = 0; y < kMotionCell; ++y) {
            std::uint32_t next_even[kCellWords], next_odd[kCellWords];
            from += stride();
            sum_row(from, odd_x, next_even, next_odd);
            DUOVIEW_UNROLL
            for (std::uint32_t i = 0; i < kCellWords; ++i) {
                const std::uint32_t evens = even[i] + (odd_y ? next_even[i] : even[i]) + 0x00020002u;
                const std::uint32_t odds = odd[i] + (odd_y ? next_odd[i] : odd[i]) + 0x00020002u;
                sum = add_differences(own(y)[i], (evens >> 2 & 0x00FF00FFu) | (odds >> 2 & 0x00FF00FFu) << 8, sum);
                even[i] = next_even[i];
                odd[i] = next_odd[i];
            }
        }
        return sum;
    }
};

DUOVIEW_WARP bool reaches(int dy, int dx, int reach) { return dy >= -reach && dy <= reach && dx >= -reach && dx <= reach; }

// The lowest minima of a cell on the shrunk planes, and the differences at whole pixels around each; a warp a cell. Cells that
// are not searched are left out.
struct SearchCells {
    const std::uint32_t* current;
    const std::uint32_t* extended;
    const std::uint32_t* shrunk_current;
    const std::uint32_t* shrunk_previous;
    const std::uint32_t* sums;   // (rows, columns, 2)
    std::uint64_t* minima;       // (rows, columns): 16 bits each, of what was tried in order, the lowest first
    std::uint16_t* offers;       // (rows, columns, kOffers)
    std::uint64_t columns;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        if (sums[2 * item] < kSearched * kCellPixels) return;
        const std::uint64_t row = item / columns, column = item % columns;
        const std::uint64_t found = lowest(warp, row, column);
        warp.each([&](std::uint32_t lane) {
            if (lane == 0) minima[item] = found;
            const MotionPlace place{current, extended, columns * kMotionCell, row * kMotionCell, column * kMotionCell};
            for (std::uint32_t k = lane; k < kOffers; k += kWarpLanes) {
                int dy = 0, dx = 0;
                const bool tried = vector_of(found, k, dy, dx) && reaches(dy, dx, kMaxReach);
                offers[item * kOffers + k] = tried ? static_cast<std::uint16_t>(place.whole_difference(dy, dx)) : kNoOffer;
            }
        });
    }

    // Offer k in whole pixels; false where there is no such minimum.
    DUOVIEW_WARP_MEMBER static bool vector_of(std::uint64_t minima, std::uint32_t k, int& dy, int& dx) {
        const std::uint32_t minimum = static_cast<std::uint32_t>(minima >> 16 * (k / kRefined)) & 0xFFFFu;
        const std::uint32_t around = k % kRefined;
        dy = (static_cast<int>(minimum) / kCoarseSide - kCoarseReach) * kShrunkFactor + static_cast<int>(around / kAround) - kRefine;
        dx = (static_cast<int>(minimum) % kCoarseSide - kCoarseReach) * kShrunkFactor + static_cast<int>(around % kAround) - kRefine;
        return minimum != kNoMinimum;
    }

    DUOVIEW_WARP_MEMBER std::uint64_t lowest(const Warp& warp, std::uint64_t row, std::uint64_t column) const {
        constexpr std::uint32_t kSide = kCoarseSide, kSize = kCoarseSize, kRim = 0xFFFFFFFFu;
        constexpr std::uint32_t kMargin = (kSize - kMotionCell / kShrunkFactor) / 2;
        const std::uint64_t stride = columns * (kMotionCell / kShrunkFactor) + 2 * kShrunkExtension;
        const std::uint64_t own = (row * (kMotionCell / kShrunkFactor) + kShrunkExtension - kMargin) * stride +
                                  column * (kMotionCell / kShrunkFactor) + kShrunkExtension - kMargin;
        PerLane<std::uint32_t> surface[kSide];  // a column of it a lane
        warp.each([&](std::uint32_t lane) {
            DUOVIEW_UNROLL
            for (std::uint32_t y = 0; y < kSide; ++y) surface[y][lane] = lane < kSide ? 0 : kRim;
            if (lane >= kSide) return;
            std::uint32_t mine[kSize][kSize / 4];
            DUOVIEW_UNROLL
            for (std::uint32_t y = 0; y < kSize; ++y) read_samples(shrunk_current, own + y * stride, mine[y]);
            const std::uint64_t first = own + lane - kCoarseReach - kCoarseReach * stride;
            DUOVIEW_UNROLL
            for (std::uint32_t line = 0; line < kSide + kSize - 1; ++line) {
                std::uint32_t theirs[kSize / 4];
                read_samples(shrunk_previous, first + line * stride, theirs);
                DUOVIEW_UNROLL
                for (std::uint32_t y = 0; y < kSize; ++y) {
                    if (line < y || line - y >= kSide) continue;
                    std::uint32_t& sum = surface[line - y][lane];
                    sum = add_differences(mine[y][0], theirs[0], add_differences(mine[y][1], theirs[1], sum));
                }
            }
        });
        // A minimum is below what comes before it in the order of trying, and not above what comes behind.
        PerLane<std::uint32_t> minima_of;
        warp.each([&](std::uint32_t lane) {
            std::uint32_t found = 0;
            DUOVIEW_UNROLL
            for (std::uint32_t y = 0; y < kSide; ++y) {
                const std::uint32_t value = surface[y][lane];
                const std::uint32_t beside = warp.from(surface[y], lane, lane == 0 ? 0 : lane - 1);
                const std::uint32_t left = lane == 0 ? kRim : beside;
                const std::uint32_t right = warp.from(surface[y], lane, lane + 1 < kWarpLanes ? lane + 1 : lane);
                const std::uint32_t above = y > 0 ? surface[y > 0 ? y - 1 : 0][lane] : kRim;
                const std::uint32_t below = y + 1 < kSide ? surface[y + 1 < kSide ? y + 1 : y][lane] : kRim;
                if (lane < kSide && value < left && value < above && value <= right && value <= below) found |= 1u << y;
            }
            minima_of[lane] = found;
        });
        constexpr std::int32_t kNone = 0x7FFFFFFF;
        std::int32_t taken = -1;
        std::uint64_t all = 0;
        for (std::uint32_t n = 0; n < kCoarseBest; ++n) {
            PerLane<std::int32_t> key;  // least difference, then least number of those not taken yet; less than 2^23
            warp.each([&](std::uint32_t lane) {
                std::int32_t least = kNone;
                DUOVIEW_UNROLL
                for (std::uint32_t y = 0; y < kSide; ++y) {
                    if ((minima_of[lane] >> y & 1u) == 0) continue;
                    const std::int32_t one = static_cast<std::int32_t>(surface[y][lane] << 9 | (y * kSide + lane));
                    if (one > taken && one < least) least = one;
                }
                key[lane] = -least;
            });
            warp.group_max(key, kWarpLanes);
            const std::int32_t least = -warp.broadcast(key, 0);
            all |= std::uint64_t{least == kNone ? kNoMinimum : static_cast<std::uint32_t>(least) & 0x1FFu} << 16 * n;
            taken = least;
        }
        return all;
    }
};

}  // namespace duoview
