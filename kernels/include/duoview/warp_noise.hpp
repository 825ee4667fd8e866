// Counter-based noise by warps: the same bits as the CPU's.
#pragma once

#include <cstdint>

#include "duoview/normal.hpp"
#include "duoview/philox.hpp"
#include "duoview/warp.hpp"

namespace duoview {

static constexpr std::uint64_t kNoiseBlocks = 512;  // blocks of four elements that one warp makes

struct NormalTable {
    std::int32_t quantiles[4097];
};

DUOVIEW_HD void put_noise(std::uint32_t word, std::uint32_t* out, const NormalTable*) { *out = word; }
DUOVIEW_HD void put_noise(std::uint32_t word, float* out, const NormalTable* table) {
    *out = normal_from_bits(word, table->quantiles);
}

// Elements offset .. offset + count - 1 of a stream, from the block that holds the first one on.
template <typename T>
struct Noise {
    T* out;
    std::uint64_t count;
    std::uint64_t seed;
    std::uint64_t stream;
    std::uint64_t offset;
    const NormalTable* tables;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t skipped = offset % 4;  // elements of the first block before the first one
        for (std::uint64_t row = 0; row < kNoiseBlocks; row += kWarpLanes) {
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t block = item * kNoiseBlocks + row + lane;
                if (block * 4 >= count + skipped) return;
                const PhiloxBlock random = philox_at(seed, stream, offset / 4 + block);
                if (skipped == 0 && block * 4 + 4 <= count) {  // four stores that the compiler may join
                    T four[4];
                    for (std::uint32_t i = 0; i < 4; ++i) put_noise(random.word[i], four + i, tables);
                    for (std::uint32_t i = 0; i < 4; ++i) out[block * 4 + i] = four[i];
                    return;
                }
                for (std::uint32_t i = 0; i < 4; ++i) {
                    const std::uint64_t element = block * 4 + i;
                    if (element >= skipped && element - skipped < count)
                        put_noise(random.word[i], out + (element - skipped), tables);
                }
            });
        }
    }
};

using PhiloxNoise = Noise<std::uint32_t>;
using NormalNoise = Noise<float>;

}  // namespace duoview
