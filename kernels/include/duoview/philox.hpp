// Philox4x32-10: four random words from a 128-bit counter and a 64-bit key, no state.
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr std::uint32_t kPhiloxMultiplier0 = 0xD2511F53u;
static constexpr std::uint32_t kPhiloxMultiplier1 = 0xCD9E8D57u;
static constexpr std::uint32_t kPhiloxWeyl0 = 0x9E3779B9u;  // golden ratio
static constexpr std::uint32_t kPhiloxWeyl1 = 0xBB67AE85u;  // sqrt(3) - 1
static constexpr int kPhiloxRounds = 10;

struct PhiloxBlock {
    std::uint32_t word[4];
};

DUOVIEW_HD PhiloxBlock philox(PhiloxBlock counter, std::uint32_t key0, std::uint32_t key1) {
    std::uint32_t* const c = counter.word;
    for (int round = 0; round < kPhiloxRounds; ++round) {
        const std::uint64_t product0 = std::uint64_t{kPhiloxMultiplier0} * c[0];
        const std::uint64_t product1 = std::uint64_t{kPhiloxMultiplier1} * c[2];
        c[0] = static_cast<std::uint32_t>(product1 >> 32) ^ c[1] ^ key0;
        c[1] = static_cast<std::uint32_t>(product1);
        c[2] = static_cast<std::uint32_t>(product0 >> 32) ^ c[3] ^ key1;
        c[3] = static_cast<std::uint32_t>(product0);
        key0 += kPhiloxWeyl0;
        key1 += kPhiloxWeyl1;
    }
    return counter;
}

// Our use of the 128 bits: element i of a stream is word i % 4 of the block whose counter is (i / 4, stream), each 64 bits,
// low word first; the key is the seed.
DUOVIEW_HD PhiloxBlock philox_at(std::uint64_t seed, std::uint64_t stream, std::uint64_t block) {
    const PhiloxBlock counter{{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                               static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}};
    return philox(counter, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
}

}  // namespace duoview
