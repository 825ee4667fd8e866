// The tables of all classes, expanded once from the committed integer frequencies (gaussian_table.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "duoview/rans.hpp"

namespace duoview {

// Encode entries stand at class * 256 + symbol + 128.
static constexpr std::size_t kEncodeStride = 256;
static constexpr std::int32_t kEncodeOffset = 128;
// Rows of all tables: one for every byte, class or not, so that no class read from memory can lead outside of them.
static constexpr std::size_t kTableRows = 256;

// What the encoding loops read. Plain pointers: they cross between the files of different instruction sets.
struct EncodeTables {
    const EncodeEntry* symbols;       // [class][symbol + 128]; frequency 0 where the class does not have the symbol
    const EncodeEntry* escapes;       // [class]; frequency 0 where there is no escape
    const std::uint64_t* reciprocals; // [frequency]
    const std::uint8_t* width;        // [class]
};

struct RansTables {
    RansTables();

    EncodeTables encoding() const { return {encode.data(), escape, reciprocal, width}; }

    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };

    // kTableRows * 4096 entries, [class][slot]; from the system as zeros, and never touched where there is no class.
    std::unique_ptr<DecodeEntry[], Free> decode;
    std::vector<EncodeEntry> encode;
    EncodeEntry escape[kTableRows];
    std::uint64_t reciprocal[kProbabilityScale];
    std::uint16_t length[kProbabilityScale];  // code length of a symbol of that frequency, in 1/256 bit
    std::uint8_t width[kTableRows];           // largest magnitude without escape, of Gaussian classes
};

// Built at the first use, constant afterwards.
const RansTables& rans_tables();

// Frequencies of one class in coding order: -width..width and escape, or 0 and 1 for Bernoulli classes. Empty for class 0.
std::vector<std::uint16_t> class_frequencies(std::uint32_t class_index);

}  // namespace duoview
