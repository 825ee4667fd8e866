// Decoding of arbitrary bytes: every path and any number of threads give the same symbols or the same fault, one call and
// several the same symbols or a fault both; a stream without a fault is the one that its symbols are coded to.
//
// Input: threads (1 byte, of 1 and 2), number of cuts (1, of 0..3), cuts (2 each), number of classes (2), length of their
// pattern (1), pattern, stream. The classes are the pattern, repeated.
#include <algorithm>

#include "rans_calls.hpp"

namespace {

constexpr std::size_t kMostClasses = 8192;

std::uint32_t lanes_of(std::uint8_t first) { return first == 0xE1 ? 4 : first == 0xE2 ? 32 : 1; }

std::size_t varint(const std::vector<std::uint8_t>& data, std::size_t& position) {
    std::size_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        const std::uint8_t byte = data[position++];
        value |= std::size_t{byte & 0x7Fu} << shift;
        if (!(byte & 0x80)) return value;
    }
}

// How a stream that has been decoded without a fault was laid out; false where its chunks differ in lanes, which the
// encoder never does.
bool layout(const std::vector<std::uint8_t>& data, duoview::EncodeOptions& options) {
    if (data.empty()) return true;
    if (data[0] != 0xE3) {
        options.lanes = lanes_of(data[0]);
        options.chunk = 65536;  // more than there are classes
        return true;
    }
    std::size_t position = 1;
    options.chunk = varint(data, position);
    std::vector<std::size_t> lengths(varint(data, position));
    for (std::size_t& length : lengths) length = varint(data, position);
    options.lanes = lanes_of(data[position]);
    for (const std::size_t length : lengths) {
        if (lanes_of(data[position]) != options.lanes) return false;
        position += length;
    }
    return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::size_t threads = 1 + input.number<std::uint8_t>() % 2;
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

    const fuzz::Decoded whole = fuzz::decode(stream, classes, {}, 1, "scalar");
    const fuzz::Decoded parts = fuzz::decode(stream, classes, cuts, 1, "scalar");
    if (all_known) fuzz::require(whole.error.empty() ? whole == parts : !parts.error.empty(), "parts are the whole");
    for (const std::string& path : duoview::paths()) {
        fuzz::require(fuzz::decode(stream, classes, {}, threads, path) == whole, "paths agree", path);
        fuzz::require(fuzz::decode(stream, classes, cuts, threads, path) == parts, "paths agree in parts", path);
    }
    duoview::EncodeOptions options;
    if (!whole.error.empty() || !layout(stream, options)) return 0;
    for (const std::string& path : duoview::paths()) {
        const fuzz::Encoded again = fuzz::encode(whole.symbols.data(), classes.data(), count, options, path);
        fuzz::require(again.error.empty() && again.data == stream, "what is decoded is coded to the same bytes", path);
    }
    return 0;
}
