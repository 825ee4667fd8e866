// The motion search on any pair of planes: any number of threads gives the same; the sums are those of the definition at the
// vectors reported, sample by sample; no vector is beyond reach, none that is not zero brings less than it has to.
//
// Input: cell (1 byte: 8, 16 or 32), rows, columns of cells (1 each, of 1..4), reach (1: 1..32), mode (1: bit 0 makes the
// current plane of the previous one, bit 1 adds noise to it), dy, dx (1 each: its shift in whole pixels), then samples, which
// are repeated.
#include "block_motion.hpp"

#include <algorithm>
#include <cstdlib>

#include "input.hpp"

namespace {

struct Planes {
    int height, width;
    fuzz::Array<std::uint8_t> previous, current;

    Planes(int rows, int columns)
        : height(rows),
          width(columns),
          previous(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns)),
          current(previous.size()) {}

    int before(int y, int x) const {
        return previous[static_cast<std::size_t>(std::clamp(y, 0, height - 1) * width + std::clamp(x, 0, width - 1))];
    }
    int half(int y, int x) const {  // in half pixels
        const int top = y >> 1, left = x >> 1;
        if (y % 2 == 0 && x % 2 == 0) return before(top, left);
        if (y % 2 == 0) return (before(top, left) + before(top, left + 1) + 1) >> 1;
        if (x % 2 == 0) return (before(top, left) + before(top + 1, left) + 1) >> 1;
        return (before(top, left) + before(top, left + 1) + before(top + 1, left) + before(top + 1, left + 1) + 2) >> 2;
    }
    std::uint32_t sum(int top, int left, int cell, int dy, int dx) const {
        std::uint32_t total = 0;
        for (int y = top; y < top + cell; ++y)
            for (int x = left; x < left + cell; ++x)
                total += static_cast<std::uint32_t>(
                    std::abs(int{current[static_cast<std::size_t>(y * width + x)]} - half(2 * y + dy, 2 * x + dx)));
        return total;
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const int cell = 8 << input.number<std::uint8_t>() % 3;
    const int rows = 1 + input.number<std::uint8_t>() % 4, columns = 1 + input.number<std::uint8_t>() % 4;
    const int reach = 1 + input.number<std::uint8_t>() % duoview::kMaxReach;
    const std::uint8_t mode = input.number<std::uint8_t>();
    const int dy = static_cast<std::int8_t>(input.number<std::uint8_t>());
    const int dx = static_cast<std::int8_t>(input.number<std::uint8_t>());
    std::vector<std::uint8_t> samples = input.rest();
    if (samples.empty()) samples.push_back(0);
    Planes planes(rows * cell, columns * cell);
    for (std::size_t i = 0; i < planes.previous.size(); ++i) planes.previous[i] = samples[i % samples.size()];
    for (std::size_t i = 0; i < planes.current.size(); ++i) {
        const int y = static_cast<int>(i) / planes.width, x = static_cast<int>(i) % planes.width;
        const std::uint8_t other = samples[samples.size() - 1 - i % samples.size()];
        const int moved = planes.before(y + dy, x + dx) + (mode & 2 ? other % 8 : 0);
        planes.current[i] = mode & 1 ? static_cast<std::uint8_t>(std::min(moved, 255)) : other;
    }

    const std::size_t cells = static_cast<std::size_t>(rows * columns);
    fuzz::Array<std::int8_t> vectors(2 * cells), again(2 * cells);
    fuzz::Array<std::uint32_t> sums(2 * cells), sums_again(2 * cells);
    const auto find = [&](std::size_t threads, std::int8_t* found, std::uint32_t* left) {
        duoview::block_motion({planes.previous.data(), planes.current.data(), static_cast<std::size_t>(planes.height),
                               static_cast<std::size_t>(planes.width), static_cast<std::size_t>(cell), reach, threads, found,
                               left});
    };
    find(1, vectors.data(), sums.data());
    find(2, again.data(), sums_again.data());
    fuzz::require(vectors == again && sums == sums_again, "two threads give what one gives");
    for (std::size_t i = 0; i < cells; ++i) {
        const int top = static_cast<int>(i) / columns * cell, left = static_cast<int>(i) % columns * cell;
        const int y = vectors[2 * i], x = vectors[2 * i + 1];
        fuzz::require(std::abs(y) <= 2 * reach && std::abs(x) <= 2 * reach, "a vector is within reach");
        fuzz::require(sums[2 * i] == planes.sum(top, left, cell, 0, 0), "the first sum is that at zero");
        fuzz::require(sums[2 * i + 1] == planes.sum(top, left, cell, y, x), "the second sum is that at the vector");
        const std::uint32_t gain = y == 0 && x == 0 ? 0 : static_cast<std::uint32_t>(cell * cell) / 2;
        fuzz::require(sums[2 * i + 1] + gain <= sums[2 * i], "a vector brings half a grey level a pixel");
    }
    return 0;
}
