// The encoder: symbols backwards, words written from the end of a buffer backwards. Its state, and what every instruction
// set shares.
//
// Only plain data crosses between the files of different instruction sets; nothing from the standard library is
// instantiated here (see host_device.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/rans.hpp"
#include "rans_tables.hpp"

namespace duoview {

struct EncodeState {
    std::uint32_t x[kMaxLanes];  // all kLow at the start
    std::uint32_t lanes;         // 1, 4 or 32
    std::size_t left;            // symbols 0 .. left - 1 are still to be coded
    // Invariant: begin <= position; the coded words stand from position on.
    std::uint8_t* begin;
    std::uint8_t* position;
    bool uncodable;  // symbol left - 1 is none of its class
};

// Symbols between two looks at the free bytes; a multiple of every lane count.
static constexpr std::size_t kEncodeBlock = 64;
static constexpr std::size_t kBytesPerSymbol = 2;  // at most, without an escape
static constexpr std::size_t kBytesPerEscape = 2 * kMaxWordsPerSymbol;

// Free bytes with which coding goes on: what all that is left takes without an escape, one block of nothing but escapes, and
// a vector that is stored whole though only some of it is kept.
DUOVIEW_HD std::size_t encode_room(std::size_t left) {
    return kBytesPerSymbol * left + kBytesPerEscape * kEncodeBlock + 32;
}

// Encodes until nothing is left, a symbol is uncodable, or fewer than encode_room(left) bytes are free (then the caller
// provides a larger buffer and calls again).
using EncodeFunction = void (*)(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols,
                                const std::uint8_t* classes);

void encode_scalar(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols, const std::uint8_t* classes);
void encode_avx2(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols, const std::uint8_t* classes);

DUOVIEW_HD bool has_room(const EncodeState& state) {
    return static_cast<std::size_t>(state.position - state.begin) >= encode_room(state.left);
}

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

// One symbol of any int16 value and any byte as its class; false where the class cannot code it (nothing is written then).
DUOVIEW_HD bool encode_symbol(std::uint32_t& x, std::uint8_t*& position, const EncodeTables& tables, std::int32_t symbol,
                              std::uint32_t k) {
    const std::uint32_t place = static_cast<std::uint32_t>(symbol + kEncodeOffset);
    EncodeEntry entry = place < kEncodeStride ? tables.symbols[k * kEncodeStride + place] : 0;
    if (__builtin_expect(entry_frequency(entry) == 0, 0)) {
        entry = tables.escapes[k];
        if (entry_frequency(entry) == 0) return false;
        x = push_escape(x, escape_code(symbol, tables.width[k]), position);
    }
    // Branch-free flush: the bytes below the position are free, a word that is not kept is overwritten later.
    const std::uint32_t frequency = entry_frequency(entry);
    const std::uint32_t keep = must_flush(x, frequency) ? 1u : 0u;
    position[-2] = static_cast<std::uint8_t>(x);
    position[-1] = static_cast<std::uint8_t>(x >> 8);
    position -= 2 * keep;
    x = push_symbol(keep ? x >> 16 : x, entry, tables.reciprocals[frequency]);
    return true;
}

// The last `count` of the symbols that are left, at most kEncodeBlock, given encode_room() at the start. False at an
// uncodable one.
DUOVIEW_HD bool encode_run(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols,
                           const std::uint8_t* classes, std::size_t count) {
    for (; count > 0; --count) {
        const std::size_t i = state.left - 1;
        if (!encode_symbol(state.x[i % state.lanes], state.position, tables, symbols[i], classes[i])) {
            state.uncodable = true;
            return false;
        }
        state.left = i;
    }
    return true;
}

}  // namespace duoview
