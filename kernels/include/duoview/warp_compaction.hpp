// Leaving out what is not coded, by warps: classes other than 0 are packed, decoded symbols are spread again.
//
// An array is cut into tiles of 1024 elements, one warp each; 1024 tiles make a block of tiles. Each warp counts its tile,
// the counts are summed (SumTiles, then whoever begins the coding sums the blocks), and each warp then knows where its
// coded elements go. No count ever goes to the host.
#pragma once

#include <cstdint>

#include "duoview/rans.hpp"
#include "duoview/warp.hpp"

namespace duoview {

static constexpr std::uint64_t kTile = 1024;          // elements of a tile
static constexpr std::uint64_t kTilesPerBlock = 1024; // tiles whose counts one warp sums

DUOVIEW_HD std::uint64_t tiles_of(std::uint64_t count) { return (count + kTile - 1) / kTile; }

// Calls body(lane, index) for every element of a tile, 32 at a time, and then row(), for the whole warp.
template <typename Body, typename Row>
DUOVIEW_WARP void each_row(const Warp& warp, std::uint64_t tile, std::uint64_t count, Body&& body, Row&& row) {
    const std::uint64_t begin = tile * kTile;
    const std::uint64_t end = begin + kTile < count ? begin + kTile : count;
    for (std::uint64_t i = begin; i < end; i += kWarpLanes) {
        warp.each([&](std::uint32_t lane) { body(lane, i + lane, i + lane < end); });
        row();
    }
}

// Counts the coded classes of a tile; a class that is none is reported and counts as 0.
struct CountClasses {
    const std::uint8_t* classes;
    std::uint64_t count;
    std::uint64_t* tiles;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        PerLane<bool> coded;
        std::uint64_t sum = 0;
        each_row(
            warp, item, count,
            [&](std::uint32_t lane, std::uint64_t i, bool inside) {
                const std::uint32_t k = inside ? classes[i] : 0u;
                if (k >= kClasses) warp.atomic_min(error, error_word(DeviceFault::class_range, i));
                coded[lane] = k != 0 && k < kClasses;
            },
            [&] { sum += popcount(warp.ballot(coded)); });
        warp.each([&](std::uint32_t lane) { if (lane == 0) tiles[item] = sum; });
    }
};

// True when the pair can be coded; says in `fault` why not. Class 0 with symbol 0 is right, but not coded.
DUOVIEW_HD bool codable(std::int32_t symbol, std::uint32_t k, DeviceFault& fault) {
    if (k >= kClasses) fault = DeviceFault::class_range;
    else if (k == 0 && symbol != 0) fault = DeviceFault::zero_symbol;
    else if (k >= kGaussianClasses && (symbol < 0 || symbol > 1)) fault = DeviceFault::binary_symbol;
    else return true;
    return false;
}

// Counts the coded elements of a tile before encoding; what cannot be coded is reported and left out.
struct CountSymbols {
    const std::int16_t* symbols;
    const std::uint8_t* classes;
    std::uint64_t count;
    std::uint64_t* tiles;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        PerLane<bool> coded;
        std::uint64_t sum = 0;
        each_row(
            warp, item, count,
            [&](std::uint32_t lane, std::uint64_t i, bool inside) {
                const std::uint32_t k = inside ? classes[i] : 0u;
                const std::int32_t symbol = inside ? symbols[i] : 0;
                DeviceFault fault{};
                const bool good = codable(symbol, k, fault);
                if (!good) warp.atomic_min(error, error_word(fault, i));
                coded[lane] = good && k != 0;
            },
            [&] { sum += popcount(warp.ballot(coded)); });
        warp.each([&](std::uint32_t lane) { if (lane == 0) tiles[item] = sum; });
    }
};

