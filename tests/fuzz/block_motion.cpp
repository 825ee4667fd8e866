// The motion search on any pair of planes: any number of threads gives the same, and of cells of 16 samples a GPU's warps, lane by
// lane; the sums are those of the definition at the vectors reported, sample by sample; no vector is beyond reach, none that is
// not zero brings less than it has to.
//
// Input: cell (1 byte: 8, 16 or 32), rows, columns of cells (1 each, of 1..4), reach (1: 1..32), mode (1: bit 0 makes the
// current plane of the previous one, bit 1 adds noise to it, bit 2 makes the reach 32), dy, dx (1 each: its shift in whole
// pixels), then samples, which are repeated.
#include "block_motion.hpp"

#include <algorithm>
#include <cstdlib>

#include "input.hpp"
#include "warp_run.hpp"

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

// The plane, word by word.
std::vector<std::uint32_t> words_of(const fuzz::Array<std::uint8_t>& plane) {
    std::vector<std::uint32_t> words(plane.size() / 4);
    std::memcpy(words.data(), plane.data(), plane.size());
    return words;
}

// What kernels/cuda_motion.py launches.
void find_by_warps(const Planes& planes, std::int8_t* vectors, std::uint32_t* sums) {
    using namespace duoview;
    const auto height = static_cast<std::uint64_t>(planes.height), width = static_cast<std::uint64_t>(planes.width);
    const std::uint64_t rows = height / kMotionCell, columns = width / kMotionCell, cells = rows * columns;
    const std::vector<std::uint32_t> previous = words_of(planes.previous), current = words_of(planes.current);
    fuzz::Array<std::uint32_t> extended((height + 2 * kExtension) * (width + 2 * kExtension) / 4);
    const std::uint64_t shrunk = (height / 4 + 2 * kShrunkExtension) * (width / 4 + 2 * kShrunkExtension) / 4;
    fuzz::Array<std::uint32_t> shrunk_previous(shrunk), shrunk_current(shrunk);
    fuzz::Array<std::uint64_t> minima(cells);
    fuzz::Array<std::uint16_t> offers(cells * kOffers);
    fuzz::run(ZeroDifferences{previous.data(), current.data(), vectors, sums, columns}, cells);
    fuzz::run(ExtendPlane{previous.data(), extended.data(), height, width}, tiles_of(extended.size()));
    fuzz::run(ShrinkPlane{previous.data(), shrunk_previous.data(), height, width}, tiles_of(shrunk));
    fuzz::run(ShrinkPlane{current.data(), shrunk_current.data(), height, width}, tiles_of(shrunk));
    fuzz::run(SearchCells{current.data(), extended.data(), shrunk_current.data(), shrunk_previous.data(), sums, minima.data(),
                          offers.data(), columns}, cells);
    fuzz::run(BandMotion{current.data(), extended.data(), minima.data(), offers.data(), vectors, sums, rows, columns},
              (rows + kBandRows - 1) / kBandRows);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const int cell = 8 << input.number<std::uint8_t>() % 3;
    const int rows = 1 + input.number<std::uint8_t>() % 4, columns = 1 + input.number<std::uint8_t>() % 4;
    const int wanted = 1 + input.number<std::uint8_t>() % duoview::kMaxReach;
    const std::uint8_t mode = input.number<std::uint8_t>();
    const int reach = mode & 4 ? duoview::kMaxReach : wanted;
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
    if (cell == 16 && reach == duoview::kMaxReach) {
        find_by_warps(planes, again.data(), sums_again.data());
        fuzz::require(vectors == again && sums == sums_again, "warps give what threads give");
    }
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
