// rANS decoding with one warp per chunk (docs/bitstream.md has the format).
//
// All state lies in device memory, so that a call decodes the next classes without asking the host: OpenStream and OpenChunks
// read the headers, BeginDecode takes the number of coded classes of this call, DecodeChunks decodes what of them lies in each
// chunk, FinishStream checks that all was used up. Whatever the bytes are, nothing outside of the data is read.
#pragma once

#include <cstdint>

#include "duoview/warp.hpp"
#include "duoview/warp_compaction.hpp"
#include "duoview/warp_tables.hpp"
#include "rans_decoder.hpp"

namespace duoview {

struct StreamHead {
    std::uint64_t size;           // bytes of the data
    std::uint64_t chunk_symbols;  // N; 2^64 - 1 where there is one chunk
    std::uint64_t chunks;         // K; 0 for an empty stream and after a fault in the header
    std::uint64_t consumed;       // coded symbols of all calls before the present one
    std::uint64_t coded;          // of the present one
    std::uint64_t error;          // of header and classes; once set, nothing more is decoded
    std::uint64_t faulty_chunk;   // the first chunk with a fault in its states or symbols, kNoError without
    std::uint64_t unfinished;     // the first chunk that FinishStream found at fault, kNoError without
};

struct ChunkState {
    std::uint64_t begin;     // offsets in the data; begin <= position <= end, end - position even
    std::uint64_t position;
    std::uint64_t end;
    std::uint64_t fault;     // error word
    std::uint64_t lanes;     // 1, 4 or 32
    std::uint64_t next;      // lane of the next coded symbol
    std::uint32_t x[kMaxLanes];
};

static constexpr std::uint8_t kChunked = 0xE3;
static constexpr std::uint64_t kMostChunks = 65536;  // of a stream

struct Varint {
    std::uint64_t value;
    std::uint64_t end;  // offset behind it
    bool good;
};

// An unsigned LEB128 number below 2^32 in its shortest form; not good where the data ends before it does.
DUOVIEW_HD Varint read_varint(const std::uint8_t* data, std::uint64_t at, std::uint64_t size) {
    std::uint64_t value = 0;
    for (std::uint32_t i = 0; i < 5 && at + i < size; ++i) {
        const std::uint8_t byte = data[at + i];
        value |= static_cast<std::uint64_t>(byte & 0x7Fu) << (7 * i);
        if (byte < 0x80) return {value, at + i + 1, value >> 32 == 0 && (byte != 0 || i == 0)};
    }
    return {value, size, false};
}

// Reads where the chunks are. One warp.
struct OpenStream {
    const std::uint8_t* data;
    std::uint64_t size;
    const std::uint64_t* device_size;  // where not null, the size stands there, at most `size`
    StreamHead* head;
    ChunkState* chunks;
    std::uint64_t capacity;  // of `chunks`

    DUOVIEW_WARP_MEMBER void write(const Warp& warp, std::uint64_t bytes, std::uint64_t symbols, std::uint64_t count,
                                   std::uint64_t error) const {
        warp.each([&](std::uint32_t lane) {
            if (lane == 0) *head = {bytes, symbols, error == kNoError ? count : 0, 0, 0, error, kNoError, kNoError};
        });
    }

