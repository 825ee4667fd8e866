// The tables of all classes in a form that fits a block's shared memory, for rANS by warps.
//
// The CPU looks a slot up in 4096 entries per class (3 MB in all); here a class has its cumulative starts and, for every
// eighth slot, the symbol that holds it, from which the right one is at most a few steps away. Binary classes need no table.
#pragma once

#include <cstdint>

#include "duoview/gaussian_table.hpp"
#include "duoview/rans.hpp"

namespace duoview {

static constexpr std::uint32_t kCoarseBits = 3;                                         // slots per coarse entry: 8
static constexpr std::uint32_t kCoarseEntries = kProbabilityScale >> kCoarseBits;       // per class
// Of classes 1..63: 2 width + 1 symbols and the escape each, and of each class width + 1 frequencies are kept.
static constexpr std::uint32_t kGaussianSymbols = 2 * sizeof(kGaussianHalf) / sizeof(kGaussianHalf[0]);
static constexpr std::uint32_t kWarpStarts = kGaussianSymbols + kGaussianClasses;       // and 4096 behind each class
static constexpr std::uint32_t kWarpEntries = kGaussianSymbols + 2 * kBernoulliClasses;

// Starts of class k stand from base[k] on, in coding order (-width..width, escape, end).
struct WarpDecodeTables {
    std::uint16_t starts[kWarpStarts];
    std::uint16_t base[kGaussianClasses];
    std::uint8_t width[kGaussianClasses];
    std::uint8_t coarse[kGaussianClasses * kCoarseEntries];
};

// Entries of class k stand from base[k] on, in coding order; `reciprocal` is that of the entry's frequency.
struct WarpEncodeTables {
    std::uint64_t reciprocal[kWarpEntries];
    EncodeEntry range[kWarpEntries];
    std::uint16_t base[kClasses];
    std::uint8_t width[kClasses];  // 0 for binary classes
};

// A block may have 48 KiB of shared memory without asking, on every device.
static_assert(sizeof(WarpDecodeTables) <= 48 * 1024 && sizeof(WarpDecodeTables) % 4 == 0, "fits shared memory");
static_assert(sizeof(WarpEncodeTables) <= 48 * 1024 && sizeof(WarpEncodeTables) % 4 == 0, "fits shared memory");

struct SlotRange {
    std::uint32_t start;
    std::uint32_t frequency;
    std::int32_t symbol;  // kEscape for the escape
};

// The symbol of class k (1..191) that holds `slot` (0..4095).
DUOVIEW_HD SlotRange find_slot(const WarpDecodeTables& tables, std::uint32_t k, std::uint32_t slot) {
    if (k >= kGaussianClasses) {
        const std::uint32_t one = 32 * (k - kGaussianClasses) + 16;
        const std::uint32_t zero = kProbabilityScale - one;
        return slot < zero ? SlotRange{0, zero, 0} : SlotRange{zero, one, 1};
    }
    std::uint32_t index = tables.coarse[k * kCoarseEntries + (slot >> kCoarseBits)];
    const std::uint16_t* const starts = tables.starts + tables.base[k];
    std::uint32_t start = starts[index];
    std::uint32_t end = starts[index + 1];
    while (slot >= end) {  // ends at the class's last entry, which is 4096
        ++index;
        start = end;
        end = starts[index + 1];
    }
    const std::int32_t width = tables.width[k];
    const std::int32_t symbol = static_cast<std::int32_t>(index) - width;
    return {start, end - start, symbol > width ? kEscape : symbol};
}

}  // namespace duoview
