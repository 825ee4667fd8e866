// Reverse steps of a discrete diffusion by warps: the same categories as posterior_at gives.
//
// A row of 16, 32, 64, 128 or 256 categories is read by 1, 2, 4, 8 or 16 lanes, two pieces of eight categories each, so that
// neighbouring lanes read neighbouring 16 bytes; every weight is computed once and stays in a register until the search.
// Distances are computed in pairs: with both halves made unsigned, the greatest less a smaller one never borrows. One block
// of random words serves two positions.
#pragma once

#include <cstdint>
#include <cstring>

#include "duoview/philox.hpp"
#include "duoview/posterior.hpp"
#include "duoview/warp.hpp"

namespace duoview {

struct OctaveTable {
    std::uint32_t weight[256];  // octave_mantissa of a distance below 256, times 2^kWeightShift
    std::uint16_t coarse[16];
    std::uint16_t fine[16];
};

static constexpr std::uint64_t kPosteriorRow = 64;      // positions whose random words a warp makes at once
static constexpr std::uint64_t kPosteriorRows = 8;      // of these, per warp
static constexpr std::uint32_t kBothHalves = 0x00010001u;
static constexpr std::uint32_t kBothSigns = 0x80008000u;

struct Eight {
    std::uint32_t pair[4];  // eight int16, the first one in the low half
};

DUOVIEW_WARP Eight load_eight(const std::int16_t* p) {  // 16-byte aligned
    Eight eight;
#if defined(__CUDACC__)
    const uint4 words = __ldg(reinterpret_cast<const uint4*>(p));
    eight = {{words.x, words.y, words.z, words.w}};
#else
    std::memcpy(&eight, p, sizeof eight);
#endif
    return eight;
}

DUOVIEW_WARP std::uint32_t greater_halves(std::uint32_t a, std::uint32_t b) {
#if defined(__CUDACC__)
    return __vmaxs2(a, b);
#else
    const auto low = [](std::uint32_t x) { return static_cast<std::int16_t>(x & 0xFFFFu); };
    const auto high = [](std::uint32_t x) { return static_cast<std::int16_t>(x >> 16); };
    return (low(a) > low(b) ? a & 0xFFFFu : b & 0xFFFFu) | (high(a) > high(b) ? a & 0xFFFF0000u : b & 0xFFFF0000u);
#endif
}

// value >> octaves, 0 from 32 on.
DUOVIEW_WARP std::uint32_t shifted(std::uint32_t value, std::uint32_t octaves) {
#if defined(__CUDACC__)
    return __funnelshift_rc(value, 0, octaves);
#else
    return octaves < 32u ? value >> octaves : 0u;
#endif
}

DUOVIEW_WARP std::uint32_t weight_at(const OctaveTable& table, std::uint32_t distance) {  // below 2^16
    return shifted(table.weight[distance & 0xFFu], distance >> 8);
}

// The same of both halves; each byte is taken out by one instruction.
DUOVIEW_WARP void weights_at(const OctaveTable& table, std::uint32_t distances, std::uint32_t& low, std::uint32_t& high) {
#if defined(__CUDACC__)
    low = shifted(table.weight[distances & 0xFFu], __byte_perm(distances, 0, 0x4441));
    high = shifted(table.weight[__byte_perm(distances, 0, 0x4442)], distances >> 24);
#else
    low = weight_at(table, distances & 0xFFFFu);
    high = weight_at(table, distances >> 16);
#endif
}

// What all posterior programs are given; `transition` and what is behind it make a PosteriorStep.
struct PosteriorJob {
    const std::int16_t* logits;
    const std::uint8_t* states;
    std::uint8_t* out;
    std::uint64_t count;
    std::uint64_t seed;
    std::uint64_t stream;
    std::uint64_t offset;
    std::uint64_t* error;
    std::uint64_t transition;
    std::uint64_t categories;
    std::uint64_t model;
    std::uint64_t flat;
    std::uint64_t stay;
    std::uint64_t agree;
    std::uint64_t own;
    std::uint64_t masked;
    std::uint64_t leaf_depth;
    std::uint64_t depth;
    std::uint64_t next_depth;
    const OctaveTable* tables;

    DUOVIEW_WARP_MEMBER PosteriorStep step() const {
        return {static_cast<Transition>(transition), static_cast<std::uint32_t>(categories), model, flat, stay, agree, own,
                masked, static_cast<std::uint32_t>(leaf_depth), static_cast<std::uint32_t>(depth),
                static_cast<std::uint32_t>(next_depth)};
    }

