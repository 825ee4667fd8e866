// Palette kernels: what each vector path provides, and the checked, multi-threaded calls made of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "noise.hpp"

#include "duoview/posterior.hpp"

namespace duoview {

// Children of `count` nodes; position i takes half-word i of `words`, counted from half-word `skip` (0 or 1).
using ChildrenFunction = void (*)(const std::uint8_t* nodes, const std::uint8_t* classes, const std::uint32_t* words,
                                  std::size_t skip, std::size_t count, std::uint8_t* out);
void children_scalar(const std::uint8_t* nodes, const std::uint8_t* classes, const std::uint32_t* words, std::size_t skip,
                     std::size_t count, std::uint8_t* out);
void children_avx2(const std::uint8_t* nodes, const std::uint8_t* classes, const std::uint32_t* words, std::size_t skip,
                   std::size_t count, std::uint8_t* out);

// One group's vectors and leaves. Vector i starts at vectors + i * stride and its result goes to out[i * out_stride].
struct NearestProblem {
    const float* vectors;
    std::size_t stride;
    const float* leaves;  // leaf_count rows of `channels`
    std::uint32_t leaf_count;
    std::uint32_t channels;
    std::uint8_t* out;
    std::size_t out_stride;
};
using NearestFunction = void (*)(const NearestProblem& problem, std::size_t begin, std::size_t end);
void nearest_scalar(const NearestProblem& problem, std::size_t begin, std::size_t end);
void nearest_avx2(const NearestProblem& problem, std::size_t begin, std::size_t end);

// `count` rows of logits; position i takes words 2 i and 2 i + 1. `readable` numbers from `logits` on belong to the array:
// vector loads may go past a row, never past those. States have been checked.
using PosteriorFunction = void (*)(const PosteriorStep& step, const std::int16_t* logits, std::size_t readable,
                                   const std::uint8_t* states, const std::uint32_t* words, std::size_t count,
                                   std::uint8_t* out);
void posterior_scalar(const PosteriorStep& step, const std::int16_t* logits, std::size_t readable, const std::uint8_t* states,
                      const std::uint32_t* words, std::size_t count, std::uint8_t* out);
void posterior_avx2(const PosteriorStep& step, const std::int16_t* logits, std::size_t readable, const std::uint8_t* states,
                    const std::uint32_t* words, std::size_t count, std::uint8_t* out);
void posterior_avx512(const PosteriorStep& step, const std::int16_t* logits, std::size_t readable, const std::uint8_t* states,
                      const std::uint32_t* words, std::size_t count, std::uint8_t* out);

struct PaletteKernels {
    PhiloxFunction philox;
    ChildrenFunction children;
    NearestFunction nearest;
    PosteriorFunction posterior;
};

// All throw std::invalid_argument, naming the argument, the index and the range, where an element is out of range.
// `address.offset` is the number of the first position.
void sample_child(const PaletteKernels& kernels, const NoiseAddress& address, const std::uint8_t* nodes,
                  const std::uint8_t* classes, std::size_t count, std::size_t threads, std::uint8_t* out);
void nearest(const PaletteKernels& kernels, const float* vectors, const float* leaves, std::size_t count, std::size_t groups,
             std::uint32_t leaf_count, std::uint32_t channels, std::size_t threads, std::uint8_t* out);
// Squared errors (count,) of vectors (count, groups, numbers) by nodes (count, groups) of a table (groups, node_count, numbers),
// or by nothing where that is null; each group's difference times its scale, the sum times `factor`.
void node_errors(const float* vectors, const std::uint8_t* nodes, const float* table, const float* scale, float factor,
                 std::size_t count, std::size_t groups, std::size_t node_count, std::size_t numbers, float* out);
void posterior_sample(const PaletteKernels& kernels, const PosteriorStep& step, const NoiseAddress& address,
                      const std::int16_t* logits, const std::uint8_t* states, std::size_t count, std::size_t threads,
                      std::uint8_t* out);

// Levels 0 .. depth of a tree, concatenated: 2^d nodes of `channels` centres, in 1/256 grid steps, and their weights.
struct PaletteTree {
    std::vector<std::int32_t> centres;
    std::vector<std::int64_t> weights;
};
// `weights` may be null: every vector counts once. `scale` is 1 / step, a power of two.
PaletteTree build_palette_tree(const float* vectors, const std::uint32_t* weights, std::size_t count, std::uint32_t channels,
                               std::uint32_t depth, float scale, std::uint32_t rounds);

}  // namespace duoview
