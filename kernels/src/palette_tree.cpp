// Builds a palette tree: every node is split in two by 2-means, level by level, over all vectors at once.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "palette.hpp"

#include "duoview/nearest.hpp"
#include "duoview/palette_tree.hpp"

namespace duoview {
namespace {

// What is known of the vectors of one node.
struct Sums {
    std::vector<std::int64_t> sum;     // nodes x channels
    std::vector<std::int64_t> weight;  // nodes
};

class Builder {
public:
    Builder(std::vector<std::int16_t> grid, const std::uint32_t* weights, std::size_t count, std::uint32_t channels)
        : grid_(std::move(grid)), weights_(weights), count_(count), channels_(channels), labels_(count, 0) {}

    PaletteTree build(std::uint32_t depth, std::uint32_t rounds) {
        PaletteTree tree;
        Sums sums = sums_of(labels_, 1);
        std::vector<std::int32_t> parents(channels_, 0);
        for (std::uint32_t level = 0;; ++level) {
            parents = centres_of(sums, parents);
            tree.centres.insert(tree.centres.end(), parents.begin(), parents.end());
            tree.weights.insert(tree.weights.end(), sums.weight.begin(), sums.weight.end());
            if (level == depth) return tree;
            sums = split(std::size_t{1} << level, parents, sums, rounds);
        }
    }

private:
    std::int64_t weight(std::size_t i) const { return weights_ ? weights_[i] : 1; }
    const std::int16_t* row(std::size_t i) const { return grid_.data() + i * channels_; }

    Sums sums_of(const std::vector<std::uint16_t>& labels, std::size_t nodes) const {
        Sums sums{std::vector<std::int64_t>(nodes * channels_, 0), std::vector<std::int64_t>(nodes, 0)};
        for (std::size_t i = 0; i < count_; ++i) {
            std::int64_t* const sum = sums.sum.data() + labels[i] * std::size_t{channels_};
            const std::int64_t w = weight(i);
            for (std::uint32_t c = 0; c < channels_; ++c) sum[c] += w * row(i)[c];
            sums.weight[labels[i]] += w;
        }
        return sums;
    }

    // Node n's own centre, or, where it has no vectors, row n / 2 of `parents` (row 0 for the root).
    std::vector<std::int32_t> centres_of(const Sums& sums, const std::vector<std::int32_t>& parents) const {
        std::vector<std::int32_t> centres(sums.sum.size());
        for (std::size_t n = 0; n < sums.weight.size(); ++n) {
            for (std::uint32_t c = 0; c < channels_; ++c) {
                centres[n * channels_ + c] = sums.weight[n] > 0 ? centre_of(sums.sum[n * channels_ + c], sums.weight[n])
                                                                : parents[n / 2 * channels_ + c];
            }
        }
        return centres;
    }

    // The channel of each node along which its vectors are furthest from its centre, the first of equals.
    std::vector<std::uint32_t> widest_channels(std::size_t nodes, const std::vector<std::int32_t>& centres) const {
        std::vector<std::int64_t> spread(nodes * channels_, 0);
        for (std::size_t i = 0; i < count_; ++i) {
            const std::size_t node = labels_[i] * std::size_t{channels_};
            const std::int64_t w = weight(i);
            for (std::uint32_t c = 0; c < channels_; ++c) spread[node + c] += w * spread_of(row(i)[c], centres[node + c]);
        }
        std::vector<std::uint32_t> widest(nodes);
        for (std::size_t n = 0; n < nodes; ++n) {
            const auto begin = spread.begin() + static_cast<std::ptrdiff_t>(n * channels_);
            widest[n] = static_cast<std::uint32_t>(std::max_element(begin, begin + channels_) - begin);
        }
        return widest;
    }

