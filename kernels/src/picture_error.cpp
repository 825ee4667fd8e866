#include "picture_error.hpp"

#include <algorithm>
#include <vector>

#include "default_arithmetic.hpp"
#include "parallel.hpp"

namespace duoview {
namespace {

constexpr std::size_t kSide = 2;  // positions of the latent to one of the result, down and to the right

// How many of three places in a row are inside.
float inside(std::size_t at, std::size_t size) { return static_cast<float>(3 - (at == 0 ? 1 : 0) - (at + 1 == size ? 1 : 0)); }

// One row of results: two rows of the latent.
class Row {
public:
    explicit Row(const PictureErrorJob& job)
        : job_(job),
          count_((kSide * job.width + kFormPositions - 1) / kFormPositions * kFormPositions),
          flat_(job.channels * count_),
          beside_(flat_.size()),
          sums_(job.width),
          seen_(count_),
          of_flat_(count_),
          columns_(job.width) {
        for (std::size_t x = 0; x < job.width; ++x) columns_[x] = 1.0f / inside(x, job.width);
    }

    void find(std::size_t row, PictureFormFunction form) {
        for (std::size_t channel = 0; channel < job_.channels; ++channel)
            for (std::size_t y = 0; y < kSide; ++y) split(channel, kSide * row + y, channel * count_ + y * job_.width);
        form(beside_.data(), job_.weights, job_.channels, count_, seen_.data());
        form(flat_.data(), job_.weights + job_.channels * job_.channels, job_.channels, count_, of_flat_.data());
        for (std::size_t i = 0; i < count_; ++i) seen_[i] += of_flat_[i];
        const float *const top = seen_.data(), *const bottom = top + job_.width;
        float* const out = job_.out + row * (job_.width / kSide);
        for (std::size_t x = 0; x < job_.width; x += kSide)
            out[x / kSide] = ((top[x] + top[x + 1]) + (bottom[x] + bottom[x + 1])) * 0.25f;
    }

private:
    // The mean over the 3x3 around each position of a row, of what is inside, and what is beside it.
    void split(std::size_t channel, std::size_t y, std::size_t to) {
        const std::size_t width = job_.width;
        const float* const own = job_.error + (channel * job_.height + y) * width;
        std::copy_n(own, width, sums_.begin());
        if (y != 0) add_row(own - width);
        if (y + 1 != job_.height) add_row(own + width);
        float *const flat = flat_.data() + to, *const beside = beside_.data() + to;
        std::copy_n(sums_.data(), width, flat);
        for (std::size_t x = 1; x < width; ++x) flat[x] += sums_[x - 1];
        for (std::size_t x = 0; x + 1 < width; ++x) flat[x] += sums_[x + 1];
        const float rows = 1.0f / inside(y, job_.height);
        for (std::size_t x = 0; x < width; ++x) {
            flat[x] *= rows * columns_[x];
            beside[x] = own[x] - flat[x];
        }
    }

    void add_row(const float* row) {
        for (std::size_t x = 0; x < job_.width; ++x) sums_[x] += row[x];
    }

    const PictureErrorJob& job_;
    const std::size_t count_;  // positions of two rows, filled up with zeros
    std::vector<float> flat_, beside_, sums_, seen_, of_flat_, columns_;
};

}  // namespace

void picture_error(const PictureErrorJob& job, PictureFormFunction form) {
    if (job.width == 0) return;
    const std::size_t rows = job.height / kSide, jobs = std::min(rows, job.threads);
    // A band of rows for each thread, which makes its room once.
    run_parallel(job.threads, jobs, [&](std::size_t band) {
        const DefaultArithmetic arithmetic;
        Row row(job);
        for (std::size_t y = band * rows / jobs; y < (band + 1) * rows / jobs; ++y) row.find(y, form);
    });
}

}  // namespace duoview
