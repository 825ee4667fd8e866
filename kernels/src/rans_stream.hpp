// The coded stream around the rANS loops: lanes and states in front, 16-bit little-endian words behind.
//
//   0 bytes                              nothing was coded
//   0sssssss + 2 bytes                   one lane, its 23-bit state, big-endian        (state < 2^23)
//   10ssssss + 3 bytes                   one lane, 30-bit state                        (2^23 <= state < 2^30)
//   11000000 + 4 bytes                   one lane, 32-bit state                        (2^30 <= state)
//   11100001 + 4 * 4 bytes               4 lanes, their states, 32 bits little-endian
//   11100010 + 32 * 4 bytes              32 lanes
// The shortest form is the only valid one. docs/bitstream.md says it in words.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "dispatch.hpp"
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

// A coded stream at the end of the buffer it was written into.
struct EncodedStream {
    std::unique_ptr<std::uint8_t[]> buffer;
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
};

// Encodes `count` symbols; lanes 0 chooses by the estimated size. Throws std::invalid_argument naming the first bad element.
// Reads every element once, so that arrays which change meanwhile give some stream or that error, and nothing worse.
template <typename Symbol>
EncodedStream encode_stream(const Symbol* symbols, const std::uint8_t* classes, std::size_t count, std::uint32_t lanes, EncodeFunction encode);

// Decodes one stream in as many calls as its reader likes. Does not own the data.
class StreamDecoder {
public:
    // Reads the states; throws BitstreamFault. An empty stream holds nothing.
    StreamDecoder(const std::uint8_t* data, std::size_t size, const DecodeKernels& kernels);

    // Fills `symbols`, 0 where the class is 0. `classes` is gone over several times and must not change meanwhile. Throws
    // std::invalid_argument for a class out of range (nothing is decoded then), BitstreamFault for bad data (after which
    // every later call throws the same).
    void decode(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols);

    // Throws BitstreamFault unless all data was used up and every state is back where the encoder started.
    void finish();

private:
    class Turn;
    [[noreturn]] void fail() const;
    [[noreturn]] void remember(const std::string& message, std::size_t offset);

    DecodeState state_{};
    DecodeKernels kernels_;
    bool coded_ = false;  // any symbol of a class other than 0 so far
    bool failed_ = false;
    std::string failure_;
    std::size_t failure_offset_ = 0;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace duoview