    // The state of a position; one out of range is reported, and 0 stands for it.
    DUOVIEW_WARP_MEMBER std::uint32_t state_at(const Warp& warp, const PosteriorStep& step, std::uint64_t index) const {
        const std::uint32_t state = states[index];
        const std::uint32_t limit = step.transition == Transition::tree        ? 1u << step.depth
                                    : step.transition == Transition::absorbing ? step.categories + 1
                                                                               : step.categories;
        if (state < limit) return state;
        warp.atomic_min(error, error_word(DeviceFault::state_range, index));
        return 0;
    }

    // Calls body(first, random) for rows of 64 positions: `first` is the index of the first one, below 0 (wrapped around) where
    // the first block of random words is begun in its middle; lane l has the words of positions 2 l and 2 l + 1.
    template <typename Body>
    DUOVIEW_WARP_MEMBER void each_positions(const Warp& warp, std::uint64_t item, Body&& body) const {
        const std::uint64_t skipped = offset % 2;
        for (std::uint64_t row = item * kPosteriorRows; row < (item + 1) * kPosteriorRows; ++row) {
            if (row * kPosteriorRow >= count + skipped) return;
            PerLane<PhiloxBlock> random;
            warp.each([&](std::uint32_t lane) { random[lane] = philox_at(seed, stream, offset / 2 + row * 32 + lane); });
            body(row * kPosteriorRow - skipped, random);
        }
    }
};

// Any number of categories: one lane a position.
struct PosteriorAny : PosteriorJob {
    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const PosteriorStep step = this->step();
        each_positions(warp, item, [&](std::uint64_t first, const PerLane<PhiloxBlock>& random) {
            warp.each([&](std::uint32_t lane) {
                for (std::uint32_t i = 0; i < 2; ++i) {
                    const std::uint64_t index = first + 2 * lane + i;
                    if (index >= count) continue;
                    out[index] = posterior_at(step, logits + index * categories, state_at(warp, step, index),
                                              random[lane].word[2 * i], random[lane].word[2 * i + 1], tables->coarse, tables->fine);
                }
            });
        });
    }
};

// Rows, or parts of rows below a node, of 16 * Group categories that begin at multiples of 16 bytes. Compiled for each
// transition, so that what others need costs nothing.
template <std::uint32_t Group, Transition kTransition>
struct PosteriorRows : PosteriorJob {
    static constexpr std::uint32_t kRead = 16 * Group;                   // categories
    static constexpr std::uint32_t kPositions = kWarpLanes / Group;  // at a time

