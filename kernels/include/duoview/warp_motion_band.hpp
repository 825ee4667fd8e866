// Motion of the cells of a plane against the plane before it, by warps: the vectors of block_motion on the CPU, for cells of
// 16 pixels and the greatest reach.
//
// A cell's vector depends on those of the cells before it in its band by what vectors cost alone. So all that is compared
// without knowing them, the planes a quarter as high and wide and whole pixels around their minima, is compared for all cells at
// once, a warp a cell; and a warp a band then goes through its cells, of which four are done at a time, one in each row, two
// columns behind the one above: eight lanes for each.
#pragma once

#include <cstdint>

#include "duoview/warp_motion.hpp"

namespace duoview {

static constexpr std::uint32_t kGroup = 8;                      // lanes that do a cell
static_assert(kGroup * kBandRows == kWarpLanes, "a warp does one cell of every row of a band");

// The vectors of a band of cells; a warp does it.
struct BandMotion {
    const std::uint32_t* current;
    const std::uint32_t* extended;
    const std::uint64_t* minima;
    const std::uint16_t* offers;
    std::int8_t* vectors;  // (rows, columns, 2)
    std::uint32_t* sums;   // (rows, columns, 2)
    std::uint64_t rows;
    std::uint64_t columns;

    struct Vector {
        std::int32_t dy, dx;  // half pixels
        DUOVIEW_WARP_MEMBER bool operator==(const Vector& other) const { return dy == other.dy && dx == other.dx; }
    };

    // What the eight lanes of a cell know of it, each of them the same.
    struct Cell {
        std::uint64_t number;
        bool active, searched;
        std::uint32_t zero;      // what vector 0 leaves
        std::uint32_t count;     // of neighbours
        Vector neighbours[4];    // those that are not zero, each once
        Vector middle;           // what the vector is expected to be
        Vector best;
        std::uint32_t cost;      // of the best: its difference, and what its bits are worth
    };

    // What a lane proposes: its cost above, then its place in the order of trying, of which the last three bits are the lane's.
    struct Proposal {
        std::int32_t key;  // negated: greatest is best
        Vector vector;
    };
    static constexpr std::int32_t kNothing = -0x7FFFFFFF;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        for (std::uint64_t step = 0; step < columns + 2 * (kBandRows - 1); ++step) {
            PerLane<Cell> cells;
            PerLane<bool> active, searched;
            warp.each([&](std::uint32_t lane) {
                enter(cells[lane], item * kBandRows, lane / kGroup, step);
                active[lane] = cells[lane].active;
                searched[lane] = cells[lane].searched;
            });
            if (warp.ballot(active) == 0) continue;
            propose(warp, cells, active, [&](const Cell& cell, std::uint32_t lane, Vector& vector) {
                vector = lane == 0 ? cell.neighbours[0] : lane == 1 ? cell.neighbours[1] : lane == 2 ? cell.neighbours[2]
                                                                                         : cell.neighbours[3];
                return lane < cell.count;
            });
            if (warp.ballot(searched) != 0) {
                refine(warp, cells);
                PerLane<bool> moving = searched;
                for (int round = 0; round < 2 * kMaxReach && warp.ballot(moving) != 0; ++round)
                    propose(warp, cells, moving, [&](const Cell& cell, std::uint32_t lane, Vector& vector) {
                        vector = {2 * ((cell.best.dy >> 1) + beside_y(lane)), 2 * ((cell.best.dx >> 1) + beside_x(lane))};
                        return true;
                    });
                PerLane<bool> once = searched;
                propose(warp, cells, once, [&](const Cell& cell, std::uint32_t lane, Vector& vector) {
                    vector = {cell.best.dy + beside_y(lane), cell.best.dx + beside_x(lane)};
                    return true;
                });
            }
            settle(warp, cells);
            warp.sync();  // the next cells look at these vectors
        }
    }

private:
    // The eight places around one, row by row.
    DUOVIEW_WARP_MEMBER static std::int32_t beside_y(std::uint32_t lane) { return static_cast<std::int32_t>((lane + lane / 4) / 3) - 1; }
    DUOVIEW_WARP_MEMBER static std::int32_t beside_x(std::uint32_t lane) { return static_cast<std::int32_t>((lane + lane / 4) % 3) - 1; }

