#include "picture_error.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "default_arithmetic.hpp"
#include "parallel.hpp"

namespace duoview {
namespace {

constexpr std::size_t kSide = 2;  // positions of the latent to one of the result, down and to the right
constexpr std::size_t kResults = kBlockColumns / kSide;  // of a block
constexpr std::size_t kJobBlocks = 16, kThreadBlocks = 64;  // that a thread takes at a time, and that one is started for

// How many of three places in a row are inside.
float inside(std::size_t at, std::size_t size) { return static_cast<float>(3 - (at == 0 ? 1 : 0) - (at + 1 == size ? 1 : 0)); }

struct Latents {
    std::size_t channels, height, width;

    std::size_t plane() const { return height * width; }
    std::size_t columns() const { return (width + kBlockColumns - 1) / kBlockColumns; }  // of blocks
    std::size_t rows() const { return height / kBlockRows; }
};

// Matrices (2, channels, channels) by input, then output.
std::vector<float> by_input(const float* weights, std::size_t channels) {
    std::vector<float> turned(2 * channels * channels);
    for (float* matrix = turned.data(); matrix != turned.data() + turned.size(); matrix += channels * channels)
        for (std::size_t output = 0; output < channels; ++output)
            for (std::size_t input = 0; input < channels; ++input) matrix[input * channels + output] = *weights++;
    return turned;
}

// Blocks of latents one after the other, in room of its own: what one thread works with.
class Blocks {
public:
    Blocks(const Latents& latents, const float* weights, PictureFormFunction form)
        : latents_(latents),
          weights_(weights),
          form_(form),
          room_(picture_room(latents.channels)),
          around_(latents.channels * kAroundRows * kAroundColumns) {}

    // Results of a block, of the error `error` less `less`, which may be null.
    void find(std::size_t row, std::size_t column, const float* error, const float* less, float (&results)[kResults]) {
        const std::size_t y = row * kBlockRows, x = column * kBlockColumns;
        float shares[kBlockPositions];
        for (std::size_t k = 0; k < kBlockColumns; ++k) {
            const float of_columns = 1.0f / inside(x + k, latents_.width);
            for (std::size_t i = 0; i < kBlockRows; ++i)
                shares[i * kBlockColumns + k] = 1.0f / inside(y + i, latents_.height) * of_columns;
        }
        PictureBlock block{{}, {}, latents_.plane(), latents_.channels, weights_, shares};
        if (y != 0 && y + kBlockRows < latents_.height && x != 0 && x + kBlockColumns < latents_.width) {
            for (std::size_t i = 0; i < kAroundRows; ++i) {
                const std::size_t at = (y + i - 1) * latents_.width + x;
                block.error[i] = error + at;
                block.less[i] = less ? less + at : nullptr;
            }
        } else {
            copy(y, x, error, less);
            block.plane = kAroundRows * kAroundColumns;
            for (std::size_t i = 0; i < kAroundRows; ++i) block.error[i] = around_.data() + i * kAroundColumns + 1;
        }
        float seen[kBlockPositions];
        form_(block, room_.data(), seen);
        const float *const top = seen, *const bottom = seen + kBlockColumns;
        for (std::size_t i = 0; i < kResults; ++i)
            results[i] = ((top[kSide * i] + top[kSide * i + 1]) + (bottom[kSide * i] + bottom[kSide * i + 1])) * 0.25f;
    }

private:
    // The errors around a block at an edge, 0 outside.
    void copy(std::size_t y, std::size_t x, const float* error, const float* less) {
        const std::size_t left = x == 0 ? 1 : 0, right = std::min(kAroundColumns, latents_.width + 1 - x);
        float* to = around_.data();
        for (std::size_t channel = 0; channel < latents_.channels; ++channel)
            for (std::size_t i = 0; i < kAroundRows; ++i, to += kAroundColumns) {
                std::fill_n(to, kAroundColumns, 0.0f);
                if (y + i == 0 || y + i > latents_.height) continue;
                const std::size_t at = channel * latents_.plane() + (y + i - 1) * latents_.width + x - 1 + left;
                std::copy_n(error + at, right - left, to + left);
                if (less) for (std::size_t k = left; k < right; ++k) to[k] -= less[at + k - left];
            }
    }

