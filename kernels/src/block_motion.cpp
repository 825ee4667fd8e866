#include "block_motion.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "block_bounds.hpp"
#include "block_difference.hpp"
#include "coarse_surface.hpp"
#include "duoview/motion_rules.hpp"
#include "parallel.hpp"
#include "shrunk_plane.hpp"

namespace duoview {
namespace {

constexpr std::size_t kThreadPixels = 1 << 20;  // that a thread compares or shrinks

static_assert(CoarseSurface::kReach >= kMaxReach / ShrunkPlane::kFactor, "all vectors are looked at on the shrunk planes");
static_assert(BlockBounds<16>::kRows == 2 * kRefine + 1 && BlockBounds<16>::kColumns == 2 * kRefine + 1, "all have a bound");

// Bits of a number of this magnitude in signed exponential Golomb code: about what a coder will need for the difference of a
// vector from the one that is expected.
constexpr int kMostDistance = 4 * kMaxReach;
constexpr std::array<std::uint8_t, kMostDistance + 1> make_golomb_bits() {
    std::array<std::uint8_t, kMostDistance + 1> bits{};
    for (int magnitude = 0; magnitude <= kMostDistance; ++magnitude) {
        std::uint8_t octaves = 0;
        while ((2 * magnitude + 1) >> (octaves + 1) != 0) ++octaves;
        bits[static_cast<std::size_t>(magnitude)] = static_cast<std::uint8_t>(2 * octaves + 1);
    }
    return bits;
}
constexpr auto kGolombBits = make_golomb_bits();

int median(int a, int b, int c) { return std::max(std::min(a, b), std::min(std::max(a, b), c)); }

// What is known around a cell before it is searched. All vectors are of the band that the cell is in.
struct Neighbours {
    std::array<BlockVector, 4> vectors;  // the first `count`: those that are not zero, each once
    std::size_t count = 0;
    BlockVector middle{0, 0};  // what the vector is expected to be
};

template <int Cell>
class CellSearch {
public:
    CellSearch(const BlockMotionJob& job, const ShrunkPlane& shrunk_previous, const ShrunkPlane& shrunk_current)
        : job_(job), shrunk_previous_(shrunk_previous), shrunk_current_(shrunk_current) {}

    // The vector of the cell at (row, column) of cells and, in `difference`, what it leaves; `zero` is what vector zero leaves.
    BlockVector find(std::size_t row, std::size_t column, std::uint32_t zero, const Neighbours& neighbours,
                     std::uint32_t& difference) {
        enter(row, column);
        middle_ = neighbours.middle;
        best_ = {{0, 0}, zero, zero + penalty({0, 0})};
        for (std::size_t i = 0; i < neighbours.count; ++i) try_half(neighbours.vectors[i]);
        if (zero >= kSearched * Cell * Cell) {
            bounds_.enter(current_);
            coarse(row, column);
            descend();
            halves();
        }
        difference = best_.difference;
        if (without_motion(zero, best_.vector) < difference + kGain) {
            difference = zero;
            return {0, 0};
        }
        return best_.vector;
    }

private:
    static constexpr std::uint32_t kGain = vector_gain(Cell * Cell);

    struct Found {
        BlockVector vector;
        std::uint32_t difference, cost;
    };

    // What a vector has to be better than. Samples between pixels are means, in which there is less noise: in front of a still
    // and noisy wall any of them is nearer than the pixels themselves. So a vector that is odd somewhere is compared with all
    // that are next to zero and are means of as many: of true motion, by half a pixel even, one of them points away from it.
    std::uint32_t without_motion(std::uint32_t zero, const BlockVector& vector) const {
        const int y = vector.dy & 1, x = vector.dx & 1;
        if (y == 0 && x == 0) return zero;
        std::uint32_t most = std::max(half_difference<Cell>(current_, previous_, {y, x}),
                                      half_difference<Cell>(current_, previous_, {-y, -x}));
        if (y != 0 && x != 0)
            most = std::max({most, half_difference<Cell>(current_, previous_, {y, -x}),
                             half_difference<Cell>(current_, previous_, {-y, x})});
        return std::min(zero, most);
    }

