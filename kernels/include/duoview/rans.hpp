// rANS per-element arithmetic: 32-bit states, 16-bit words, 12-bit probabilities. No loops over elements, no memory.
//
// Duda, "Asymmetric numeral systems" (arXiv 1311.2540); interleaving after Giesen (arXiv 1402.3392).
// A state x is kept in [kLow, 2^32) between symbols. Encoding a symbol of frequency f and cumulative start s maps
//     x -> (x / f) * 4096 + s + x % f        after a word was moved out while x >= f * 2^20,
// decoding inverts it. Encoding runs backwards over the symbols, so that decoding runs forwards.
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr std::uint32_t kProbabilityBits = 12;
static constexpr std::uint32_t kProbabilityScale = 1u << kProbabilityBits;
static constexpr std::uint32_t kLow = 1u << 16;  // the smallest normalised state, and the one the encoder starts from
static constexpr std::uint32_t kMaxLanes = 32;

static constexpr std::uint32_t kGaussianClasses = 64;    // 0..63; 0 codes nothing
static constexpr std::uint32_t kBernoulliClasses = 128;  // 64..191
static constexpr std::uint32_t kClasses = kGaussianClasses + kBernoulliClasses;

// Symbol value that marks the escape in a decode entry; outside of every alphabet (-127..127).
static constexpr std::int32_t kEscape = -128;
// Words one symbol can take at most: itself, the escape's magnitude class, two groups of its bits.
static constexpr std::uint32_t kMaxWordsPerSymbol = 4;

// What encoding one symbol of one class needs: frequency in bits 0..11 (1..4095, or 0 where the class has no such symbol),
// start in bits 12..23.
using EncodeEntry = std::uint32_t;

DUOVIEW_HD EncodeEntry pack_encode_entry(std::uint32_t start, std::uint32_t frequency) { return frequency | start << 12; }

DUOVIEW_HD std::uint32_t entry_frequency(EncodeEntry entry) { return entry & 0xFFFu; }

DUOVIEW_HD std::uint32_t entry_start(EncodeEntry entry) { return entry >> 12; }

// floor(2^44 / frequency) + 1: the quotient x / frequency is exactly (x * reciprocal) >> 44 for x < frequency * 2^20, because
// the error x * (reciprocal * frequency - 2^44) is then below 2^44 (frequency < 2^12), and the product stays below 2^64.
DUOVIEW_HD std::uint64_t reciprocal_of(std::uint32_t frequency) { return (std::uint64_t{1} << 44) / frequency + 1; }

// Packed for one 32-bit load: frequency in bits 0..11, slot - start in 12..23, symbol (signed) in 24..31.
using DecodeEntry = std::uint32_t;

DUOVIEW_HD DecodeEntry pack_decode_entry(std::uint32_t frequency, std::uint32_t bias, std::int32_t symbol) {
    return frequency | bias << 12 | static_cast<std::uint32_t>(symbol) << 24;
}

DUOVIEW_HD std::int32_t entry_symbol(DecodeEntry entry) { return static_cast<std::int32_t>(entry) >> 24; }

// True when a word has to move out of `x` before a symbol of this frequency goes in. frequency <= 4095, so no overflow.
DUOVIEW_HD bool must_flush(std::uint32_t x, std::uint32_t frequency) { return x >= frequency << 20; }

// `reciprocal` is that of the entry's frequency; x < frequency * 2^20.
DUOVIEW_HD std::uint32_t push_symbol(std::uint32_t x, EncodeEntry entry, std::uint64_t reciprocal) {
    const std::uint32_t quotient = static_cast<std::uint32_t>((x * reciprocal) >> 44);
    return x + entry_start(entry) + quotient * (kProbabilityScale - entry_frequency(entry));
}

DUOVIEW_HD std::uint32_t pop_symbol(std::uint32_t x, DecodeEntry entry) {
    return (entry & 0xFFFu) * (x >> kProbabilityBits) + ((entry >> 12) & 0xFFFu);
}

// Raw bits (1 <= bits <= 8) through the same state: a uniform symbol of frequency 2^(12 - bits).
DUOVIEW_HD std::uint32_t push_bits(std::uint32_t x, std::uint32_t value, std::uint32_t bits) {
    const std::uint32_t keep = kProbabilityBits - bits;
    return (x >> keep) << kProbabilityBits | value << keep | (x & ((1u << keep) - 1u));
}

DUOVIEW_HD std::uint32_t top_bits(std::uint32_t x, std::uint32_t bits) {
    return (x & (kProbabilityScale - 1u)) >> (kProbabilityBits - bits);
}

DUOVIEW_HD std::uint32_t pop_bits(std::uint32_t x, std::uint32_t bits) {
    const std::uint32_t keep = kProbabilityBits - bits;
    return (x >> kProbabilityBits) << keep | (x & ((1u << keep) - 1u));
}

// Escapes. A symbol s with |s| > width is sent as the escape, then u = |s| - width (1..32768) as an Exp-Golomb-like code: its
// bit length minus one, n in 0..15, by the table below, then the n bits under its leading one with the sign below them, in
// groups of at most 8 bits, low group first. n has 16 values, so the length is capped by construction.
static constexpr std::uint32_t kEscapeLengths = 16;
static constexpr std::uint32_t kEscapeGroup = 8;

// What follows the escape of `symbol`, |symbol| > width: n in the low 8 bits, its n + 1 bits above.
DUOVIEW_HD std::uint32_t escape_code(std::int32_t symbol, std::uint32_t width) {
    const std::uint32_t excess = static_cast<std::uint32_t>(symbol < 0 ? -symbol : symbol) - width;
    std::uint32_t length = 0;
    while (length + 1 < kEscapeLengths && excess >> (length + 1)) ++length;
    return length | ((excess ^ (1u << length)) << 1 | (symbol < 0 ? 1u : 0u)) << 8;
}

// Halving frequencies, as a unary code has, each at least 1, sum 4096.
DUOVIEW_HD std::uint32_t escape_length_frequency(std::uint32_t n) {
    return n < 9 ? 2048u >> n : n == 9 ? 2u : 1u;
}

DUOVIEW_HD std::uint32_t escape_length_start(std::uint32_t n) {
    return n < 9 ? 4096u - (4096u >> n) : n == 9 ? 4088u : 4080u + n;
}

// The n whose interval holds `slot` (0..4095).
DUOVIEW_HD std::uint32_t escape_length_at(std::uint32_t slot) {
    std::uint32_t n = 0;
    while (n + 1 < kEscapeLengths && slot >= escape_length_start(n + 1)) ++n;
    return n;
}

}  // namespace duoview