// Replaces `values` by the sums of those before them; returns the sum of all. One warp.
DUOVIEW_WARP std::uint64_t exclusive_sums(const Warp& warp, std::uint64_t* values, std::uint64_t count) {
    std::uint64_t sum = 0;
    PerLane<std::uint64_t> value;
    for (std::uint64_t i = 0; i < count; i += kWarpLanes) {
        warp.each([&](std::uint32_t lane) { value[lane] = i + lane < count ? values[i + lane] : 0; });
        const std::uint64_t row = warp.exclusive_sum(value);
        warp.each([&](std::uint32_t lane) { if (i + lane < count) values[i + lane] = sum + value[lane]; });
        sum += row;
    }
    return sum;
}

// Replaces the counts of a block's tiles by the sums before them in the block, and writes the block's own count.
struct SumTiles {
    std::uint64_t* tiles;
    std::uint64_t tile_count;
    std::uint64_t* blocks;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t begin = item * kTilesPerBlock;
        const std::uint64_t left = tile_count - begin;
        const std::uint64_t sum = exclusive_sums(warp, tiles + begin, left < kTilesPerBlock ? left : kTilesPerBlock);
        warp.each([&](std::uint32_t lane) { if (lane == 0) blocks[item] = sum; });
    }
};

// Writes the coded classes of a tile one after another.
struct PackClasses {
    const std::uint8_t* classes;
    std::uint64_t count;
    const std::uint64_t* tiles;
    const std::uint64_t* blocks;
    std::uint8_t* packed;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        PerLane<bool> coded;
        PerLane<std::uint8_t> class_index;
        std::uint64_t at = blocks[item / kTilesPerBlock] + tiles[item];
        each_row(
            warp, item, count,
            [&](std::uint32_t lane, std::uint64_t i, bool inside) {
                const std::uint32_t k = inside ? classes[i] : 0u;
                class_index[lane] = static_cast<std::uint8_t>(k);
                coded[lane] = k != 0 && k < kClasses;
            },
            [&] {
                const std::uint32_t mask = warp.ballot(coded);
                warp.each([&](std::uint32_t lane) {
                    if (coded[lane]) packed[at + popcount(mask & lanes_below(lane))] = class_index[lane];
                });
                at += popcount(mask);
            });
    }
};

// Puts decoded symbols where their classes stand, zeros elsewhere. After a bad class nothing was decoded: zeros everywhere.
struct SpreadSymbols {
    const std::uint8_t* classes;
    std::uint64_t count;
    const std::uint64_t* tiles;
    const std::uint64_t* blocks;
    const std::int16_t* packed;
    const std::uint64_t* decoded;  // symbols of this call: StreamHead::coded
    std::int16_t* symbols;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        PerLane<bool> coded;
        const std::uint64_t begin = item * kTile;
        const std::uint64_t there = *decoded;
        std::uint64_t at = blocks[item / kTilesPerBlock] + tiles[item];
        std::uint64_t row = begin;
        each_row(
            warp, item, count,
            [&](std::uint32_t lane, std::uint64_t i, bool inside) {
                const std::uint32_t k = inside ? classes[i] : 0u;
                coded[lane] = k != 0 && k < kClasses;
            },
            [&] {
                const std::uint32_t mask = warp.ballot(coded);
                warp.each([&](std::uint32_t lane) {
                    const std::uint64_t rank = at + popcount(mask & lanes_below(lane));
                    if (row + lane < count) symbols[row + lane] = coded[lane] && rank < there ? packed[rank] : std::int16_t{0};
                });
                at += popcount(mask);
                row += kWarpLanes;
            });
    }
};

// Fills a buffer before it is counted in.
struct FillWords {
    std::uint64_t* words;
    std::uint64_t count;
    std::uint64_t value;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t begin = item * kTile;
        for (std::uint64_t i = begin; i < begin + kTile && i < count; i += kWarpLanes)
            warp.each([&](std::uint32_t lane) { if (i + lane < count) words[i + lane] = value; });
    }
};

}  // namespace duoview
