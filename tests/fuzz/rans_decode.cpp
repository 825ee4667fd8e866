// Decoding of arbitrary bytes: every path gives the same symbols or the same fault, in one call and in several; a stream
// without a fault is the one that its symbols are coded to.
//
// Input: number of cuts (1 byte, of 0..3), cuts (2 each), number of classes (2), length of their pattern (1), pattern,
// stream. The classes are the pattern, repeated.
#include <algorithm>

#include "rans_calls.hpp"

namespace {

constexpr std::size_t kMostClasses = 8192;

// The lanes that the first byte of a stream of one chunk signals; 0 where it is another kind of stream.
std::uint32_t signalled_lanes(const std::vector<std::uint8_t>& data) {
    if (data.empty() || data[0] <= 0xC0) return 1;
    return data[0] == 0xE1 ? 4 : data[0] == 0xE2 ? 32 : 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    std::vector<std::size_t> cuts(input.number<std::uint8_t>() % 4);
    for (std::size_t& cut : cuts) cut = input.number<std::uint16_t>();
    const std::size_t count = input.number<std::uint16_t>() % (kMostClasses + 1);
    const std::vector<std::uint8_t> pattern = input.bytes(input.number<std::uint8_t>());
    const std::vector<std::uint8_t> stream = input.rest();
    fuzz::Array<std::uint8_t> classes(count);
    bool all_known = true;
    for (std::size_t i = 0; i < count; ++i) {
        classes[i] = pattern.empty() ? 1 : pattern[i % pattern.size()];
        all_known = all_known && classes[i] < duoview::kClasses;
    }
    for (std::size_t& cut : cuts) cut %= count + 1;
    std::sort(cuts.begin(), cuts.end());

    const fuzz::Decoded whole = fuzz::decode(stream, classes, {}, "scalar");
    const fuzz::Decoded parts = fuzz::decode(stream, classes, cuts, "scalar");
    fuzz::require(whole == parts || !all_known, "parts are the whole");
    for (const std::string& path : duoview::paths()) {
        fuzz::require(fuzz::decode(stream, classes, {}, path) == whole, "paths agree", path);
        fuzz::require(fuzz::decode(stream, classes, cuts, path) == parts, "paths agree in parts", path);
    }
    if (!whole.error.empty()) return 0;
    const std::uint32_t lanes = signalled_lanes(stream);
    if (lanes == 0) return 0;
    for (const std::string& path : duoview::paths()) {
        const fuzz::Encoded again = fuzz::encode(whole.symbols.data(), classes.data(), count, lanes, path);
        fuzz::require(again.error.empty() && again.data == stream, "what is decoded is coded to the same bytes", path);
    }
    return 0;
}
