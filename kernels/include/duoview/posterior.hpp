// One reverse step of a discrete diffusion over at most 256 categories, by integers only.
// Austin, Johnson, Ho, Tarlow, van den Berg, "Structured denoising diffusion models in discrete state-spaces" (2021).
// docs/kernels.md derives what stands here.
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr std::uint32_t kMaxCategories = 256;
static constexpr int kWeightShift = 7;  // 256 weights of 16 + 7 bits sum to less than 2^31

enum class Transition : std::uint32_t { uniform, absorbing, tree };

// What is the same for all positions of a call. kernels/palette.py computes it.
struct PosteriorStep {
    Transition transition;
    std::uint32_t categories;  // K, numbers in a row of logits
    // uniform, in units of 2^-63: the four sum to at most 1. b = off-diagonal of Q_t, beta = b / (a + b).
    std::uint64_t model;  // beta A: x_{t-1} follows the model
    std::uint64_t flat;   // beta B K: it is any category
    std::uint64_t stay;   // (1 - beta) B: it is x_t, whatever the model says
    std::uint64_t agree;  // (1 - beta) A B_t / (A_t + B_t): it is x_t as far as the model says x_0 = x_t
    std::uint64_t own;    // in 2^-32, 1 .. 2^32: B_t / (A_t + B_t), what the weight of x_t itself counts
    // absorbing, in 2^-32, 0 .. 2^32: the probability that a masked position stays masked.
    std::uint64_t masked;
    // tree: K = 2^leaf_depth; states are nodes of `depth`, results nodes of `next_depth`.
    std::uint32_t leaf_depth;
    std::uint32_t depth;
    std::uint32_t next_depth;
};

DUOVIEW_HD std::uint64_t high_product(std::uint64_t a, std::uint64_t b) {
#if defined(__CUDA_ARCH__)
    return __umul64hi(a, b);
#else
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(static_cast<Wide>(a) * b >> 64);
#endif
}

// floor(word total / 2^32): uniform over 0 .. total - 1 as far as 32 bits can be.
DUOVIEW_HD std::uint64_t uniform_below(std::uint32_t word, std::uint64_t total) {
    return high_product(static_cast<std::uint64_t>(word) << 32, total);
}

DUOVIEW_HD std::uint32_t uniform_below32(std::uint32_t word, std::uint32_t total) {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(word) * total >> 32);
}

// `coarse` and `fine` are kOctaveCoarse and kOctaveFine. Devices may tabulate it: only distance mod 256 matters.
DUOVIEW_HD std::uint32_t octave_mantissa(std::uint32_t distance, const std::uint16_t* coarse, const std::uint16_t* fine) {
    return static_cast<std::uint32_t>(coarse[distance >> 4 & 15u]) * fine[distance & 15u] >> 16;
}

// The weight 2^(-distance / 256) in units of 2^-23 or so; 0 from 23 octaves below the greatest on.
DUOVIEW_HD std::uint32_t octave_weight(std::uint32_t distance, std::uint32_t mantissa) {
    const std::uint32_t octaves = distance >> 8;
    return octaves < 32u ? mantissa << kWeightShift >> octaves : 0u;
}

// a where flag is 1, b where it is 0, by arithmetic: what chance decides, no branch prediction foresees.
DUOVIEW_HD std::uint32_t pick(std::uint32_t flag, std::uint32_t a, std::uint32_t b) { return b ^ ((a ^ b) & (0u - flag)); }

// What a position does: take `category`, or else the first category whose cumulative weight exceeds `target`.
struct PosteriorChoice {
    std::uint32_t search;
    std::uint32_t category;
    std::uint32_t target;
};

