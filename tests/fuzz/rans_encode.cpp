// Encoding of arbitrary symbols and classes: every path and any number of threads give the same bytes or the same error,
// int8 symbols those of int16 ones, and every path decodes them, in one call and in two.
//
// Input: lanes (1 byte), mode (1: bit 0 keeps classes and symbols as they come, else they are made valid; bit 1 cuts the
// symbols to int8; bit 2 takes two threads), repeats (1, of 1..64), chunk (1, in 32 symbols, 0: as the encoder likes),
// cut (2), then class (1) and symbol (2) of each element. At most 8192 elements.
#include <algorithm>

#include "rans_calls.hpp"

namespace {

constexpr std::size_t kMostSymbols = 8192;
constexpr std::uint32_t kLanes[] = {0, 1, 4, 32};

std::int16_t as_allowed(std::int16_t symbol, std::uint32_t class_index) {
    if (class_index == 0) return 0;
    return class_index < duoview::kGaussianClasses ? symbol : static_cast<std::int16_t>(symbol & 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    duoview::EncodeOptions options;
    options.lanes = kLanes[input.number<std::uint8_t>() % 4];
    const std::uint8_t mode = input.number<std::uint8_t>();
    const std::size_t repeats = input.number<std::uint8_t>() % 64 + 1;
    options.chunk = std::size_t{input.number<std::uint8_t>()} * 32;
    const std::size_t cut_at = input.number<std::uint16_t>();
    const std::vector<std::uint8_t> pairs = input.rest();
    const std::size_t unit = pairs.size() / 3;
    const std::size_t count = std::min(unit * repeats, kMostSymbols);

    fuzz::Array<std::int16_t> symbols(count);
    fuzz::Array<std::int8_t> narrow(count);
    fuzz::Array<std::uint8_t> classes(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint8_t* const pair = pairs.data() + i % unit * 3;
        classes[i] = pair[0];
        symbols[i] = static_cast<std::int16_t>(pair[1] | pair[2] << 8);
        if (mode & 2) symbols[i] = static_cast<std::int8_t>(symbols[i]);
        if (!(mode & 1)) {
            classes[i] = static_cast<std::uint8_t>(classes[i] % duoview::kClasses);
            symbols[i] = as_allowed(symbols[i], classes[i]);
        }
        narrow[i] = static_cast<std::int8_t>(symbols[i]);
    }

    const fuzz::Encoded coded = fuzz::encode(symbols.data(), classes.data(), count, options, "scalar");
    fuzz::require(coded.error.empty() || (mode & 1), "valid symbols are coded");
    options.threads = mode & 4 ? 2 : 1;
    for (const std::string& path : duoview::paths()) {
        fuzz::require(fuzz::encode(symbols.data(), classes.data(), count, options, path) == coded, "paths agree", path);
        if (mode & 2)
            fuzz::require(fuzz::encode(narrow.data(), classes.data(), count, options, path) == coded, "int8 is as int16", path);
        if (!coded.error.empty()) continue;
        for (const std::vector<std::size_t>& cuts : {std::vector<std::size_t>{}, {cut_at % (count + 1)}}) {
            const fuzz::Decoded decoded = fuzz::decode(coded.data, classes, cuts, options.threads, path);
            fuzz::require(decoded.error.empty(), "what was coded can be decoded", path);
            for (std::size_t i = 0; i < count; ++i)
                fuzz::require(decoded.symbols[i] == symbols[i], "the symbols come back", path);
        }
    }
    return 0;
}
