// The checked calls of the palette kernels: ranges for threads, blocks that stay in the cache, random words for a block.
#include "palette.hpp"

#include "default_arithmetic.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "parallel.hpp"

#include "duoview/nearest.hpp"
#include "duoview/node_error.hpp"
#include "duoview/palette.hpp"

namespace duoview {
namespace {

constexpr std::size_t kChildBlock = 4096;      // 8 KiB of random words
constexpr std::size_t kPosteriorBlock = 256;   // 2 KiB of random words
constexpr std::size_t kNearestBlock = 1024;    // vectors that are checked, then compared
constexpr std::size_t kJobsPerThread = 4;      // threads rarely get the same share of a core

// Calls body(begin, end) on ranges of whole blocks.
template <typename Body>
void run_ranges(std::size_t threads, std::size_t count, std::size_t block, const Body& body) {
    const std::size_t blocks = count / block + (count % block != 0);
    const std::size_t jobs = threads <= 1 ? 1 : std::min(blocks, threads * kJobsPerThread);
    const std::size_t share = jobs ? blocks / jobs + (blocks % jobs != 0) : 0;
    run_parallel(threads, jobs, [&](std::size_t job) {
        const std::size_t begin = std::min(count, job * share * block);
        const std::size_t end = std::min(count, (job + 1) * share * block);
        if (begin < end) body(begin, end);
    });
}

[[noreturn]] void out_of_range(const char* name, std::size_t index, unsigned value, unsigned least, unsigned greatest) {
    throw std::invalid_argument(std::string(name) + "[" + std::to_string(index) + "] is " + std::to_string(value) + "; it is " +
                                std::to_string(least) + ".." + std::to_string(greatest));
}

// `base` is the index of values[0] in the caller's array.
void check_bytes(const char* name, const std::uint8_t* values, std::size_t count, std::size_t base, unsigned least,
                 unsigned greatest) {
    const std::uint8_t low = static_cast<std::uint8_t>(least);
    std::uint8_t most = 0;
    for (std::size_t i = 0; i < count; ++i) most = std::max<std::uint8_t>(most, static_cast<std::uint8_t>(values[i] - low));
    if (most <= greatest - least) return;
    for (std::size_t i = 0; i < count; ++i) {
        if (static_cast<std::uint8_t>(values[i] - low) > greatest - least) {
            out_of_range(name, base + i, values[i], least, greatest);
        }
    }
}

void check_finite(const char* name, const float* values, std::size_t count, std::size_t base) {
    bool finite = true;
    for (std::size_t i = 0; i < count; ++i) finite &= is_finite(values[i]);
    if (finite) return;
    for (std::size_t i = 0; i < count; ++i) {
        if (!is_finite(values[i])) {
            throw std::invalid_argument(std::string(name) + " holds " + std::to_string(values[i]) + " at flat index " +
                                        std::to_string(base + i) + "; finite numbers are needed");
        }
    }
}

}  // namespace

void sample_child(const PaletteKernels& kernels, const NoiseAddress& address, const std::uint8_t* nodes,
                  const std::uint8_t* classes, std::size_t count, std::size_t threads, std::uint8_t* out) {
    run_ranges(threads, count, kChildBlock, [&](std::size_t begin, std::size_t end) {
        std::uint32_t words[kChildBlock / 2 + 1];
        for (std::size_t i = begin; i < end; i += kChildBlock) {
            const std::size_t size = std::min(kChildBlock, end - i);
            check_bytes("nodes", nodes + i, size, i, 0, kLastParent);
            check_bytes("classes", classes + i, size, i, kFirstChildClass, kLastChildClass);
            const std::uint64_t position = address.offset + i;
            const std::size_t skip = position % 2;
            kernels.philox({address.seed, address.stream, position / 2}, (skip + size + 1) / 2, words);
            kernels.children(nodes + i, classes + i, words, skip, size, out + i);
        }
    });
}

void nearest(const PaletteKernels& kernels, const float* vectors, const float* leaves, std::size_t count, std::size_t groups,
             std::uint32_t leaf_count, std::uint32_t channels, std::size_t threads, std::uint8_t* out) {
    const std::size_t row = groups * channels;
    const std::size_t palette = std::size_t{leaf_count} * channels;
    check_finite("leaves", leaves, groups * palette, 0);
    run_ranges(threads, count, kNearestBlock, [&](std::size_t begin, std::size_t end) {
        const DefaultArithmetic arithmetic;
        for (std::size_t i = begin; i < end; i += kNearestBlock) {
            const std::size_t last = std::min(i + kNearestBlock, end);
            check_finite("vectors", vectors + i * row, (last - i) * row, i * row);
            for (std::size_t g = 0; g < groups; ++g) {
                kernels.nearest({vectors + g * channels, row, leaves + g * palette, leaf_count, channels, out + g, groups}, i,
                                last);
            }
        }
    });
}

void node_errors(const float* vectors, const std::uint8_t* nodes, const float* table, const float* scale, float factor,
                 std::size_t count, std::size_t groups, std::size_t node_count, std::size_t numbers, float* out) {
    if (table != nullptr) check_bytes("nodes", nodes, count * groups, 0, 0, static_cast<unsigned>(node_count - 1));
    const DefaultArithmetic arithmetic;
    for (std::size_t i = 0; i < count; ++i) {
        float sum = 0.0f;
        for (std::size_t g = 0; g < groups; ++g, vectors += numbers, ++nodes)
            sum = node_error(sum, vectors, table == nullptr ? nullptr : table + (g * node_count + *nodes) * numbers, numbers,
                             scale[g]);
        out[i] = sum * factor;
    }
}

void posterior_sample(const PaletteKernels& kernels, const PosteriorStep& step, const NoiseAddress& address,
                      const std::int16_t* logits, const std::uint8_t* states, std::size_t count, std::size_t threads,
                      std::uint8_t* out) {
    const unsigned greatest = step.transition == Transition::tree        ? (1u << step.depth) - 1
                              : step.transition == Transition::absorbing ? step.categories
                                                                         : step.categories - 1;
    run_ranges(threads, count, kPosteriorBlock, [&](std::size_t begin, std::size_t end) {
        std::uint32_t words[2 * kPosteriorBlock];
        std::uint8_t own[kPosteriorBlock];
        for (std::size_t i = begin; i < end; i += kPosteriorBlock) {
            const std::size_t size = std::min(kPosteriorBlock, end - i);
            // States are indices: what is used is what was checked, even if another thread writes to the caller's array.
            std::copy_n(states + i, size, own);
            check_bytes("states", own, size, i, 0, greatest);
            kernels.philox({address.seed, address.stream, 2 * (address.offset + i)}, 2 * size, words);
            kernels.posterior(step, logits + i * step.categories, (count - i) * step.categories, own, words, size, out + i);
        }
    });
}

}  // namespace duoview
