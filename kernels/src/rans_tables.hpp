// The tables of all classes, expanded once from the committed integer frequencies (gaussian_table.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "duoview/rans.hpp"

namespace duoview {

// Encode entries stand at class * 256 + symbol + 128, the escape of a class at its first place (symbol -128).
// Bernoulli classes use the same places for their symbols 0 and 1.
static constexpr std::size_t kEncodeStride = 256;
static constexpr std::int32_t kEncodeOffset = 128;

// The symbols of a class that are coded without an escape: least .. least + count - 1. Class 0 has its 0; a byte that is no
// class has none.
struct Alphabet {
    std::int16_t least;
    std::uint16_t count;
};

struct RansTables {
    RansTables();

    // kClasses * 4096 entries: [class][slot].
    std::vector<DecodeEntry> decode;
    // kClasses * 256 entries.
    std::vector<EncodeEntry> encode;
    // Largest magnitude without escape, per class; 1 for Bernoulli classes (whose only symbols are 0 and 1).
    std::uint8_t width[kClasses];
    // For every byte, class or not.
    Alphabet alphabet[256];
};

// Built at the first use, constant afterwards.
const RansTables& rans_tables();

// Frequencies of one class in coding order: -width..width and escape, or 0 and 1 for Bernoulli classes. Empty for class 0.
std::vector<std::uint16_t> class_frequencies(std::uint32_t class_index);

}  // namespace duoview