    DUOVIEW_WARP_MEMBER static std::int32_t median(std::int32_t a, std::int32_t b, std::int32_t c) {
        const std::int32_t low = a < b ? a : b, high = a < b ? b : a, top = high < c ? high : c;
        return low > top ? low : top;
    }

    // Bits of a number of this magnitude in signed exponential Golomb code.
    DUOVIEW_WARP_MEMBER static std::uint32_t golomb_bits(std::int32_t number) {
        return 2 * highest_lane(2 * static_cast<std::uint32_t>(number < 0 ? -number : number) + 1) + 1;
    }

    DUOVIEW_WARP_MEMBER static std::uint32_t penalty(const Cell& cell, const Vector& vector) {
        return (golomb_bits(vector.dy - cell.middle.dy) + golomb_bits(vector.dx - cell.middle.dx)) * kBitPrice;
    }

    DUOVIEW_WARP_MEMBER MotionPlace place(const Cell& cell) const {
        return {current, extended, columns * kMotionCell, cell.number / columns * kMotionCell, cell.number % columns * kMotionCell};
    }

    DUOVIEW_WARP_MEMBER Vector vector(std::uint64_t row, std::uint64_t column) const {
        const std::int8_t* const pair = vectors + 2 * (row * columns + column);
        return {pair[0], pair[1]};
    }

    // The cell of a row of the band in this step, and what is known around it. All vectors are of the band that the cell is in.
    DUOVIEW_WARP_MEMBER void enter(Cell& cell, std::uint64_t top, std::uint32_t line, std::uint64_t step) const {
        const std::uint64_t row = top + line, column = step - 2 * line;  // beyond all columns where the row has not begun
        cell.active = cell.searched = false;
        cell.number = 0;
        cell.zero = cell.count = cell.cost = 0;
        cell.middle = cell.best = {0, 0};
        DUOVIEW_UNROLL
        for (std::uint32_t i = 0; i < 4; ++i) cell.neighbours[i] = {0, 0};
        if (row >= rows || step < 2 * line || column >= columns) return;
        cell.number = row * columns + column;
        cell.zero = sums[2 * cell.number];
        if (cell.zero < kStill * kCellPixels) return;
        const bool has_left = column > 0, has_above = line > 0, has_right = has_above && column + 1 < columns;
        const Vector none = {0, 0};
        const Vector left = has_left ? vector(row, column - 1) : none, above = has_above ? vector(row - 1, column) : none;
        const Vector corner = has_right               ? vector(row - 1, column + 1)
                              : has_above && has_left ? vector(row - 1, column - 1)
                                                      : none;
        cell.middle = has_above ? Vector{median(left.dy, above.dy, corner.dy), median(left.dx, above.dx, corner.dx)} : left;
        const Vector known[4] = {left, above, corner, cell.middle};
        DUOVIEW_UNROLL
        for (std::uint32_t k = 0; k < 4; ++k) {
            bool is_new = !(known[k] == none);
            DUOVIEW_UNROLL
            for (std::uint32_t i = 0; i < k; ++i) is_new = is_new && !(known[i] == known[k]);
            if (!is_new) continue;
            DUOVIEW_UNROLL
            for (std::uint32_t i = 0; i < 4; ++i)
                if (i == cell.count) cell.neighbours[i] = known[k];
            ++cell.count;
        }
        cell.searched = cell.zero >= kSearched * kCellPixels;
        cell.active = cell.searched || cell.count != 0;
        cell.cost = cell.zero + penalty(cell, none);
    }

    // One vector a lane of the cells that are `going`, as `vector_of(cell, lane, vector)` gives it or says that there is none;
    // the best is taken. Cells that found none better go on no more.
    template <typename VectorOf>
    DUOVIEW_WARP_MEMBER void propose(const Warp& warp, PerLane<Cell>& cells, PerLane<bool>& going, const VectorOf& vector_of) const {
        PerLane<Proposal> proposals;
        warp.each([&](std::uint32_t lane) {
            Proposal& own = proposals[lane];
            own = {kNothing, {0, 0}};
            const Cell& cell = cells[lane];
            const std::uint32_t number = lane % kGroup;
            if (!going[lane] || !vector_of(cell, number, own.vector) || !reaches(own.vector.dy, own.vector.dx, 2 * kMaxReach)) return;
            const bool whole = ((own.vector.dy | own.vector.dx) & 1) == 0;
            const std::uint32_t difference = whole ? place(cell).whole_difference(own.vector.dy >> 1, own.vector.dx >> 1)
                                                   : place(cell).half_difference(own.vector.dy, own.vector.dx);
            own.key = -static_cast<std::int32_t>((difference + penalty(cell, own.vector)) << 8 | number);
        });
        take(warp, cells, proposals, going);
    }

