// rANS encoding with one warp per chunk: the same bytes as the CPU's encoder with the same chunks and lanes.
//
// BeginEncode takes the number of coded symbols, PackSymbols packs them and counts the escapes of each chunk, PlaceWords gives
// each chunk its part of the scratch, EncodeChunks codes it there from the end backwards, PlaceChunks writes the header and
// says where each chunk goes, GatherChunks puts it there.
#pragma once

#include <cstdint>

#include "duoview/warp.hpp"
#include "duoview/warp_compaction.hpp"
#include "duoview/warp_decode.hpp"
#include "duoview/warp_tables.hpp"
#include "rans_encoder.hpp"

namespace duoview {

// Bytes of a chunk besides its words: 32 states and the byte before them, rounded to whole words.
static constexpr std::uint64_t kChunkHeadBytes = 2 + 4 * kMaxLanes;

struct EncodeHead {
    std::uint64_t coded;    // coded symbols
    std::uint64_t chunks;   // K
    std::uint64_t header;   // bytes before the first chunk
    std::uint64_t good;     // 1 while nothing was wrong
};

struct EncodeChunk {
    std::uint64_t escapes;
    std::uint64_t words;   // offset in the scratch: first where its part ends, then where its bytes begin
    std::uint64_t size;    // bytes
    std::uint64_t offset;  // in the output, behind the header
};

// What the caller reads: where there is an error, size is 0.
struct EncodeResult {
    std::uint64_t size;
    std::uint64_t error;
};

struct BeginEncode {
    EncodeHead* head;
    EncodeResult* result;  // its error is set before, by FillWords, and by CountSymbols
    std::uint64_t* blocks;
    std::uint64_t block_count;
    std::uint64_t chunk_symbols;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t) const {
        const std::uint64_t coded = exclusive_sums(warp, blocks, block_count);
        const std::uint64_t chunks = coded / chunk_symbols + (coded % chunk_symbols != 0 ? 1 : 0);
        std::uint64_t error = result->error;
        if (error == kNoError && chunks > kMostChunks) error = error_word(DeviceFault::chunk_count, chunks);
        const bool good = error == kNoError;
        warp.sync();
        warp.each([&](std::uint32_t lane) {
            if (lane == 0) *head = {coded, good ? chunks : 0, 0, good ? 1u : 0u};
            if (lane == 0) *result = {0, error};
        });
    }
};

struct PackSymbols {
    const std::int16_t* symbols;
    const std::uint8_t* classes;
    std::uint64_t count;
    const std::uint64_t* tiles;
    const std::uint64_t* blocks;
    std::int16_t* packed;
    std::uint8_t* packed_classes;
    std::uint64_t chunk_symbols;
    EncodeChunk* chunks;
    std::uint64_t capacity;  // of `chunks`
    const WarpEncodeTables* tables;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        PerLane<bool> coded;
        PerLane<std::int32_t> symbol;
        PerLane<std::uint32_t> class_index;
        std::uint64_t at = blocks[item / kTilesPerBlock] + tiles[item];
        each_row(
            warp, item, count,
            [&](std::uint32_t lane, std::uint64_t i, bool inside) {
                class_index[lane] = inside ? classes[i] : 0u;
                symbol[lane] = inside ? symbols[i] : 0;
                DeviceFault fault{};
                coded[lane] = codable(symbol[lane], class_index[lane], fault) && class_index[lane] != 0;
            },
            [&] {
                const std::uint32_t mask = warp.ballot(coded);
                warp.each([&](std::uint32_t lane) {
                    if (!coded[lane]) return;
                    const std::uint64_t rank = at + popcount(mask & lanes_below(lane));
                    packed[rank] = static_cast<std::int16_t>(symbol[lane]);
                    packed_classes[rank] = static_cast<std::uint8_t>(class_index[lane]);
                    if (class_index[lane] >= kGaussianClasses) return;
                    const std::int32_t width = tables->width[class_index[lane]];
                    const bool escape = symbol[lane] < -width || symbol[lane] > width;
                    if (escape && rank / chunk_symbols < capacity) warp.atomic_add(&chunks[rank / chunk_symbols].escapes, 1);
                });
                at += popcount(mask);
            });
    }
};

// One warp.
struct PlaceWords {
    EncodeHead* head;
    EncodeChunk* chunks;
    EncodeResult* result;
    std::uint64_t chunk_symbols;
    std::uint64_t capacity;  // bytes for words

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t) const {
        const std::uint64_t count = head->chunks;
        const std::uint64_t coded = head->coded;
        std::uint64_t sum = 0;
        for (std::uint64_t c = 0; c < count; c += kWarpLanes) {
            PerLane<std::uint64_t> bytes, below;
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t index = c + lane;
                below[lane] = bytes[lane] = 0;
                if (index >= count) return;
                const std::uint64_t left = coded - index * chunk_symbols;
                below[lane] = bytes[lane] = 2 * (left < chunk_symbols ? left : chunk_symbols) +
                                            2 * (kMaxWordsPerSymbol - 1) * chunks[index].escapes + kChunkHeadBytes;
            });
            const std::uint64_t row = warp.exclusive_sum(below);
            warp.each([&](std::uint32_t lane) { if (c + lane < count) chunks[c + lane].words = sum + below[lane] + bytes[lane]; });
            sum += row;
        }
        if (sum <= capacity) return;
        warp.each([&](std::uint32_t lane) {
            if (lane == 0) result->error = error_word(DeviceFault::scratch_size, sum);
            if (lane == 0) head->chunks = head->good = 0;
        });
    }
};