    std::uint32_t penalty(const BlockVector& vector) const {
        const std::uint32_t bits = std::uint32_t{kGolombBits[static_cast<std::size_t>(std::abs(vector.dy - middle_.dy))]} +
                                   kGolombBits[static_cast<std::size_t>(std::abs(vector.dx - middle_.dx))];
        return bits * kBitPrice * (Cell * Cell) / 256;
    }

    // Points the views at the cell. Near an edge of the plane the samples within reach are copied, edges repeated.
    void enter(std::size_t row, std::size_t column) {
        const auto y = static_cast<std::ptrdiff_t>(row) * Cell, x = static_cast<std::ptrdiff_t>(column) * Cell;
        const auto height = static_cast<std::ptrdiff_t>(job_.height), width = static_cast<std::ptrdiff_t>(job_.width);
        const std::ptrdiff_t reach = job_.reach;
        current_ = {job_.current + y * width + x, width};
        const std::ptrdiff_t beyond = BlockBounds<Cell>::kBeyond;
        if (y >= reach && x >= reach && y + Cell + reach <= height && x + Cell + reach + beyond <= width) {
            previous_ = {job_.previous + y * width + x, width};
            return;
        }
        const std::ptrdiff_t side = Cell + 2 * reach;
        const std::ptrdiff_t left = std::max<std::ptrdiff_t>(0, reach - x);
        const std::ptrdiff_t right = std::max<std::ptrdiff_t>(0, x + Cell + reach - width);
        for (std::ptrdiff_t i = 0; i < side; ++i) {
            const std::ptrdiff_t line = std::clamp<std::ptrdiff_t>(y - reach + i, 0, height - 1);
            const std::uint8_t* const source = job_.previous + line * width;
            std::uint8_t* const target = patch_.data() + i * kPatchSide;
            std::memset(target, source[0], static_cast<std::size_t>(left));
            std::memcpy(target + left, source + x - reach + left, static_cast<std::size_t>(side - left - right));
            std::memset(target + side - right, source[width - 1], static_cast<std::size_t>(right));
        }
        previous_ = {patch_.data() + reach * kPatchSide + reach, kPatchSide};
    }

    void consider(const BlockVector& vector, std::uint32_t difference) {
        const std::uint32_t cost = difference + penalty(vector);
        if (cost < best_.cost) best_ = {vector, difference, cost};
    }

    void try_whole(int dy, int dx) {
        if (std::abs(dy) > job_.reach || std::abs(dx) > job_.reach) return;
        consider({2 * dy, 2 * dx}, whole_difference<Cell>(current_, previous_, dy, dx));
    }

    void try_half(const BlockVector& vector) {
        if (std::abs(vector.dy) > 2 * job_.reach || std::abs(vector.dx) > 2 * job_.reach) return;
        consider(vector, half_difference<Cell>(current_, previous_, vector));
    }

    // All vectors within reach on the shrunk planes; then whole pixels around the lowest of the local minima.
    void coarse(std::size_t row, std::size_t column) {
        constexpr int kInside = Cell / ShrunkPlane::kFactor, kMargin = (CoarseSurface::kSize - kInside) / 2;
        const std::ptrdiff_t y = static_cast<std::ptrdiff_t>(row) * kInside - kMargin;
        const std::ptrdiff_t x = static_cast<std::ptrdiff_t>(column) * kInside - kMargin;
        const BlockView current = shrunk_current_.at(y, x), previous = shrunk_previous_.at(y, x);
        std::array<CoarseSurface::Minimum, CoarseSurface::kBest> lowest;
        const int reach = (job_.reach + ShrunkPlane::kFactor - 1) / ShrunkPlane::kFactor;
        const std::size_t count = CoarseSurface(current, previous, reach).lowest(lowest);
        for (std::size_t i = 0; i < count; ++i) {
            const CoarseSurface::Minimum& minimum = lowest[i];
            refine(std::clamp(minimum.dy * ShrunkPlane::kFactor, -job_.reach, job_.reach),
                   std::clamp(minimum.dx * ShrunkPlane::kFactor, -job_.reach, job_.reach));
        }
    }

