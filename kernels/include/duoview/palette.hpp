// One step down the palette tree: the child of a node, drawn with the probability that a binary class stands for.
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr std::uint32_t kFirstChildClass = 64;  // of rANS's 128 binary classes
static constexpr std::uint32_t kLastChildClass = 191;
static constexpr std::uint32_t kLastParent = 127;  // its children are 254 and 255

// Position p of a stream takes half-word p: of word p / 2 the low half where p is even.
DUOVIEW_HD std::uint32_t half_word(std::uint32_t word, std::uint32_t odd) { return odd ? word >> 16 : word & 0xFFFFu; }

// 1 with probability (32 (c - 64) + 16) / 4096, as the coder's frequency of symbol 1 in class c; the top 12 bits decide.
DUOVIEW_HD std::uint32_t child_bit(std::uint32_t half, std::uint32_t child_class) {
    return (half >> 4) < 32u * (child_class - kFirstChildClass) + 16u ? 1u : 0u;
}

DUOVIEW_HD std::uint8_t child_of(std::uint32_t node, std::uint32_t child_class, std::uint32_t half) {
    return static_cast<std::uint8_t>(2u * node + child_bit(half, child_class));
}

}  // namespace duoview