    struct Weights {
        std::uint32_t weight[16];
    };

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        PosteriorStep step = this->step();
        step.transition = kTransition;
        if (kTransition != Transition::tree) step.categories = kRead;
        each_positions(warp, item, [&](std::uint64_t first, const PerLane<PhiloxBlock>& random) {
            PerLane<std::uint32_t> words[4];
            warp.each([&](std::uint32_t lane) {
                DUOVIEW_UNROLL for (std::uint32_t i = 0; i < 4; ++i) words[i][lane] = random[lane].word[i];
            });
            for (std::uint32_t q = 0; q < kPosteriorRow; q += kPositions) sample(warp, step, first, q, words);
        });
    }

    DUOVIEW_WARP_MEMBER void sample(const Warp& warp, const PosteriorStep& step, std::uint64_t first, std::uint32_t q,
                                    const PerLane<std::uint32_t> (&words)[4]) const {
        PerLane<std::uint64_t> index;
        PerLane<std::uint32_t> state, part;
        PerLane<Eight> low, high;
        PerLane<std::int32_t> greatest;
        warp.each([&](std::uint32_t lane) {
            index[lane] = first + q + lane / Group;
            low[lane] = high[lane] = Eight{{0, 0, 0, 0}};
            state[lane] = part[lane] = 0;
            if (index[lane] < count) {
                state[lane] = state_at(warp, step, index[lane]);
                if (kTransition == Transition::tree) part[lane] = state[lane] * kRead;
                const std::int16_t* const row = logits + index[lane] * step.categories + part[lane] + 8 * (lane % Group);
                low[lane] = load_eight(row);
                high[lane] = load_eight(row + 8 * Group);
            }
            std::uint32_t pair = greater_halves(low[lane].pair[0], high[lane].pair[0]);
            DUOVIEW_UNROLL for (std::uint32_t i = 1; i < 4; ++i)
                pair = greater_halves(pair, greater_halves(low[lane].pair[i], high[lane].pair[i]));
            const std::int32_t a = static_cast<std::int16_t>(pair & 0xFFFFu);
            const std::int32_t b = static_cast<std::int16_t>(pair >> 16);
            greatest[lane] = a > b ? a : b;
        });
        warp.group_max(greatest, Group);
        PerLane<Weights> weights;
        PerLane<std::uint32_t> self, low_sum, high_sum, sum;
        warp.each([&](std::uint32_t lane) {
            // A distance of 65535 makes the weight of x_t itself 0, where it does not take part.
            std::uint32_t excluded = 16;
            self[lane] = 0;
            if (kTransition == Transition::uniform && index[lane] < count) {
                const std::uint32_t piece = state[lane] / 8;
                if (piece % Group == lane % Group) excluded = piece / Group * 8 + state[lane] % 8;
                const std::int32_t logit = logits[index[lane] * step.categories + state[lane]];
                self[lane] = weight_at(*tables, static_cast<std::uint32_t>(greatest[lane] - logit));
            }
            const std::uint32_t top = (static_cast<std::uint32_t>(greatest[lane]) & 0xFFFFu) * kBothHalves ^ kBothSigns;
            const std::uint32_t gone = excluded & 1u ? 0xFFFF0000u : 0xFFFFu;
            low_sum[lane] = high_sum[lane] = 0;
            DUOVIEW_UNROLL for (std::uint32_t i = 0; i < 8; ++i) {
                const std::uint32_t pair = i < 4 ? low[lane].pair[i] : high[lane].pair[i - 4];
                std::uint32_t distance = top - (pair ^ kBothSigns);
                if (kTransition == Transition::uniform && i == excluded >> 1) distance |= gone;
                weights_at(*tables, distance, weights[lane].weight[2 * i], weights[lane].weight[2 * i + 1]);
                (i < 4 ? low_sum : high_sum)[lane] += weights[lane].weight[2 * i] + weights[lane].weight[2 * i + 1];
            }
            sum[lane] = low_sum[lane] + high_sum[lane];
        });
        warp.group_sum(sum, Group);
        PerLane<std::uint32_t> low_before = low_sum;
        PerLane<std::uint32_t> high_before = high_sum;
        PerLane<std::uint32_t> low_all = low_sum;
        warp.group_exclusive_sum(low_before, Group);
        warp.group_exclusive_sum(high_before, Group);
        warp.group_sum(low_all, Group);
        PerLane<std::uint32_t> word0, word1;
        warp.each([&](std::uint32_t lane) {
            const std::uint32_t position = q + lane / Group;
            const std::uint32_t a = warp.from(words[0], lane, position / 2);
            const std::uint32_t b = warp.from(words[1], lane, position / 2);
            const std::uint32_t c = warp.from(words[2], lane, position / 2);
            const std::uint32_t d = warp.from(words[3], lane, position / 2);
            word0[lane] = position % 2 ? c : a;
            word1[lane] = position % 2 ? d : b;
        });
        warp.each([&](std::uint32_t lane) {
            if (index[lane] >= count) return;
            PosteriorChoice choice{1u, 0u, 0u};
            if (kTransition == Transition::uniform) {
                choice = choose_uniform(step, state[lane], sum[lane], self[lane], word0[lane], word1[lane]);
            } else if (kTransition == Transition::absorbing) {
                choice = choose_absorbing(step, state[lane], sum[lane], word0[lane], word1[lane]);
            } else {
                choice.target = uniform_below32(word1[lane], sum[lane]);
            }
            if (!choice.search) {
                if (lane % Group == 0) out[index[lane]] = static_cast<std::uint8_t>(choice.category);
                return;
            }
            // The one lane whose piece holds the target looks for it there.
            const std::uint32_t in_low = choice.target - low_before[lane];
            const std::uint32_t in_high = choice.target - low_all[lane] - high_before[lane];
            const bool lower = in_low < low_sum[lane];
            if (!lower && in_high >= high_sum[lane]) return;
            const std::uint32_t rest = lower ? in_low : in_high;
            std::uint32_t cumulative = 0;
            std::uint32_t k = 8 * (lower ? lane % Group : Group + lane % Group);
            DUOVIEW_UNROLL for (std::uint32_t i = 0; i < 8; ++i) {
                cumulative += lower ? weights[lane].weight[i] : weights[lane].weight[8 + i];
                k += cumulative <= rest ? 1 : 0;
            }
            if (kTransition == Transition::tree) k = (part[lane] + k) >> (step.leaf_depth - step.next_depth);
            out[index[lane]] = static_cast<std::uint8_t>(k);
        });
    }
};

template <std::uint32_t Group>
using PosteriorUniform = PosteriorRows<Group, Transition::uniform>;
template <std::uint32_t Group>
using PosteriorAbsorbing = PosteriorRows<Group, Transition::absorbing>;
template <std::uint32_t Group>
using PosteriorTree = PosteriorRows<Group, Transition::tree>;

}  // namespace duoview
