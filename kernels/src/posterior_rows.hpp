// What the vector paths of posterior_sample share: rows as groups of sixteen categories. Internal linkage, as in
// duoview/host_device.hpp, since every path compiles it for other instructions.
#pragma once

#include "palette.hpp"

#include "duoview/octave_table.hpp"

namespace duoview {
namespace {

constexpr std::uint32_t kGroup = 16;
constexpr std::uint32_t kMaxGroups = kMaxCategories / kGroup;

struct MantissaTable {
    std::uint16_t entry[256];
    constexpr MantissaTable() : entry{} {
        for (std::uint32_t f = 0; f < 256; ++f) {
            entry[f] = static_cast<std::uint16_t>(std::uint32_t{kOctaveCoarse[f >> 4]} * kOctaveFine[f & 15] >> 16);
        }
    }
};
constexpr MantissaTable kMantissa{};

std::uint32_t weight_at(std::uint32_t distance) { return octave_weight(distance, kMantissa.entry[distance & 255]); }

// The loops are compiled for each transition, so that none asks for it at every position.
template <Transition kTransition>
PosteriorChoice choose(const PosteriorStep& step, std::uint32_t state, std::uint32_t sum, std::uint32_t self,
                       const std::uint32_t* words) {
    if (kTransition == Transition::uniform) return choose_uniform(step, state, sum, self, words[0], words[1]);
    if (kTransition == Transition::absorbing) return choose_absorbing(step, state, sum, words[0], words[1]);
    return {1u, 0u, uniform_below32(words[1], sum)};
}

// A call's row geometry: `count` categories of a row take part.
struct Rows {
    std::uint32_t count;
    std::uint32_t groups;
    std::uint32_t last_used;  // categories in the last group, 1 .. 16
};

Rows rows_of(const PosteriorStep& step) {
    const bool tree = step.transition == Transition::tree;
    const std::uint32_t count = tree ? 1u << (step.leaf_depth - step.depth) : step.categories;
    const std::uint32_t groups = (count + kGroup - 1) / kGroup;
    return {count, groups, count - (groups - 1) * kGroup};
}

}  // namespace
}  // namespace duoview
