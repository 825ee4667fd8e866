// The encoder's second pass, shared by all instruction sets: symbols backwards, words written from the end backwards.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/rans.hpp"

namespace duoview {

struct EncodeJob {
    const EncodeEntry* entries;     // RansTables::encode
    const std::uint16_t* places;    // per coded symbol: its place in `entries`
    std::size_t count;              // coded symbols
    const std::uint32_t* escapes;   // what follows each escape, in coding order: n | bits << 8 (see rans.hpp)
    std::size_t escape_count;
    std::uint32_t lanes;
};

// Encodes the job from `states` (all kLow at the start); `end` is one past the last byte of a buffer that holds the worst
// case. Returns the first byte written.
using EncodeFunction = std::uint8_t* (*)(const EncodeJob& job, std::uint32_t* states, std::uint8_t* end);

std::uint8_t* encode_scalar(const EncodeJob& job, std::uint32_t* states, std::uint8_t* end);
std::uint8_t* encode_avx2(const EncodeJob& job, std::uint32_t* states, std::uint8_t* end);

DUOVIEW_HD std::uint32_t flush(std::uint32_t x, std::uint32_t frequency, std::uint8_t*& position) {
    if (!must_flush(x, frequency)) return x;
    position -= 2;
    position[0] = static_cast<std::uint8_t>(x);
    position[1] = static_cast<std::uint8_t>(x >> 8);
    return x >> 16;
}

// The parts of an escape in reverse order of decoding: high group, low group, length.
DUOVIEW_HD std::uint32_t push_escape(std::uint32_t x, std::uint32_t escape, std::uint8_t*& position) {
    const std::uint32_t length = escape & 0xFFu;
    const std::uint32_t bits = escape >> 8;
    const std::uint32_t total = length + 1;
    if (total > kEscapeGroup) {
        const std::uint32_t group = total - kEscapeGroup;
        x = push_bits(flush(x, 1u << (kProbabilityBits - group), position), bits >> kEscapeGroup, group);
    }
    const std::uint32_t group = total < kEscapeGroup ? total : kEscapeGroup;
    x = push_bits(flush(x, 1u << (kProbabilityBits - group), position), bits & ((1u << group) - 1u), group);
    const std::uint32_t frequency = escape_length_frequency(length);
    x = flush(x, frequency, position);
    return x / frequency * kProbabilityScale + escape_length_start(length) + x % frequency;
}

template <std::uint32_t Lanes>
static std::uint8_t* encode_lanes(const EncodeJob& job, std::uint32_t* states, std::uint8_t* position) {
    std::uint32_t x[Lanes];
    for (std::uint32_t lane = 0; lane < Lanes; ++lane) x[lane] = states[lane];
    const std::uint32_t* escape = job.escapes + job.escape_count;
    const auto encode_one = [&](std::size_t i, std::uint32_t lane) {
        const EncodeEntry& entry = job.entries[job.places[i]];
        if (__builtin_expect(entry.escape != 0, 0)) x[lane] = push_escape(x[lane], *--escape, position);
        // Branch-free flush: the bytes below the position are free, a word that is not kept is overwritten later.
        const std::uint32_t keep = must_flush(x[lane], entry.frequency) ? 1u : 0u;
        position[-2] = static_cast<std::uint8_t>(x[lane]);
        position[-1] = static_cast<std::uint8_t>(x[lane] >> 8);
        position -= 2 * keep;
        x[lane] = push_symbol(keep ? x[lane] >> 16 : x[lane], entry);
    };
    std::size_t i = job.count;
    for (std::uint32_t lane = static_cast<std::uint32_t>(i % Lanes); lane-- > 0;) encode_one(--i, lane);
    while (i > 0)
        for (std::uint32_t lane = Lanes; lane-- > 0;) encode_one(--i, lane);
    for (std::uint32_t lane = 0; lane < Lanes; ++lane) states[lane] = x[lane];
    return position;
}

static inline std::uint8_t* encode_symbols(const EncodeJob& job, std::uint32_t* states, std::uint8_t* end) {
    switch (job.lanes) {
        case 1: return encode_lanes<1>(job, states, end);
        case 4: return encode_lanes<4>(job, states, end);
        default: return encode_lanes<kMaxLanes>(job, states, end);
    }
}

}  // namespace duoview