// `others` is the sum of the weights of all categories but x_t, `self` that of x_t, which the search must count as 0.
DUOVIEW_HD PosteriorChoice choose_uniform(const PosteriorStep& step, std::uint32_t state, std::uint32_t others,
                                          std::uint32_t self, std::uint32_t word0, std::uint32_t word1) {
    const std::uint64_t far = static_cast<std::uint64_t>(others) << 32;
    const std::uint64_t near = self * step.own;
    const std::uint64_t all = far + near;  // < 2^63 + 2^55
    const std::uint64_t model = high_product(step.model, all);
    const std::uint64_t either = model + high_product(step.flat, all);
    const std::uint64_t total = either + high_product(step.stay, all) +
                                high_product(step.agree, static_cast<std::uint64_t>(self) << 32);
    const std::uint64_t part = uniform_below(word0, total);
    const std::uint64_t target = uniform_below(word1, all);
    const std::uint32_t any = uniform_below32(word1, step.categories);
    const std::uint32_t search = static_cast<std::uint32_t>(part < model) & static_cast<std::uint32_t>(target < far);
    const std::uint32_t flat = static_cast<std::uint32_t>(part >= model) & static_cast<std::uint32_t>(part < either);
    return {search, pick(flat, any, state), static_cast<std::uint32_t>(target >> 32)};
}

// `sum` is the sum of all weights. A state other than K, the mask, stays.
DUOVIEW_HD PosteriorChoice choose_absorbing(const PosteriorStep& step, std::uint32_t state, std::uint32_t sum,
                                            std::uint32_t word0, std::uint32_t word1) {
    const bool moves = state == step.categories && word0 >= step.masked;
    return {moves ? 1u : 0u, state, uniform_below32(word1, sum)};
}

// Position p takes words 2 p and 2 p + 1 of its stream. `logits` is its row.
DUOVIEW_HD std::uint8_t posterior_at(const PosteriorStep& step, const std::int16_t* logits, std::uint32_t state,
                                     std::uint32_t word0, std::uint32_t word1, const std::uint16_t* coarse,
                                     const std::uint16_t* fine) {
    std::uint32_t first = 0;
    std::uint32_t count = step.categories;
    std::uint32_t excluded = kMaxCategories;
    if (step.transition == Transition::absorbing) {
        if (state != step.categories) return static_cast<std::uint8_t>(state);
    } else if (step.transition == Transition::uniform) {
        excluded = state;
    } else {
        count = 1u << (step.leaf_depth - step.depth);
        first = state * count;
    }
    const std::int16_t* const row = logits + first;
    std::int32_t greatest = row[0];
    for (std::uint32_t k = 1; k < count; ++k) greatest = row[k] > greatest ? row[k] : greatest;
    std::uint32_t sum = 0;
    std::uint32_t self = 0;
    for (std::uint32_t k = 0; k < count; ++k) {
        const std::uint32_t distance = static_cast<std::uint32_t>(greatest - row[k]);
        const std::uint32_t weight = octave_weight(distance, octave_mantissa(distance, coarse, fine));
        sum += k == excluded ? 0u : weight;
        self = k == excluded ? weight : self;
    }
    PosteriorChoice choice{1u, 0u, 0u};
    if (step.transition == Transition::uniform) {
        choice = choose_uniform(step, state, sum, self, word0, word1);
    } else if (step.transition == Transition::absorbing) {
        choice = choose_absorbing(step, state, sum, word0, word1);
    } else {
        choice.target = uniform_below32(word1, sum);
    }
    if (!choice.search) return static_cast<std::uint8_t>(choice.category);
    std::uint32_t cumulative = 0;
    std::uint32_t k = 0;
    for (; k + 1 < count; ++k) {  // the target is below the sum, so the last category needs no look
        const std::uint32_t distance = static_cast<std::uint32_t>(greatest - row[k]);
        const std::uint32_t weight = octave_weight(distance, octave_mantissa(distance, coarse, fine));
        cumulative += k == excluded ? 0u : weight;
        if (cumulative > choice.target) break;
    }
    if (step.transition == Transition::tree) k = (first + k) >> (step.leaf_depth - step.next_depth);
    return static_cast<std::uint8_t>(k);
}

}  // namespace duoview
