// The resumable decoder: its state, and the loops that every instruction set shares.
//
// Only plain data crosses between the files of different instruction sets; nothing from the standard library is
// instantiated here (see host_device.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/rans.hpp"

namespace duoview {

enum class Fault : std::uint8_t { none, truncated, escape_range };

struct DecodeState {
    std::uint32_t x[kMaxLanes];
    std::uint32_t lanes;  // 1, 4 or 32
    std::uint32_t next;   // lane of the next coded symbol
    // Invariant: position <= end, and end - position is even (checked when the chunk is opened).
    const std::uint8_t* position;
    const std::uint8_t* end;
    Fault fault;
};

// Decodes `count` symbols of classes 1..191 into `symbols`; stops at a fault, which it leaves in the state.
// `lut` is RansTables::decode, `width` RansTables::width. Any other byte in `classes` (only another thread can put it there)
// gives some symbols, as damaged data does.
using DecodeFunction = void (*)(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width,
                                const std::uint8_t* classes, std::size_t count, std::int16_t* symbols);

void decode_scalar(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width, const std::uint8_t* classes,
                   std::size_t count, std::int16_t* symbols);
void decode_avx2(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width, const std::uint8_t* classes,
                 std::size_t count, std::int16_t* symbols);

DUOVIEW_HD std::uint32_t load_word(const std::uint8_t* p) { return std::uint32_t{p[0]} | std::uint32_t{p[1]} << 8; }

// Refills one state; false when it needs a word and none is left.
DUOVIEW_HD bool refill(std::uint32_t& x, const std::uint8_t*& position, const std::uint8_t* end) {
    if (x >= kLow) return true;
    if (position == end) return false;
    x = x << 16 | load_word(position);
    position += 2;
    return true;
}

// Reads what follows an escape symbol. The state is normalised before and, without a fault, after.
DUOVIEW_HD Fault decode_escape(std::uint32_t& x, const std::uint8_t*& position, const std::uint8_t* end,
                               std::uint32_t width, std::int16_t& symbol) {
    const std::uint32_t slot = x & (kProbabilityScale - 1u);
    const std::uint32_t length = escape_length_at(slot);
    x = escape_length_frequency(length) * (x >> kProbabilityBits) + slot - escape_length_start(length);
    if (!refill(x, position, end)) return Fault::truncated;
    std::uint32_t bits = 0;
    for (std::uint32_t got = 0; got <= length;) {  // length bits of magnitude and one of sign
        const std::uint32_t group = length + 1 - got < kEscapeGroup ? length + 1 - got : kEscapeGroup;
        bits |= top_bits(x, group) << got;
        x = pop_bits(x, group);
        if (!refill(x, position, end)) return Fault::truncated;
        got += group;
    }
    const std::int32_t magnitude = static_cast<std::int32_t>((1u << length | bits >> 1) + width);
    const std::int32_t value = (bits & 1u) ? -magnitude : magnitude;
    if (value < -32768 || value > 32767) return Fault::escape_range;
    symbol = static_cast<std::int16_t>(value);
    return Fault::none;
}

// One symbol, every read checked. Returns false at a fault.
DUOVIEW_HD bool decode_checked(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width,
                               std::uint32_t class_index, std::int16_t& symbol) {
    std::uint32_t& x = state.x[state.next];
    const DecodeEntry entry = lut[class_index * kProbabilityScale + (x & (kProbabilityScale - 1u))];
    x = pop_symbol(x, entry);
    if (!refill(x, state.position, state.end)) {
        state.fault = Fault::truncated;
        return false;
    }
    const std::int32_t value = entry_symbol(entry);
    if (value == kEscape) {
        state.fault = decode_escape(x, state.position, state.end, width[class_index], symbol);
        if (state.fault != Fault::none) return false;
    } else {
        symbol = static_cast<std::int16_t>(value);
    }
    state.next = state.next + 1 == state.lanes ? 0 : state.next + 1;
    return true;
}

// Checked decoding of a run; returns the number of symbols decoded (less than `count` only at a fault).
DUOVIEW_HD std::size_t decode_run(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width,
                                  const std::uint8_t* classes, std::size_t count, std::int16_t* symbols) {
    std::size_t i = 0;
    while (i < count && decode_checked(state, lut, width, classes[i], symbols[i])) ++i;
    return i;
}

}  // namespace duoview