    // The whole pixels around a vector.
    void refine(int y, int x) {
        const int reach = job_.reach;
        const int top = std::max(y - kRefine, -reach), bottom = std::min(y + kRefine, reach);
        const int left = std::max(x - kRefine, -reach), right = std::min(x + kRefine, reach);
        bounds_.find(previous_, top, left, bottom - top + 1);
        for (int dy = top; dy <= bottom; ++dy)
            for (int dx = left; dx <= right; ++dx)
                if (bounds_.at(dy - top, dx - left) + penalty({2 * dy, 2 * dx}) < best_.cost) try_whole(dy, dx);
    }

    // Whole pixels downhill from the best vector.
    void descend() {
        for (int step = 0; step < 2 * kMaxReach; ++step) {
            const BlockVector at = best_.vector;
            const int y = at.dy >> 1, x = at.dx >> 1;
            for (int dy = -1; dy <= 1; ++dy)
                for (int dx = -1; dx <= 1; ++dx)
                    if (dy != 0 || dx != 0) try_whole(y + dy, x + dx);
            if (best_.vector == at) return;
        }
    }

    void halves() {
        const BlockVector at = best_.vector;
        for (int dy = -1; dy <= 1; ++dy)
            for (int dx = -1; dx <= 1; ++dx)
                if (dy != 0 || dx != 0) try_half({at.dy + dy, at.dx + dx});
    }

    static constexpr std::ptrdiff_t kPatchSide = Cell + 2 * kMaxReach;

    const BlockMotionJob& job_;
    const ShrunkPlane& shrunk_previous_;
    const ShrunkPlane& shrunk_current_;
    BlockView current_{nullptr, 0}, previous_{nullptr, 0};
    BlockVector middle_{0, 0};
    Found best_{{0, 0}, 0, 0};
    BlockBounds<Cell> bounds_;
    std::array<std::uint8_t, kPatchSide * kPatchSide + BlockBounds<Cell>::kBeyond> patch_{};
};

template <int Cell>
class Field {
public:
    explicit Field(const BlockMotionJob& job)
        : job_(job), rows_(job.height / Cell), columns_(job.width / Cell), bands_((rows_ + kBandRows - 1) / kBandRows) {}

    void find() {
        std::atomic<bool> moves{false};
        const std::size_t threads = worthwhile(job_.threads, job_.height * job_.width, kThreadPixels);
        run_parallel(threads, bands_, [&](std::size_t band) {
            if (compare_with_zero(band)) moves = true;
        });
        if (!moves) return;
        constexpr int kBorder = CoarseSurface::kReach + CoarseSurface::kSize;
        ShrunkPlane previous(job_.previous, job_.height, job_.width, kBorder);
        ShrunkPlane current(job_.current, job_.height, job_.width, kBorder);
        constexpr std::size_t kShrunkRows = kBandRows * Cell / ShrunkPlane::kFactor;
        run_parallel(threads, 2 * bands_, [&](std::size_t job) {
            ShrunkPlane& plane = job % 2 == 0 ? previous : current;
            const std::size_t first = job / 2 * kShrunkRows;
            plane.shrink_rows(first, std::min(first + kShrunkRows, plane.height()));
        });
        run_parallel(job_.threads, bands_, [&](std::size_t band) {
            CellSearch<Cell> search(job_, previous, current);
            for (std::size_t row = band * kBandRows; row < end_of(band); ++row)
                for (std::size_t column = 0; column < columns_; ++column) find_cell(search, band, row, column);
        });
    }

private:
    static constexpr std::uint32_t kStillDifference = kStill * Cell * Cell;
    static constexpr std::uint32_t kSearchedDifference = kSearched * Cell * Cell;