    const Latents latents_;
    const float* const weights_;
    const PictureFormFunction form_;
    std::vector<float> room_, around_;
};

// Calls body(blocks, row, column) for blocks by their numbers, on threads, in the arithmetic that results are defined in.
template <typename Body>
void each_block(const Latents& latents, const float* weights, PictureFormFunction form, const std::vector<std::size_t>& numbers,
                std::size_t threads, const Body& body) {
    if (numbers.empty()) return;
    const std::vector<float> turned = by_input(weights, latents.channels);
    const std::size_t jobs = (numbers.size() + kJobBlocks - 1) / kJobBlocks;
    run_parallel(worthwhile(threads, numbers.size(), kThreadBlocks), jobs, [&](std::size_t job) {
        const DefaultArithmetic arithmetic;
        Blocks blocks(latents, turned.data(), form);
        for (std::size_t i = job * kJobBlocks; i < std::min((job + 1) * kJobBlocks, numbers.size()); ++i)
            body(blocks, numbers[i] / latents.columns(), numbers[i] % latents.columns());
    });
}

// Results of the block that are inside.
std::size_t results_of(const Latents& latents, std::size_t column) {
    return std::min(kResults, latents.width / kSide - column * kResults);
}

// Numbers of blocks, row by row, of which a position or one next to it is another in one latent than in the other.
std::vector<std::size_t> changed_blocks(const Latents& latents, const float* before, const float* after) {
    const std::size_t plane = latents.plane(), width = latents.width;
    std::vector<std::uint32_t> differ(plane);
    for (std::size_t channel = 0; channel < latents.channels; ++channel, before += plane, after += plane)
        for (std::size_t i = 0; i < plane; ++i) {
            std::uint32_t a, b;
            std::memcpy(&a, before + i, sizeof a);
            std::memcpy(&b, after + i, sizeof b);
            differ[i] |= a ^ b;
        }
    std::vector<std::size_t> numbers;
    for (std::size_t row = 0; row < latents.rows(); ++row)
        for (std::size_t column = 0; column < latents.columns(); ++column) {
            const std::size_t top = row * kBlockRows, left = column * kBlockColumns;
            std::uint32_t any = 0;
            for (std::size_t y = top == 0 ? 0 : top - 1; y < std::min(top + kBlockRows + 1, latents.height); ++y)
                for (std::size_t x = left == 0 ? 0 : left - 1; x < std::min(left + kBlockColumns + 1, width); ++x)
                    any |= differ[y * width + x];
            if (any != 0) numbers.push_back(row * latents.columns() + column);
        }
    return numbers;
}

}  // namespace

void picture_error(const PictureErrorJob& job, PictureFormFunction form) {
    const Latents latents{job.channels, job.height, job.width};
    std::vector<std::size_t> numbers(latents.rows() * latents.columns());
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
    each_block(latents, job.weights, form, numbers, job.threads, [&](Blocks& blocks, std::size_t row, std::size_t column) {
        float results[kResults];
        blocks.find(row, column, job.error, nullptr, results);
        std::copy_n(results, results_of(latents, column), job.out + row * (job.width / kSide) + column * kResults);
    });
}

void picture_gain(const PictureGainJob& job, PictureFormFunction form) {
    const Latents latents{job.channels, job.height, job.width};
    std::fill_n(job.out, latents.plane() / (kSide * kSide), 0.0f);
    const std::vector<std::size_t> numbers = changed_blocks(latents, job.before, job.after);
    each_block(latents, job.weights, form, numbers, job.threads, [&](Blocks& blocks, std::size_t row, std::size_t column) {
        float had[kResults], has[kResults];
        blocks.find(row, column, job.wanted, job.before, had);
        blocks.find(row, column, job.wanted, job.after, has);
        for (std::size_t i = 0; i < results_of(latents, column); ++i)
            job.out[row * (job.width / kSide) + column * kResults + i] = had[i] - has[i];
    });
}

}  // namespace duoview
