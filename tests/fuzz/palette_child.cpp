// sample_child: every path and any number of threads give, for any address and in any two parts, what one position at a
// time gives; anything out of range is the same error.
//
// Input: seed, stream, offset (8 bytes each), mode (1: bit 0 takes two threads, bit 1 leaves bytes out of range as they
// come), repeats (1, of 1..64), cut (2), then node (1) and class (1) of each position. At most 20000 positions.
#include <algorithm>

#include "dispatch.hpp"
#include "duoview/palette.hpp"
#include "duoview/philox.hpp"
#include "input.hpp"
#include "palette_calls.hpp"

namespace {

constexpr std::size_t kMost = 20000;  // several blocks

std::uint8_t expected_at(const duoview::NoiseAddress& address, std::size_t i, std::uint8_t node, std::uint8_t child_class) {
    const std::uint64_t half = address.offset + i;
    const std::uint32_t word = duoview::philox_at(address.seed, address.stream, half / 8).word[half / 2 % 4];
    return duoview::child_of(node, child_class, duoview::half_word(word, half % 2));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const duoview::NoiseAddress wanted = fuzz::address(input);
    const std::uint8_t mode = input.number<std::uint8_t>();
    const std::size_t threads = mode & 1 ? 2 : 1;
    const std::size_t repeats = input.number<std::uint8_t>() % 64 + 1;
    const std::size_t cut_at = input.number<std::uint16_t>();
    const std::vector<std::uint8_t> pairs = input.rest();
    const std::size_t unit = pairs.size() / 2;
    const std::size_t count = std::min(unit * repeats, kMost);
    const duoview::NoiseAddress address = fuzz::within(wanted, count, ~std::uint64_t{0});
    const std::size_t cut = cut_at % (count + 1);

    fuzz::Array<std::uint8_t> nodes(count), classes(count), expected(count);
    bool valid = true;
    for (std::size_t i = 0; i < count; ++i) {
        nodes[i] = pairs[i % unit * 2];
        classes[i] = pairs[i % unit * 2 + 1];
        if (!(mode & 2)) {
            nodes[i] = static_cast<std::uint8_t>(nodes[i] % (duoview::kLastParent + 1));
            classes[i] = static_cast<std::uint8_t>(classes[i] % 128 + duoview::kFirstChildClass);
        }
        valid = valid && nodes[i] <= duoview::kLastParent && classes[i] >= duoview::kFirstChildClass &&
                classes[i] <= duoview::kLastChildClass;
        if (valid) expected[i] = expected_at(address, i, nodes[i], classes[i]);
    }
    std::string first_error;
    for (const std::string& path : duoview::paths()) {
        const duoview::PaletteKernels kernels = duoview::choose_palette(path);
        fuzz::Array<std::uint8_t> whole(count), front(cut), back(count - cut);
        const std::string error = fuzz::error_of([&] {
            duoview::sample_child(kernels, address, nodes.data(), classes.data(), count, threads, whole.data());
        });
        fuzz::require(error.empty() == valid, "an error is due exactly where something is out of range", path);
        if (first_error.empty()) first_error = error;
        fuzz::require(error == first_error, "paths give the same error", path);
        if (!valid) continue;
        fuzz::require(whole == expected, "children are those of their positions", path);
        duoview::sample_child(kernels, address, nodes.data(), classes.data(), cut, 1, front.data());
        duoview::sample_child(kernels, fuzz::advanced(address, cut), nodes.data() + cut, classes.data() + cut, count - cut, 1,
                              back.data());
        for (std::size_t i = 0; i < count; ++i)
            fuzz::require((i < cut ? front[i] : back[i - cut]) == expected[i], "parts are the whole", path);
    }
    return 0;
}