    // The numbers of bytes of all chunks into their `end`; returns the offset behind them, or an error.
    DUOVIEW_WARP_MEMBER std::uint64_t read_lengths(const Warp& warp, std::uint64_t at, std::uint64_t bytes, std::uint64_t count,
                                                   std::uint64_t& error) const {
        for (std::uint64_t c = 0; c < count;) {
            PerLane<bool> last;
            warp.each([&](std::uint32_t lane) { last[lane] = at + lane < bytes && data[at + lane] < 0x80; });
            std::uint32_t mask = warp.ballot(last);
            while (popcount(mask) > count - c) mask ^= 1u << highest_lane(mask);
            if (mask == 0) {
                error = bytes - at < 5 ? error_word(DeviceFault::header_end, bytes) : error_word(DeviceFault::header_count, at);
                return at;
            }
            PerLane<bool> bad;
            warp.each([&](std::uint32_t lane) {
                bad[lane] = false;
                if (!(mask >> lane & 1u)) return;
                const std::uint32_t below = mask & lanes_below(lane);
                const Varint length = read_varint(data, at + (below ? highest_lane(below) + 1 : 0), at + lane + 1);
                bad[lane] = !length.good;
                chunks[c + popcount(below)].end = length.value;
            });
            const std::uint32_t wrong = warp.ballot(bad);
            if (wrong) {
                const std::uint32_t below = mask & lanes_below(lowest_lane(wrong));
                error = error_word(DeviceFault::header_count, at + (below ? highest_lane(below) + 1 : 0));
                return at;
            }
            at += highest_lane(mask) + 1;
            c += popcount(mask);
        }
        return at;
    }

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t) const {
        std::uint64_t bytes = size;
        if (device_size != nullptr && *device_size < bytes) bytes = *device_size;
        if (bytes == 0) return write(warp, 0, kNoError, 0, kNoError);
        if (data[0] != kChunked) {
            if (capacity == 0) return write(warp, bytes, kNoError, 0, error_word(DeviceFault::chunk_capacity, 1));
            warp.each([&](std::uint32_t lane) {
                if (lane == 0) chunks[0].begin = 0;
                if (lane == 0) chunks[0].end = bytes;
            });
            return write(warp, bytes, kNoError, 1, kNoError);
        }
        const Varint symbols = read_varint(data, 1, bytes);
        if (!symbols.good || symbols.value == 0 || symbols.value % kMaxLanes != 0)
            return write(warp, bytes, 0, 0, number_error(symbols, 1, bytes));
        const Varint count = read_varint(data, symbols.end, bytes);
        if (!count.good || count.value < 2 || count.value > kMostChunks)
            return write(warp, bytes, 0, 0, number_error(count, symbols.end, bytes));
        // Every chunk takes a byte here at least: a number beyond that is damage, whatever the capacity.
        if (count.value > bytes - count.end) return write(warp, bytes, 0, 0, error_word(DeviceFault::header_end, bytes));
        if (count.value > capacity) return write(warp, bytes, 0, 0, error_word(DeviceFault::chunk_capacity, count.value));
        std::uint64_t error = kNoError;
        std::uint64_t at = read_lengths(warp, count.end, bytes, count.value, error);
        warp.sync();
        if (error == kNoError) {
            for (std::uint64_t c = 0; c < count.value; c += kWarpLanes) {
                PerLane<std::uint64_t> offset;
                warp.each([&](std::uint32_t lane) { offset[lane] = c + lane < count.value ? chunks[c + lane].end : 0; });
                const std::uint64_t sum = warp.exclusive_sum(offset);
                warp.each([&](std::uint32_t lane) {
                    if (c + lane >= count.value) return;
                    chunks[c + lane].begin = at + offset[lane];
                    chunks[c + lane].end += at + offset[lane];
                });
                at += sum;
            }
            if (at > bytes) error = error_word(DeviceFault::header_end, bytes);
            if (at < bytes) error = error_word(DeviceFault::left_over, at);
        }
        write(warp, bytes, symbols.value, count.value, error);
    }

    DUOVIEW_WARP_MEMBER std::uint64_t number_error(const Varint& number, std::uint64_t at, std::uint64_t bytes) const {
        return !number.good && number.end == bytes && bytes - at < 5 ? error_word(DeviceFault::header_end, bytes)
                                                                     : error_word(DeviceFault::header_count, at);
    }
};

// `first` is StreamHead::faulty_chunk or unfinished.
DUOVIEW_WARP void fail_chunk(const Warp& warp, std::uint64_t* first, ChunkState& chunk, std::uint64_t index, DeviceFault fault,
                             std::uint64_t offset) {
    warp.each([&](std::uint32_t lane) {
        if (lane != 0) return;
        chunk.fault = error_word(fault, offset);
        warp.atomic_min(first, index);
    });
}

// Reads the states of a chunk.
struct OpenChunks {
    const std::uint8_t* data;
    StreamHead* head;
    ChunkState* chunks;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        if (item >= head->chunks) return;
        ChunkState& chunk = chunks[item];
        const std::uint64_t begin = chunk.begin;
        const std::uint64_t size = chunk.end - begin;
        const auto fail = [&](DeviceFault fault, std::uint64_t offset) {
            fail_chunk(warp, &head->faulty_chunk, chunk, item, fault, begin + offset);
        };
        const std::uint32_t first = size ? data[begin] : 0;
        const std::uint32_t lanes = first == 0xE1 ? 4u : first == 0xE2 ? kMaxLanes : 1u;
        if (first >= 0xE0 && lanes == 1) return fail(DeviceFault::header_byte, 0);
        const std::uint32_t bytes = lanes > 1 ? 1 + 4 * lanes : first < 0x80 ? 3u : first < 0xC0 ? 4u : 5u;
        if (size < bytes) return fail(DeviceFault::header_end, size);
        if (first > 0xC0 && lanes == 1) return fail(DeviceFault::header_byte, 0);
        PerLane<std::uint32_t> x;
        PerLane<bool> bad;
        warp.each([&](std::uint32_t lane) {
            x[lane] = kLow;
            bad[lane] = false;
            if (lane >= lanes) return;
            const std::uint8_t* p = data + begin;
            if (lanes > 1) {
                p += 1 + 4 * lane;
                x[lane] = load_word(p) | load_word(p + 2) << 16;
                bad[lane] = x[lane] < kLow;
                return;
            }
            std::uint32_t value = bytes == 3 ? first : bytes == 4 ? first & 0x3Fu : 0u;
            for (std::uint32_t i = 1; i < bytes; ++i) value = value << 8 | p[i];
            x[lane] = value;
            bad[lane] = value < (bytes == 3 ? kLow : bytes == 4 ? 1u << 23 : 1u << 30);
        });
        const std::uint32_t wrong = warp.ballot(bad);
        if (wrong) return fail(DeviceFault::header_state, lanes > 1 ? 1 + 4 * lowest_lane(wrong) : 0);
        if ((size - bytes) % 2 != 0) return fail(DeviceFault::half_word, size);
        warp.each([&](std::uint32_t lane) {
            chunk.x[lane] = x[lane];
            if (lane != 0) return;
            chunk.position = begin + bytes;
            chunk.fault = kNoError;
            chunk.lanes = lanes;
            chunk.next = 0;
        });
    }
};

