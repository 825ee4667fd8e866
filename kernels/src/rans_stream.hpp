// The coded stream: one chunk (rans_chunk.hpp), or several that can be coded side by side.
//
//   0 bytes                                            nothing was coded
//   one chunk
//   11100011 | varint N | varint K | K varints | K chunks      N coded symbols a chunk, K chunks, the byte length of each
// Varints are LEB128 in their shortest form, below 2^32. docs/bitstream.md says it in words.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "dispatch.hpp"
#include "rans_chunk.hpp"
#include "rans_layout.hpp"

namespace duoview {

struct EncodeOptions {
    std::uint32_t lanes = 0;    // 1, 4 or 32; 0 lets the size decide
    std::size_t chunk = 0;      // coded symbols a chunk, a multiple of 32; 0 lets the size decide
    std::size_t threads = 1;
};

struct EncodedStream {
    std::vector<std::uint8_t> header;
    std::vector<EncodedChunk> chunks;

    std::size_t size() const;
    void copy(std::uint8_t* out) const;
};

// Encodes `count` symbols of int8 or int16. Throws std::invalid_argument naming the first bad element. Whatever another
// thread writes to the arrays meanwhile, the outcome is some stream or that error, and nothing worse.
template <typename Symbol>
EncodedStream encode_stream(const Symbol* symbols, const std::uint8_t* classes, std::size_t count,
                            const EncodeOptions& options, const EncodeKernels& kernels);

// Decodes one stream in as many calls as its reader likes. Does not own the data.
class StreamDecoder {
public:
    // Reads the states; throws BitstreamFault. An empty stream holds nothing.
    StreamDecoder(const std::uint8_t* data, std::size_t size, std::size_t threads, const DecodeKernels& kernels);

    // Fills `symbols`, 0 where the class is 0. Throws std::invalid_argument for a class out of range (nothing is decoded
    // then), BitstreamFault for bad data (after which every later call throws the same). Whatever another thread writes to
    // the classes meanwhile, no memory outside of the arrays is touched.
    void decode(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols);

    // Throws BitstreamFault unless all data was used up and every state is back where the encoder started.
    void finish();

private:
    class Turn;
    void open(const std::uint8_t* data, std::size_t size);
    void decode_coded(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols);
    void decode_sparse(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols);
    [[noreturn]] void remember(const BitstreamFault& fault);
    void check_usable() const;

    const std::uint8_t* data_;
    std::size_t size_;
    std::size_t threads_;
    DecodeKernels kernels_;
    std::vector<DecodeState> chunks_;
    std::size_t chunk_;           // coded symbols a chunk
    std::size_t consumed_ = 0;    // coded symbols so far
    bool failed_ = false;
    std::string failure_;
    std::size_t failure_offset_ = 0;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace duoview