struct EncodeChunks {
    const EncodeHead* head;
    EncodeChunk* chunks;
    const std::int16_t* symbols;
    const std::uint8_t* classes;
    std::uint64_t chunk_symbols;
    std::uint64_t lane_count;  // 1, 4 or 32
    std::uint8_t* words;
    const WarpEncodeTables* tables;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        if (item >= head->chunks) return;
        const std::uint64_t begin = item * chunk_symbols;
        const std::uint64_t left = head->coded - begin;
        const std::uint32_t lanes = static_cast<std::uint32_t>(lane_count);
        std::uint8_t* const end = words + chunks[item].words;
        std::uint8_t* position = end;
        PerLane<std::uint32_t> x;
        warp.each([&](std::uint32_t lane) { x[lane] = kLow; });
        for (std::uint64_t i = left < chunk_symbols ? left : chunk_symbols; i > 0;) {
            const std::uint64_t from = (i - 1) / lanes * lanes;  // of a round: one symbol a lane, coded from the last lane down
            encode_round(warp, begin + from, static_cast<std::uint32_t>(i - from), x, position);
            i = from;
        }
        std::uint8_t* const first = write_states(warp, x, lanes, position);
        warp.each([&](std::uint32_t lane) {
            if (lane == 0) chunks[item].words = static_cast<std::uint64_t>(first - words);
            if (lane == 0) chunks[item].size = static_cast<std::uint64_t>(end - first);
        });
    }

    // Words leave the lanes from the highest down, those of an escape before its own lane's.
    DUOVIEW_WARP_MEMBER void encode_round(const Warp& warp, std::uint64_t from, std::uint32_t active,
                                          PerLane<std::uint32_t>& x, std::uint8_t*& position) const {
        PerLane<EncodeEntry> entry;
        PerLane<std::uint64_t> reciprocal;
        PerLane<std::uint32_t> escape_bits;
        PerLane<bool> escape;
        warp.each([&](std::uint32_t lane) {
            escape[lane] = false;
            entry[lane] = 0;
            reciprocal[lane] = 0;
            escape_bits[lane] = 0;
            if (lane >= active) return;
            const std::uint32_t k = classes[from + lane];
            const std::int32_t symbol = symbols[from + lane];
            const std::uint32_t width = tables->width[k];
            std::uint32_t place = static_cast<std::uint32_t>(symbol + static_cast<std::int32_t>(width));
            if (k < kGaussianClasses && place > 2 * width) {
                place = 2 * width + 1;
                escape[lane] = true;
                escape_bits[lane] = escape_code(symbol, width);
            }
            entry[lane] = tables->range[tables->base[k] + place];
            reciprocal[lane] = tables->reciprocal[tables->base[k] + place];
        });
        std::uint32_t escapes = warp.ballot(escape);
        for (std::uint32_t done = active;;) {  // lanes from here on have been coded
            const std::uint32_t lowest = escapes ? highest_lane(escapes) + 1 : 0;
            PerLane<bool> full;
            warp.each([&](std::uint32_t lane) {
                full[lane] = lane >= lowest && lane < done && must_flush(x[lane], entry_frequency(entry[lane]));
            });
            const std::uint32_t flushed = warp.ballot(full);
            warp.each([&](std::uint32_t lane) {
                if (full[lane]) {
                    std::uint8_t* const p = position - 2 * popcount(flushed & ~lanes_below(lane));
                    p[0] = static_cast<std::uint8_t>(x[lane]);
                    p[1] = static_cast<std::uint8_t>(x[lane] >> 8);
                    x[lane] >>= 16;
                }
                if (lane >= lowest && lane < done) x[lane] = push_symbol(x[lane], entry[lane], reciprocal[lane]);
            });
            position -= 2 * popcount(flushed);
            if (!escapes) return;
            PerLane<std::uint64_t> taken;
            warp.each([&](std::uint32_t lane) {
                taken[lane] = 0;
                if (lane != lowest - 1) return;
                std::uint8_t* at = position;
                x[lane] = push_escape(x[lane], escape_bits[lane], at);
                taken[lane] = static_cast<std::uint64_t>(position - at);
            });
            position -= warp.broadcast(taken, lowest - 1);
            escapes ^= 1u << (lowest - 1);
            done = lowest;
        }
    }

    // The states before the words; returns the first byte.
    DUOVIEW_WARP_MEMBER std::uint8_t* write_states(const Warp& warp, const PerLane<std::uint32_t>& x, std::uint32_t lanes,
                                                   std::uint8_t* position) const {
        if (lanes > 1) {
            std::uint8_t* const first = position - 4 * lanes - 1;
            warp.each([&](std::uint32_t lane) {
                if (lane == 0) first[0] = lanes == 4 ? 0xE1 : 0xE2;
                if (lane >= lanes) return;
                for (std::uint32_t i = 0; i < 4; ++i) first[1 + 4 * lane + i] = static_cast<std::uint8_t>(x[lane] >> (8 * i));
            });
            return first;
        }
        const std::uint32_t state = warp.broadcast(x, 0);
        const std::uint32_t bytes = state < 1u << 23 ? 3u : state < 1u << 30 ? 4u : 5u;
        std::uint8_t* const first = position - bytes;
        warp.each([&](std::uint32_t lane) {
            if (lane != 0) return;
            for (std::uint32_t i = 1; i < bytes; ++i) first[i] = static_cast<std::uint8_t>(state >> (8 * (bytes - 1 - i)));
            first[0] = static_cast<std::uint8_t>(bytes == 3 ? state >> 16 : bytes == 4 ? 0x80u | state >> 24 : 0xC0u);
        });
        return first;
    }
};

