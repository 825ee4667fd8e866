#include "rans_chunk.hpp"

#include <cstring>

#include "rans_tables.hpp"

namespace duoview {
namespace {

constexpr std::uint8_t kFourLanes = 0xE1;
constexpr std::uint8_t kThirtyTwoLanes = 0xE2;
constexpr std::size_t kMostStateBytes = 1 + 4 * kMaxLanes;

void put_big_endian(std::uint8_t* p, std::uint64_t value, int bytes) {
    for (int i = bytes; i-- > 0; value >>= 8) p[i] = static_cast<std::uint8_t>(value);
}

std::uint64_t get_big_endian(const std::uint8_t* p, std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | p[i];
    return value;
}

// Writes the states in front of `position`; returns the first byte.
std::uint8_t* put_states(const std::uint32_t* x, std::uint32_t lanes, std::uint8_t* position) {
    if (lanes == 1) {
        const int bytes = x[0] < 1u << 23 ? 3 : x[0] < 1u << 30 ? 4 : 5;
        const std::uint64_t prefix = bytes == 3 ? 0 : bytes == 4 ? std::uint64_t{0x80} << 24 : std::uint64_t{0xC0} << 32;
        position -= bytes;
        put_big_endian(position, prefix | x[0], bytes);
        return position;
    }
    for (std::uint32_t lane = lanes; lane-- > 0;)
        for (int shift = 24; shift >= 0; shift -= 8) *--position = static_cast<std::uint8_t>(x[lane] >> shift);
    *--position = lanes == 4 ? kFourLanes : kThirtyTwoLanes;
    return position;
}

}  // namespace

EncodedChunk encode_chunk(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count, std::uint32_t lanes,
                          EncodeFunction encode) {
    const RansTables& tables = rans_tables();
    EncodedChunk out;
    // Pages that are never written are never taken: what counts is the coded size.
    std::size_t capacity = kMostStateBytes + encode_room(count);
    out.buffer.reset(new std::uint8_t[capacity]);
    EncodeState state{};
    for (std::uint32_t& x : state.x) x = kLow;
    state.lanes = lanes;
    state.left = count;
    state.begin = out.buffer.get() + kMostStateBytes;
    state.position = out.buffer.get() + capacity;
    for (;;) {
        encode(state, tables.encoding(), symbols, classes);
        if (state.uncodable)
            throw std::invalid_argument("symbols or classes were changed by another thread while they were encoded");
        if (state.left == 0) break;
        // Escapes took the room: a larger buffer, with what is written at its end.
        const std::size_t written = static_cast<std::size_t>(out.buffer.get() + capacity - state.position);
        const std::size_t larger = kMostStateBytes + written + 2 * encode_room(state.left);
        std::unique_ptr<std::uint8_t[]> buffer(new std::uint8_t[larger]);
        std::memcpy(buffer.get() + larger - written, state.position, written);
        out.buffer = std::move(buffer);
        capacity = larger;
        state.begin = out.buffer.get() + kMostStateBytes;
        state.position = out.buffer.get() + capacity - written;
    }
    out.data = put_states(state.x, lanes, state.position);
    out.size = static_cast<std::size_t>(out.buffer.get() + capacity - out.data);
    return out;
}

DecodeState open_chunk(const std::uint8_t* data, std::size_t size, const std::uint8_t* stream) {
    const std::size_t offset = static_cast<std::size_t>(data - stream);
    const auto need = [size, offset](std::size_t bytes) {
        if (size < bytes)
            throw BitstreamFault("entropy-coded data ends within its first " + std::to_string(bytes) + " bytes", offset + size);
    };
    need(1);
    DecodeState state{};
    state.end = data + size;
    const std::uint8_t first = data[0];
    std::size_t bytes;
    if (first < 0xE0) {
        state.lanes = 1;
        bytes = first < 0x80 ? 3 : first < 0xC0 ? 4 : 5;
        need(bytes);
        if (first > 0xC0) throw BitstreamFault("unknown first byte " + std::to_string(first) + " of entropy-coded data", offset);
        const std::uint64_t mask = bytes == 3 ? (1u << 23) - 1 : bytes == 4 ? (1u << 30) - 1 : 0xFFFFFFFFu;
        const std::uint64_t least = bytes == 3 ? kLow : bytes == 4 ? 1u << 23 : 1u << 30;
        const std::uint64_t value = get_big_endian(data, bytes) & mask;
        if (value < least) throw BitstreamFault("state " + std::to_string(value) + " is not in its shortest form", offset);
        state.x[0] = static_cast<std::uint32_t>(value);
    } else {
        if (first != kFourLanes && first != kThirtyTwoLanes)
            throw BitstreamFault("unknown first byte " + std::to_string(first) + " of entropy-coded data", offset);
        state.lanes = first == kFourLanes ? 4 : kMaxLanes;
        bytes = 1 + 4 * std::size_t{state.lanes};
        need(bytes);
        for (std::uint32_t lane = 0; lane < state.lanes; ++lane) {
            const std::uint8_t* p = data + 1 + 4 * lane;
            state.x[lane] = load_word(p) | load_word(p + 2) << 16;
            if (state.x[lane] < kLow)
                throw BitstreamFault("state of lane " + std::to_string(lane) + " is " + std::to_string(state.x[lane]) +
                                         "; states start at 65536", offset + 1 + 4 * std::size_t{lane});
        }
    }
    if ((size - bytes) % 2 != 0)
        throw BitstreamFault("entropy-coded data ends in the middle of a 16-bit word", offset + size);
    state.position = data + bytes;
    return state;
}

void check_end(const DecodeState& state, const std::uint8_t* stream) {
    const std::size_t offset = static_cast<std::size_t>(state.position - stream);
    const std::size_t over = static_cast<std::size_t>(state.end - state.position);
    if (over != 0) throw BitstreamFault(std::to_string(over) + " bytes of entropy-coded data are left over", offset);
    for (std::uint32_t lane = 0; lane < state.lanes; ++lane)
        if (state.x[lane] != kLow)
            throw BitstreamFault("entropy-coded data is damaged: lane " + std::to_string(lane) + " ends at state " +
                                     std::to_string(state.x[lane]) + " instead of 65536", offset);
}

}  // namespace duoview
