// Python's view of the palette kernels. kernels/palette.py checks shapes and dtypes and explains them; the types here only
// make sure that nothing else can get in.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include <nanobind/stl/optional.h>

#include "dispatch.hpp"
#include "module.hpp"
#include "palette.hpp"

#include "duoview/nearest.hpp"
#include "duoview/octave_table.hpp"
#include "duoview/palette_tree.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

template <typename T, int Dimensions>
using Input = nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>>;

void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

// Memory for `count` results, filled by `fill` while other Python threads run.
template <typename T, typename Fill>
nb::ndarray<nb::numpy, T, nb::ndim<1>> filled(std::size_t count, const Fill& fill) {
    std::unique_ptr<T[]> values(new T[count ? count : 1]);
    {
        nb::gil_scoped_release release;
        fill(values.get());
    }
    T* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    values.release();
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {count}, owner);
}

Bytes sample_child_call(Input<std::uint8_t, 1> nodes, Input<std::uint8_t, 1> classes, std::uint64_t seed, std::uint64_t stream,
                        std::uint64_t offset, std::size_t threads, const std::string& path) {
    require(nodes.size() == classes.size(), "nodes and classes differ in length");
    const PaletteKernels kernels = choose_palette(path);
    return filled<std::uint8_t>(nodes.size(), [&](std::uint8_t* out) {
        sample_child(kernels, {seed, stream, offset}, nodes.data(), classes.data(), nodes.size(), threads, out);
    });
}

Bytes nearest_call(Input<float, 3> vectors, Input<float, 3> leaves, std::size_t threads, const std::string& path) {
    const std::size_t groups = vectors.shape(1);
    const std::size_t channels = vectors.shape(2);
    require(leaves.shape(0) == groups && leaves.shape(2) == channels, "vectors and leaves differ in groups or channels");
    require(leaves.shape(1) >= 1 && leaves.shape(1) <= kMaxLeaves, "leaves are 1..256");
    require(channels >= 1 && channels <= 0xFFFFFFFFu, "channels are 1..2**32 - 1");
    const PaletteKernels kernels = choose_palette(path);
    return filled<std::uint8_t>(vectors.shape(0) * groups, [&](std::uint8_t* out) {
        nearest(kernels, vectors.data(), leaves.data(), vectors.shape(0), groups, static_cast<std::uint32_t>(leaves.shape(1)),
                static_cast<std::uint32_t>(channels), threads, out);
    });
}

nb::ndarray<nb::numpy, float, nb::ndim<1>> node_errors_call(Input<float, 3> vectors, Input<std::uint8_t, 2> nodes,
                                                            std::optional<Input<float, 3>> table, Input<float, 1> scale,
                                                            float factor) {
    const std::size_t count = vectors.shape(0), groups = vectors.shape(1), numbers = vectors.shape(2);
    require(nodes.shape(0) == count && nodes.shape(1) == groups, "vectors and nodes differ in positions or groups");
    require(scale.shape(0) == groups, "vectors and scale differ in groups");
    const std::size_t node_count = table ? table->shape(1) : 0;
    if (table) {
        require(table->shape(0) == groups && table->shape(2) == numbers, "vectors and table differ in groups or channels");
        require(node_count >= 1 && node_count <= kMaxLeaves, "table has 1..256 nodes");
    }
    return filled<float>(count, [&](float* out) {
        node_errors(vectors.data(), nodes.data(), table ? table->data() : nullptr, scale.data(), factor, count, groups, node_count,
                    numbers, out);
    });
}

Bytes sample(const PosteriorStep& step, Input<std::int16_t, 2> logits, Input<std::uint8_t, 1> states, const NoiseAddress& address,
             std::size_t threads, const std::string& path) {
    require(logits.shape(0) == states.size(), "logits and states differ in length");
    const PaletteKernels kernels = choose_palette(path);
    return filled<std::uint8_t>(states.size(), [&](std::uint8_t* out) {
        posterior_sample(kernels, step, address, logits.data(), states.data(), states.size(), threads, out);
    });
}

PosteriorStep step_over(const Input<std::int16_t, 2>& logits, Transition transition, std::uint32_t most) {
    require(logits.shape(1) >= 1 && logits.shape(1) <= most, "logits has too few or too many categories");
    PosteriorStep step{};
    step.transition = transition;
    step.categories = static_cast<std::uint32_t>(logits.shape(1));
    return step;
}

Bytes sample_uniform(Input<std::int16_t, 2> logits, Input<std::uint8_t, 1> states, std::uint64_t model, std::uint64_t flat,
                     std::uint64_t stay, std::uint64_t agree, std::uint64_t own, std::uint64_t seed, std::uint64_t stream,
                     std::uint64_t offset, std::size_t threads, const std::string& path) {
    PosteriorStep step = step_over(logits, Transition::uniform, kMaxCategories);
    constexpr std::uint64_t kOne = std::uint64_t{1} << 63;
    require(model <= kOne && flat <= kOne - model && stay <= kOne - model - flat && agree <= kOne - model - flat - stay,
            "the four shares sum to more than 1");
    require(own >= 1 && own <= std::uint64_t{1} << 32, "own is 1..2**32");
    step.model = model;
    step.flat = flat;
    step.stay = stay;
    step.agree = agree;
    step.own = own;
    return sample(step, logits, states, {seed, stream, offset}, threads, path);
}

