// One call of the entropy coder with its outcome as a value, for comparing paths.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "dispatch.hpp"
#include "input.hpp"
#include "rans_stream.hpp"

namespace fuzz {

// The coded bytes, or the message of the error.
struct Encoded {
    std::vector<std::uint8_t> data;
    std::string error;
    bool operator==(const Encoded& other) const { return data == other.data && error == other.error; }
};

template <typename Symbol>
Encoded encode(const Symbol* symbols, const std::uint8_t* classes, std::size_t count,
               const duoview::EncodeOptions& options, const std::string& path) {
    Encoded out;
    try {
        const duoview::EncodedStream stream =
            duoview::encode_stream(symbols, classes, count, options, duoview::choose_encode(path));
        out.data.resize(stream.size());
        stream.copy(out.data.data());
    } catch (const std::invalid_argument& error) {
        out.error = error.what();
    }
    return out;
}

// The decoded symbols (those up to an error are left out), or the message and place of the error.
struct Decoded {
    std::vector<std::int16_t> symbols;
    std::string error;
    std::size_t offset = 0;
    bool bad_stream = false;
    bool operator==(const Decoded& other) const {
        return error == other.error && offset == other.offset && bad_stream == other.bad_stream &&
               (!error.empty() || symbols == other.symbols);
    }
};

// Decodes all classes, a call for each part; `cuts` are ascending places in them.
inline Decoded decode(const std::vector<std::uint8_t>& data, const Array<std::uint8_t>& classes,
                      const std::vector<std::size_t>& cuts, std::size_t threads, const std::string& path) {
    Decoded out;
    try {
        duoview::StreamDecoder decoder(data.data(), data.size(), threads, duoview::choose_decode(path));
        for (std::size_t part = 0, begin = 0; part <= cuts.size(); ++part) {
            const std::size_t end = part < cuts.size() ? cuts[part] : classes.size();
            Array<std::uint8_t> piece(end - begin);
            for (std::size_t i = begin; i < end; ++i) piece[i - begin] = classes[i];
            Array<std::int16_t> symbols(end - begin);
            decoder.decode(piece.data(), piece.size(), symbols.data());
            out.symbols.insert(out.symbols.end(), symbols.data(), symbols.data() + symbols.size());
            begin = end;
        }
        decoder.finish();
    } catch (const duoview::BitstreamFault& fault) {
        out.error = fault.what();
        out.offset = fault.offset();
        out.bad_stream = true;
        require(out.offset <= data.size(), "the fault's offset is in the data", path);
    } catch (const std::invalid_argument& error) {
        out.error = error.what();
    }
    return out;
}

}  // namespace fuzz