    // Moves every label to a child and returns the children's sums.
    Sums split(std::size_t nodes, const std::vector<std::int32_t>& centres, const Sums& sums, std::uint32_t rounds) {
        const std::vector<std::uint32_t> widest = widest_channels(nodes, centres);
        std::vector<std::uint16_t> children(count_);
        for (std::size_t i = 0; i < count_; ++i) {
            const std::size_t node = labels_[i];
            const std::uint32_t c = widest[node];
            children[i] = static_cast<std::uint16_t>(
                2 * node + above_mean(row(i)[c], sums.sum[node * channels_ + c], sums.weight[node]));
        }
        Sums split_sums = sums_of(children, 2 * nodes);
        std::vector<std::uint8_t> frozen(nodes, 0);
        std::vector<std::uint16_t> next(count_);
        for (std::uint32_t round = 0; round < rounds; ++round) {
            reassign(centres_of(split_sums, centres), nodes, frozen, children, next);
            Sums next_sums = sums_of(next, 2 * nodes);
            if (!settle(nodes, split_sums, next_sums, frozen)) break;
            for (std::size_t i = 0; i < count_; ++i) {
                if (!frozen[labels_[i]]) children[i] = next[i];
            }
            for (std::size_t n = 0; n < nodes; ++n) {
                if (!frozen[n]) take_children(n, next_sums, split_sums);
            }
        }
        labels_.swap(children);
        return split_sums;
    }

    void take_children(std::size_t node, const Sums& from, Sums& to) const {
        const std::size_t size = 2 * std::size_t{channels_};
        std::copy_n(from.sum.data() + node * size, size, to.sum.data() + node * size);
        std::copy_n(from.weight.data() + 2 * node, 2, to.weight.data() + 2 * node);
    }

    void reassign(const std::vector<std::int32_t>& centres, std::size_t nodes, const std::vector<std::uint8_t>& frozen,
                  const std::vector<std::uint16_t>& children, std::vector<std::uint16_t>& next) const {
        std::vector<std::int64_t> offset(nodes, 0);
        for (std::size_t n = 0; n < nodes; ++n) {
            for (std::uint32_t c = 0; c < channels_; ++c) {
                offset[n] += split_offset_term(centres[2 * n * channels_ + c], centres[(2 * n + 1) * channels_ + c]);
            }
        }
        for (std::size_t i = 0; i < count_; ++i) {
            const std::size_t node = labels_[i];
            next[i] = children[i];
            if (frozen[node]) continue;
            const std::int32_t* const zero = centres.data() + 2 * node * channels_;
            std::int64_t sum = -offset[node];
            for (std::uint32_t c = 0; c < channels_; ++c) sum += split_term(row(i)[c], zero[c], zero[channels_ + c]);
            next[i] = static_cast<std::uint16_t>(2 * node + (sum > 0));
        }
    }

    // Freezes nodes that a round would leave with an empty child, or does not change. Returns whether any is not frozen.
    bool settle(std::size_t nodes, const Sums& before, const Sums& after, std::vector<std::uint8_t>& frozen) const {
        bool open = false;
        for (std::size_t n = 0; n < nodes; ++n) {
            const auto same = [&](const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b, std::size_t size) {
                const auto at = static_cast<std::ptrdiff_t>(n * size);
                return std::equal(a.begin() + at, a.begin() + at + static_cast<std::ptrdiff_t>(size), b.begin() + at);
            };
            const bool still = same(before.weight, after.weight, 2) && same(before.sum, after.sum, 2 * std::size_t{channels_});
            if (still || after.weight[2 * n] == 0 || after.weight[2 * n + 1] == 0) frozen[n] = 1;
            open |= !frozen[n];
        }
        return open;
    }

    std::vector<std::int16_t> grid_;
    const std::uint32_t* weights_;
    std::size_t count_;
    std::uint32_t channels_;
    std::vector<std::uint16_t> labels_;  // node of each vector at the current level
};

}  // namespace

PaletteTree build_palette_tree(const float* vectors, const std::uint32_t* weights, std::size_t count, std::uint32_t channels,
                               std::uint32_t depth, float scale, std::uint32_t rounds) {
    std::vector<std::int16_t> grid(count * channels);
    for (std::size_t i = 0; i < grid.size(); ++i) {
        std::int32_t coordinate = 0;
        if (!grid_coordinate(vectors[i], scale, &coordinate)) {
            throw std::invalid_argument("vectors holds " + std::to_string(vectors[i]) + " at flat index " + std::to_string(i) +
                                        "; finite numbers of at most 32767 steps are needed");
        }
        grid[i] = static_cast<std::int16_t>(coordinate);
    }
    return Builder(std::move(grid), weights, count, channels).build(depth, rounds);
}

}  // namespace duoview