Bytes sample_absorbing(Input<std::int16_t, 2> logits, Input<std::uint8_t, 1> states, std::uint64_t masked, std::uint64_t seed,
                       std::uint64_t stream, std::uint64_t offset, std::size_t threads, const std::string& path) {
    PosteriorStep step = step_over(logits, Transition::absorbing, kMaxCategories - 1);
    require(masked <= std::uint64_t{1} << 32, "masked is 0..2**32");
    step.masked = masked;
    return sample(step, logits, states, {seed, stream, offset}, threads, path);
}

Bytes sample_tree(Input<std::int16_t, 2> logits, Input<std::uint8_t, 1> states, std::uint32_t depth, std::uint32_t next_depth,
                  std::uint64_t seed, std::uint64_t stream, std::uint64_t offset, std::size_t threads, const std::string& path) {
    PosteriorStep step = step_over(logits, Transition::tree, kMaxCategories);
    while (1u << step.leaf_depth < step.categories) ++step.leaf_depth;
    require(1u << step.leaf_depth == step.categories, "a tree has a power of two of leaves");
    require(depth < next_depth && next_depth <= step.leaf_depth, "depths must be depth < next_depth <= depth of the leaves");
    step.depth = depth;
    step.next_depth = next_depth;
    return sample(step, logits, states, {seed, stream, offset}, threads, path);
}

nb::tuple build_tree(Input<float, 2> vectors, std::optional<Input<std::uint32_t, 1>> weights, std::uint32_t depth, float scale,
                     std::uint32_t rounds) {
    require(vectors.shape(0) >= 1 && vectors.shape(0) <= static_cast<std::size_t>(kMaxPaletteWeight), "too few or many vectors");
    require(vectors.shape(1) >= 1 && vectors.shape(1) <= kMaxPaletteChannels, "channels are 1..4096");
    require(depth <= kMaxPaletteDepth, "depth is 0..8");
    require(!weights || weights->size() == vectors.shape(0), "vectors and weights differ in length");
    // A copy: sums must not change their meaning between two passes.
    std::vector<std::uint32_t> own;
    if (weights) own.assign(weights->data(), weights->data() + weights->size());
    std::uint64_t total = weights ? 0 : vectors.shape(0);
    for (const std::uint32_t weight : own) total += weight;
    require(total >= 1 && total <= static_cast<std::uint64_t>(kMaxPaletteWeight), "weights sum to 0 or to more than 2**31 - 1");
    PaletteTree tree;
    {
        nb::gil_scoped_release release;
        tree = build_palette_tree(vectors.data(), weights ? own.data() : nullptr, vectors.shape(0),
                                  static_cast<std::uint32_t>(vectors.shape(1)), depth, scale, rounds);
    }
    const auto centres = filled<std::int32_t>(tree.centres.size(), [&](std::int32_t* out) {
        std::copy(tree.centres.begin(), tree.centres.end(), out);
    });
    const auto populations = filled<std::int64_t>(tree.weights.size(), [&](std::int64_t* out) {
        std::copy(tree.weights.begin(), tree.weights.end(), out);
    });
    return nb::make_tuple(centres, populations);
}

std::uint32_t weight_of(std::uint32_t distance) {
    return octave_weight(distance, octave_mantissa(distance, kOctaveCoarse, kOctaveFine));
}

}  // namespace

void bind_palette(nb::module_& m) {
    m.def("octave_weight", &weight_of, nb::arg("distance"));
    m.def("sample_child", &sample_child_call, nb::arg("nodes").noconvert(), nb::arg("classes").noconvert(), nb::arg("seed"),
          nb::arg("stream"), nb::arg("offset"), nb::arg("threads"), nb::arg("path"));
    m.def("nearest", &nearest_call, nb::arg("vectors").noconvert(), nb::arg("leaves").noconvert(), nb::arg("threads"),
          nb::arg("path"));
    m.def("node_errors", &node_errors_call, nb::arg("vectors").noconvert(), nb::arg("nodes").noconvert(),
          nb::arg("table").noconvert().none(), nb::arg("scale").noconvert(), nb::arg("factor"));
    m.def("posterior_uniform", &sample_uniform, nb::arg("logits").noconvert(), nb::arg("states").noconvert(), nb::arg("model"),
          nb::arg("flat"), nb::arg("stay"), nb::arg("agree"), nb::arg("own"), nb::arg("seed"), nb::arg("stream"),
          nb::arg("offset"), nb::arg("threads"), nb::arg("path"));
    m.def("posterior_absorbing", &sample_absorbing, nb::arg("logits").noconvert(), nb::arg("states").noconvert(),
          nb::arg("masked"), nb::arg("seed"), nb::arg("stream"), nb::arg("offset"), nb::arg("threads"), nb::arg("path"));
    m.def("posterior_tree", &sample_tree, nb::arg("logits").noconvert(), nb::arg("states").noconvert(), nb::arg("depth"),
          nb::arg("next_depth"), nb::arg("seed"), nb::arg("stream"), nb::arg("offset"), nb::arg("threads"), nb::arg("path"));
    m.def("build_tree", &build_tree, nb::arg("vectors").noconvert(), nb::arg("weights").noconvert().none(), nb::arg("depth"),
          nb::arg("scale"), nb::arg("rounds"));
}

}  // namespace duoview