DUOVIEW_HD std::uint32_t varint_bytes(std::uint64_t value) {
    std::uint32_t bytes = 1;
    while (value >>= 7) ++bytes;
    return bytes;
}

DUOVIEW_HD void write_varint(std::uint8_t* p, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) *p++ = static_cast<std::uint8_t>(value | 0x80u);
    *p = static_cast<std::uint8_t>(value);
}

// One warp.
struct PlaceChunks {
    EncodeHead* head;
    EncodeChunk* chunks;
    EncodeResult* result;
    std::uint64_t chunk_symbols;
    std::uint8_t* output;
    std::uint64_t capacity;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t) const {
        const std::uint64_t count = head->chunks;
        std::uint64_t header = count > 1 ? 1 + varint_bytes(chunk_symbols) + varint_bytes(count) : 0;
        const std::uint64_t lengths = header;
        std::uint64_t body = 0;
        for (std::uint64_t c = 0; c < count; c += kWarpLanes) {
            PerLane<std::uint64_t> size, bytes;
            warp.each([&](std::uint32_t lane) {
                size[lane] = c + lane < count ? chunks[c + lane].size : 0;
                bytes[lane] = count > 1 && c + lane < count ? varint_bytes(size[lane]) : 0;
            });
            const std::uint64_t row = warp.exclusive_sum(size);
            warp.each([&](std::uint32_t lane) { if (c + lane < count) chunks[c + lane].offset = body + size[lane]; });
            body += row;
            header += warp.exclusive_sum(bytes);
        }
        const std::uint64_t total = header + body;
        const bool fits = total <= capacity;
        if (fits && count > 1) write_header(warp, count, lengths);
        warp.each([&](std::uint32_t lane) {
            if (lane != 0 || !head->good) return;
            head->header = header;
            result->size = fits ? total : 0;
            if (fits) return;
            result->error = error_word(DeviceFault::output_size, total);
            head->chunks = 0;
        });
    }

    DUOVIEW_WARP_MEMBER void write_header(const Warp& warp, std::uint64_t count, std::uint64_t at) const {
        warp.each([&](std::uint32_t lane) {
            if (lane != 0) return;
            output[0] = kChunked;
            write_varint(output + 1, chunk_symbols);
            write_varint(output + 1 + varint_bytes(chunk_symbols), count);
        });
        for (std::uint64_t c = 0; c < count; c += kWarpLanes) {
            PerLane<std::uint64_t> place;
            warp.each([&](std::uint32_t lane) { place[lane] = c + lane < count ? varint_bytes(chunks[c + lane].size) : 0; });
            const std::uint64_t row = warp.exclusive_sum(place);
            warp.each([&](std::uint32_t lane) {
                if (c + lane < count) write_varint(output + at + place[lane], chunks[c + lane].size);
            });
            at += row;
        }
    }
};

// Copies one of the `parts` of every chunk.
struct GatherChunks {
    const EncodeHead* head;
    const EncodeChunk* chunks;
    const std::uint8_t* words;
    std::uint64_t parts;
    std::uint8_t* output;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t index = item / parts;
        if (index >= head->chunks) return;
        const std::uint64_t size = chunks[index].size;
        const std::uint64_t begin = item % parts * size / parts;
        const std::uint64_t end = (item % parts + 1) * size / parts;
        const std::uint8_t* const source = words + chunks[index].words;
        std::uint8_t* const target = output + head->header + chunks[index].offset;
        constexpr std::uint64_t kStep = 4 * kWarpLanes;  // loads in flight before the first store
        for (std::uint64_t i = begin; i < end; i += kStep) {
            warp.each([&](std::uint32_t lane) {
                std::uint8_t byte[4];
                for (std::uint32_t j = 0; j < 4; ++j) {
                    const std::uint64_t at = i + j * kWarpLanes + lane;
                    byte[j] = at < end ? source[at] : std::uint8_t{0};
                }
                for (std::uint32_t j = 0; j < 4; ++j) {
                    const std::uint64_t at = i + j * kWarpLanes + lane;
                    if (at < end) target[at] = byte[j];
                }
            });
        }
    }
};

}  // namespace duoview
