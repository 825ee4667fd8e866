// Baseline path of the palette kernels: the shared per-element functions, one position after another.
#include "palette.hpp"

#include "duoview/nearest.hpp"
#include "duoview/octave_table.hpp"
#include "duoview/palette.hpp"

namespace duoview {

void children_scalar(const std::uint8_t* nodes, const std::uint8_t* classes, const std::uint32_t* words, std::size_t skip,
                     std::size_t count, std::uint8_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t half = skip + i;
        out[i] = child_of(nodes[i], classes[i], half_word(words[half / 2], half % 2));
    }
}

void nearest_scalar(const NearestProblem& problem, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
        problem.out[i * problem.out_stride] =
            nearest_leaf(problem.vectors + i * problem.stride, problem.leaves, problem.leaf_count, problem.channels);
    }
}

void posterior_scalar(const PosteriorStep& step, const std::int16_t* logits, std::size_t, const std::uint8_t* states,
                      const std::uint32_t* words, std::size_t count, std::uint8_t* out) {
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = posterior_at(step, logits + i * step.categories, states[i], words[2 * i], words[2 * i + 1], kOctaveCoarse,
                              kOctaveFine);
    }
}

}  // namespace duoview