    std::size_t end_of(std::size_t band) const { return std::min((band + 1) * kBandRows, rows_); }

    // Sets all vectors of a band to zero and says whether one is to be searched.
    bool compare_with_zero(std::size_t band) {
        bool moves = false;
        for (std::size_t row = band * kBandRows; row < end_of(band); ++row)
            for (std::size_t column = 0; column < columns_; ++column) {
                const std::size_t start = row * Cell * job_.width + column * Cell;
                const auto stride = static_cast<std::ptrdiff_t>(job_.width);
                const BlockView current{job_.current + start, stride}, previous{job_.previous + start, stride};
                const std::uint32_t zero = whole_difference<Cell>(current, previous, 0, 0);
                set(row, column, {0, 0}, zero, zero);
                moves = moves || zero >= kSearchedDifference;
            }
        return moves;
    }

    void find_cell(CellSearch<Cell>& search, std::size_t band, std::size_t row, std::size_t column) {
        const std::uint32_t zero = job_.sums[2 * (row * columns_ + column)];
        if (zero < kStillDifference) return;
        const Neighbours neighbours = around(band, row, column);
        if (zero < kSearchedDifference && neighbours.count == 0) return;
        std::uint32_t difference = zero;
        const BlockVector vector = search.find(row, column, zero, neighbours, difference);
        set(row, column, vector, zero, difference);
    }

    Neighbours around(std::size_t band, std::size_t row, std::size_t column) const {
        Neighbours found;
        const bool left = column > 0, above = row > band * kBandRows, right = above && column + 1 < columns_;
        const BlockVector a = left ? vector(row, column - 1) : BlockVector{0, 0};
        const BlockVector b = above ? vector(row - 1, column) : BlockVector{0, 0};
        const BlockVector c = right           ? vector(row - 1, column + 1)
                              : above && left ? vector(row - 1, column - 1)
                                              : BlockVector{0, 0};
        found.middle = above ? BlockVector{median(a.dy, b.dy, c.dy), median(a.dx, b.dx, c.dx)} : a;
        const auto add = [&](const BlockVector& candidate) {
            if (candidate == BlockVector{0, 0}) return;
            for (std::size_t i = 0; i < found.count; ++i)
                if (found.vectors[i] == candidate) return;
            found.vectors[found.count++] = candidate;
        };
        for (const BlockVector& candidate : {a, b, c, found.middle}) add(candidate);
        return found;
    }

    BlockVector vector(std::size_t row, std::size_t column) const {
        const std::int8_t* const pair = job_.vectors + 2 * (row * columns_ + column);
        return {pair[0], pair[1]};
    }

    void set(std::size_t row, std::size_t column, const BlockVector& vector, std::uint32_t zero, std::uint32_t difference) {
        const std::size_t at = 2 * (row * columns_ + column);
        job_.vectors[at] = static_cast<std::int8_t>(vector.dy);
        job_.vectors[at + 1] = static_cast<std::int8_t>(vector.dx);
        job_.sums[at] = zero;
        job_.sums[at + 1] = difference;
    }

    const BlockMotionJob job_;
    const std::size_t rows_, columns_, bands_;
};

}  // namespace

void block_motion(const BlockMotionJob& job) {
    if (job.reach < 1 || job.reach > kMaxReach)
        throw std::invalid_argument("reach is " + std::to_string(job.reach) + "; it is 1..32");
    if (job.cell != 8 && job.cell != 16 && job.cell != 32)
        throw std::invalid_argument("cell is " + std::to_string(job.cell) + "; it is 8, 16 or 32");
    if (job.height == 0 || job.width == 0 || job.height % job.cell != 0 || job.width % job.cell != 0)
        throw std::invalid_argument("planes are " + std::to_string(job.height) + " x " + std::to_string(job.width) +
                                    "; multiples of the cell, " + std::to_string(job.cell) + ", are needed");
    if (job.cell == 8) return Field<8>(job).find();
    if (job.cell == 16) return Field<16>(job).find();
    Field<32>(job).find();
}

}  // namespace duoview
