// One chunk of a coded stream: lanes and states in front, 16-bit little-endian words behind.
//
//   0sssssss + 2 bytes                   one lane, its 23-bit state, big-endian        (state < 2^23)
//   10ssssss + 3 bytes                   one lane, 30-bit state                        (2^23 <= state < 2^30)
//   11000000 + 4 bytes                   one lane, 32-bit state                        (2^30 <= state)
//   11100001 + 4 * 4 bytes               4 lanes, their states, 32 bits little-endian
//   11100010 + 32 * 4 bytes              32 lanes
// The shortest form is the only valid one. docs/bitstream.md says it in words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "rans_decoder.hpp"
#include "rans_encoder.hpp"

namespace duoview {

// The data is at fault; becomes duoview.kernels.errors.BitstreamError in Python.
class BitstreamFault : public std::runtime_error {
public:
    BitstreamFault(const std::string& message, std::size_t offset) : std::runtime_error(message), offset_(offset) {}
    std::size_t offset() const { return offset_; }

private:
    std::size_t offset_;
};

// A coded chunk at the end of the buffer it was written into.
struct EncodedChunk {
    std::unique_ptr<std::uint8_t[]> buffer;
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
};

// `count` >= 1 symbols, none of class 0. Throws std::invalid_argument where a symbol is none of its class.
EncodedChunk encode_chunk(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count, std::uint32_t lanes,
                          EncodeFunction encode);

// Reads the states at the start of a chunk; offsets in messages count from `stream`. Throws BitstreamFault.
DecodeState open_chunk(const std::uint8_t* data, std::size_t size, const std::uint8_t* stream);

// Throws BitstreamFault unless all data was used up and every state is back where the encoder started.
void check_end(const DecodeState& state, const std::uint8_t* stream);

}  // namespace duoview