// Takes the number of coded classes of this call and moves on to it. One warp.
struct BeginDecode {
    StreamHead* head;
    std::uint64_t* blocks;
    std::uint64_t block_count;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t) const {
        const std::uint64_t coded = exclusive_sums(warp, blocks, block_count);
        const std::uint64_t consumed = head->consumed + head->coded;
        const std::uint64_t held = head->chunks * head->chunk_symbols;  // K = 1 where N is 2^64 - 1
        std::uint64_t error = head->error;
        if (error == kNoError && coded > held - consumed) error = error_word(DeviceFault::beyond_chunks, head->size);
        warp.sync();
        warp.each([&](std::uint32_t lane) {
            if (lane != 0) return;
            head->consumed = consumed;
            head->coded = error == kNoError ? coded : 0;
            head->error = error;
        });
    }
};

// Decodes what of the present call lies in a chunk. Behind a fault, its symbols are 0.
struct DecodeChunks {
    const std::uint8_t* data;
    StreamHead* head;
    ChunkState* chunks;
    const std::uint8_t* classes;  // the coded ones of this call
    std::int16_t* symbols;
    const WarpDecodeTables* tables;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        if (item >= head->chunks) return;
        const std::uint64_t call = head->consumed;
        const std::uint64_t call_end = call + head->coded;
        const std::uint64_t chunk_begin = item * head->chunk_symbols;
        const std::uint64_t chunk_end = chunk_begin + head->chunk_symbols;
        const std::uint64_t from = chunk_begin > call ? chunk_begin : call;
        const std::uint64_t to = chunk_end < call_end ? chunk_end : call_end;
        if (from < to) decode(warp, item, classes + (from - call), to - from, symbols + (from - call));
    }

    DUOVIEW_WARP_MEMBER void decode(const Warp& warp, std::uint64_t item, const std::uint8_t* part, std::uint64_t count,
                                    std::int16_t* out) const {
        ChunkState& chunk = chunks[item];
        if (chunk.fault != kNoError) return clear(warp, out, count);  // the rest of its state may never have been written
        const std::uint32_t lanes = static_cast<std::uint32_t>(chunk.lanes);
        const std::uint8_t* const end = data + chunk.end;
        const std::uint8_t* position = data + chunk.position;
        std::uint32_t next = static_cast<std::uint32_t>(chunk.next);
        std::uint64_t done = 0;
        DeviceFault fault{};
        PerLane<std::uint32_t> x, class_index;
        warp.each([&](std::uint32_t lane) { x[lane] = chunk.x[lane]; });
        // A round: the lanes from `next` on, one symbol each. `class_index` is loaded a round ahead.
        std::uint32_t active = lanes - next < count ? lanes - next : static_cast<std::uint32_t>(count);
        warp.each([&](std::uint32_t lane) { class_index[lane] = lane - next < active ? part[lane - next] : 0u; });
        for (;;) {
            PerLane<std::uint32_t> k, ahead;
            PerLane<std::int32_t> symbol;
            PerLane<bool> refill, escape;
            const std::uint64_t left = count - done - active;
            const std::uint32_t then = left < lanes ? static_cast<std::uint32_t>(left) : lanes;
            warp.each([&](std::uint32_t lane) {
                k[lane] = class_index[lane];
                ahead[lane] = lane < then ? part[done + active + lane] : 0u;
                refill[lane] = escape[lane] = false;
                symbol[lane] = 0;
                if (lane - next >= active) return;
                const std::uint32_t slot = x[lane] & (kProbabilityScale - 1u);
                const SlotRange range = find_slot(*tables, k[lane], slot);
                x[lane] = range.frequency * (x[lane] >> kProbabilityBits) + slot - range.start;
                symbol[lane] = range.symbol;
                refill[lane] = x[lane] < kLow;
                escape[lane] = range.symbol == kEscape;
            });
            fault = read_words(warp, x, refill, escape, k, symbol, position, end);
            if (fault != DeviceFault{}) break;
            warp.each([&](std::uint32_t lane) {
                if (lane - next < active) out[done + (lane - next)] = static_cast<std::int16_t>(symbol[lane]);
                class_index[lane] = ahead[lane];
            });
            done += active;
            next += active;
            if (next == lanes) next = 0;
            if (done == count) break;
            active = then;
        }
        if (fault != DeviceFault{}) {
            clear(warp, out + done, count - done);
            return fail_chunk(warp, &head->faulty_chunk, chunk, item, fault, static_cast<std::uint64_t>(position - data));
        }
        warp.each([&](std::uint32_t lane) {
            chunk.x[lane] = x[lane];
            if (lane == 0) chunk.position = static_cast<std::uint64_t>(position - data);
            if (lane == 0) chunk.next = next;
        });
    }

    // Words go to the lanes in order; an escape takes its own between its lane's and the next lane's. So all lanes up to the
    // first escape read at once, then that escape alone, and so on; most rounds have none.
    DUOVIEW_WARP_MEMBER DeviceFault read_words(const Warp& warp, PerLane<std::uint32_t>& x, const PerLane<bool>& refill,
                                               const PerLane<bool>& escape, const PerLane<std::uint32_t>& k,
                                               PerLane<std::int32_t>& symbol, const std::uint8_t*& position,
                                               const std::uint8_t* end) const {
        std::uint32_t waiting = warp.ballot(refill);
        std::uint32_t escapes = warp.ballot(escape);
        for (;;) {
            const std::uint32_t upper = escapes ? lowest_lane(escapes) : kWarpLanes - 1;
            const std::uint32_t now = waiting & lanes_below(upper + 1);
            const std::uint32_t words = popcount(now);
            if (static_cast<std::uint64_t>(end - position) < 2 * static_cast<std::uint64_t>(words)) {
                position = end;
                return DeviceFault::truncated;
            }
            warp.each([&](std::uint32_t lane) {
                if (now >> lane & 1u) x[lane] = x[lane] << 16 | load_word(position + 2 * popcount(now & lanes_below(lane)));
            });
            position += 2 * words;
            waiting ^= now;
            if (!escapes) return DeviceFault{};
            PerLane<std::uint32_t> fault;
            PerLane<std::uint64_t> taken;
            warp.each([&](std::uint32_t lane) {
                fault[lane] = 0;
                taken[lane] = 0;
                if (lane != upper) return;
                const std::uint8_t* at = position;
                std::int16_t value = 0;
                fault[lane] = static_cast<std::uint32_t>(decode_escape(x[lane], at, end, tables->width[k[lane]], value));
                symbol[lane] = value;
                taken[lane] = static_cast<std::uint64_t>(at - position);
            });
            position += warp.broadcast(taken, upper);
            const std::uint32_t found = warp.broadcast(fault, upper);
            if (found != static_cast<std::uint32_t>(Fault::none))
                return found == static_cast<std::uint32_t>(Fault::truncated) ? DeviceFault::truncated : DeviceFault::escape_range;
            escapes &= escapes - 1;
        }
    }

    DUOVIEW_WARP_MEMBER void clear(const Warp& warp, std::int16_t* out, std::uint64_t count) const {
        for (std::uint64_t i = 0; i < count; i += kWarpLanes)
            warp.each([&](std::uint32_t lane) { if (i + lane < count) out[i + lane] = 0; });
    }
};

