// The entropy coder as C++ calls it, for ctypes: buffers are the caller's, all checks are on.
#include <exception>

#include "dispatch.hpp"
#include "rans_stream.hpp"

#define DUOVIEW_EXPORT extern "C" __attribute__((visibility("default")))

// Bytes written to `out`, or -1 at any error (the caller has checked the same arguments through Python before).
DUOVIEW_EXPORT long long bench_encode(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count,
                                      const char* path, std::uint8_t* out, std::size_t capacity) {
    try {
        const duoview::EncodedStream stream =
            duoview::encode_stream(symbols, classes, count, {}, duoview::choose_encode(path));
        if (stream.size() > capacity) return -1;
        stream.copy(out);
        return static_cast<long long>(stream.size());
    } catch (const std::exception&) {
        return -1;
    }
}

// 0, or -1 at any error: opens, decodes all, and checks the end.
DUOVIEW_EXPORT int bench_decode(const std::uint8_t* data, std::size_t size, const std::uint8_t* classes,
                                std::size_t count, const char* path, std::int16_t* symbols) {
    try {
        duoview::StreamDecoder decoder(data, size, 1, duoview::choose_decode(path));
        decoder.decode(classes, count, symbols);
        decoder.finish();
        return 0;
    } catch (const std::exception&) {
        return -1;
    }
}