    // Whole pixels around the minima of the coarse search, whose differences are known.
    DUOVIEW_WARP_MEMBER void refine(const Warp& warp, PerLane<Cell>& cells) const {
        PerLane<Proposal> proposals;
        PerLane<bool> found;
        warp.each([&](std::uint32_t lane) {
            Proposal& own = proposals[lane];
            own = {kNothing, {0, 0}};
            const Cell& cell = cells[lane];
            found[lane] = cell.searched;
            if (!cell.searched) return;
            const std::uint64_t lowest = minima[cell.number];
            for (std::uint32_t k = lane % kGroup; k < kOffers; k += kGroup) {
                const std::uint32_t difference = offers[cell.number * kOffers + k];
                if (difference == kNoOffer) continue;
                int dy = 0, dx = 0;
                SearchCells::vector_of(lowest, k, dy, dx);
                const Vector vector = {2 * dy, 2 * dx};
                const std::int32_t key = -static_cast<std::int32_t>((difference + penalty(cell, vector)) << 8 | k);
                if (key > own.key) own = {key, vector};
            }
        });
        take(warp, cells, proposals, found);
    }

    DUOVIEW_WARP_MEMBER void take(const Warp& warp, PerLane<Cell>& cells, const PerLane<Proposal>& proposals, PerLane<bool>& going) const {
        PerLane<std::int32_t> best, dy, dx;
        warp.each([&](std::uint32_t lane) {
            best[lane] = proposals[lane].key;
            dy[lane] = proposals[lane].vector.dy;
            dx[lane] = proposals[lane].vector.dx;
        });
        warp.group_max(best, kGroup);
        warp.each([&](std::uint32_t lane) {
            const std::uint32_t key = static_cast<std::uint32_t>(-best[lane]);
            const std::uint32_t source = lane / kGroup * kGroup + key % kGroup;
            const Vector vector = {warp.from(dy, lane, source), warp.from(dx, lane, source)};
            Cell& cell = cells[lane];
            going[lane] = going[lane] && best[lane] != kNothing && key >> 8 < cell.cost;
            if (!going[lane]) return;
            cell.best = vector;
            cell.cost = key >> 8;
        });
    }

    // Writes the vectors that bring what they have to. Samples between pixels are means, in which there is less noise: a vector
    // that is odd somewhere is compared with all that are next to zero and are means of as many.
    DUOVIEW_WARP_MEMBER void settle(const Warp& warp, const PerLane<Cell>& cells) const {
        PerLane<std::int32_t> most;
        warp.each([&](std::uint32_t lane) {
            const Cell& cell = cells[lane];
            const std::int32_t y = cell.best.dy & 1, x = cell.best.dx & 1;
            const std::uint32_t number = lane % kGroup;
            most[lane] = 0;
            if (!cell.active || (y | x) == 0 || number >= 4) return;
            most[lane] = static_cast<std::int32_t>(place(cell).half_difference(number % 2 ? -y : y, number == 1 || number == 2 ? -x : x));
        });
        warp.group_max(most, kGroup);
        warp.each([&](std::uint32_t lane) {
            const Cell& cell = cells[lane];
            if (!cell.active || lane % kGroup != 0) return;
            const std::uint32_t beside = static_cast<std::uint32_t>(most[lane]);
            const bool odd = ((cell.best.dy | cell.best.dx) & 1) != 0;
            const std::uint32_t still = odd && beside < cell.zero ? beside : cell.zero;
            const std::uint32_t difference = cell.cost - penalty(cell, cell.best);
            if (still < difference + vector_gain(kCellPixels)) return;
            vectors[2 * cell.number] = static_cast<std::int8_t>(cell.best.dy);
            vectors[2 * cell.number + 1] = static_cast<std::int8_t>(cell.best.dx);
            sums[2 * cell.number + 1] = difference;
        });
    }
};

}  // namespace duoview