// Checks that all chunks were begun, that each was used up, and that its states are those the encoder started from.
struct FinishStream {
    StreamHead* head;
    ChunkState* chunks;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        if (item >= head->chunks) return;
        if (head->error != kNoError) return;  // chunks are missing because of it, and it says why
        ChunkState& chunk = chunks[item];
        const std::uint64_t consumed = head->consumed + head->coded;
        const bool begun = consumed != 0 && consumed > (head->chunks - 1) * head->chunk_symbols;
        if (!begun) {
            if (item == 0)
                warp.each([&](std::uint32_t lane) {
                    if (lane == 0)
                        warp.atomic_min(&head->error, error_word(DeviceFault::missing_chunks, consumed ? head->size : 0));
                });
            return;
        }
        if (chunk.fault != kNoError) return;
        if (chunk.position != chunk.end)
            return fail_chunk(warp, &head->unfinished, chunk, item, DeviceFault::left_over, chunk.position);
        PerLane<bool> wrong;
        warp.each([&](std::uint32_t lane) { wrong[lane] = lane < chunk.lanes && chunk.x[lane] != kLow; });
        if (warp.ballot(wrong)) fail_chunk(warp, &head->unfinished, chunk, item, DeviceFault::final_state, chunk.end);
    }
};

}  // namespace duoview
