// posterior_sample: every path and any number of threads give, for any step, address and in any two parts, what one
// position at a time gives, which is a category; a state out of range is the same error.
//
// Input: seed, stream, offset (8 bytes each), transition (1), categories (1), mode (1: bit 0 takes two threads, bit 1 leaves
// states out of range as they come, bits 2..4 shift logits to the right), depths (1), four shares and own (8 each), rows
// (2), cut (2), states and logits (the rest: a byte and K words a row, over again from the start where it ends).
#include <algorithm>

#include "dispatch.hpp"
#include "duoview/octave_table.hpp"
#include "duoview/philox.hpp"
#include "duoview/posterior.hpp"
#include "input.hpp"
#include "palette_calls.hpp"

namespace {

constexpr std::size_t kMostNumbers = 12000;  // of logits: several blocks of positions where K is small

// Shares as kernels/palette.py makes them at most: together at most 1, which is 2^63.
std::uint64_t share(fuzz::Input& input, std::uint64_t& left) {
    const std::uint64_t value = std::min(input.number<std::uint64_t>() >> 1, left);
    left -= value;
    return value;
}

duoview::PosteriorStep step_of(fuzz::Input& input, std::uint8_t& mode) {
    duoview::PosteriorStep step{};
    step.transition = static_cast<duoview::Transition>(input.number<std::uint8_t>() % 3);
    step.categories = input.number<std::uint8_t>() + 1u;
    mode = input.number<std::uint8_t>();
    const std::uint32_t depths = input.number<std::uint8_t>();
    std::uint64_t left = std::uint64_t{1} << 63;
    step.model = share(input, left);
    step.flat = share(input, left);
    step.stay = share(input, left);
    step.agree = share(input, left);
    const std::uint64_t own = input.number<std::uint64_t>() % ((std::uint64_t{1} << 32) + 1);
    step.own = own == 0 ? 1 : own;
    step.masked = own;
    if (step.transition == duoview::Transition::absorbing) step.categories = std::min(step.categories, 255u);
    if (step.transition == duoview::Transition::tree) {
        step.leaf_depth = (step.categories - 1) % 8 + 1;
        step.categories = 1u << step.leaf_depth;
        step.depth = depths % step.leaf_depth;
        step.next_depth = step.depth + 1 + depths / 16 % (step.leaf_depth - step.depth);
    }
    return step;
}

std::uint32_t most_states(const duoview::PosteriorStep& step) {
    switch (step.transition) {
        case duoview::Transition::tree: return 1u << step.depth;
        case duoview::Transition::absorbing: return step.categories + 1;
        default: return step.categories;
    }
}

std::uint32_t most_results(const duoview::PosteriorStep& step) {
    return step.transition == duoview::Transition::tree ? 1u << step.next_depth : most_states(step);
}

std::uint8_t expected_at(const duoview::PosteriorStep& step, const duoview::NoiseAddress& address, std::size_t i,
                         const std::int16_t* row, std::uint8_t state) {
    const std::uint64_t at = 2 * (address.offset + i);
    const duoview::PhiloxBlock block = duoview::philox_at(address.seed, address.stream, at / 4);
    return duoview::posterior_at(step, row, state, block.word[at % 4], block.word[at % 4 + 1], duoview::kOctaveCoarse,
                                 duoview::kOctaveFine);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const duoview::NoiseAddress wanted = fuzz::address(input);
    std::uint8_t mode = 0;
    const duoview::PosteriorStep step = step_of(input, mode);
    const std::size_t rows = input.number<std::uint16_t>();
    const std::size_t cut_at = input.number<std::uint16_t>();
    std::vector<std::uint8_t> bytes = input.rest();
    if (bytes.empty()) bytes.push_back(0);
    const std::size_t count = std::min(rows, kMostNumbers / step.categories);
    const std::size_t threads = mode & 1 ? 2 : 1;
    const duoview::NoiseAddress address = fuzz::within(wanted, count, ~std::uint64_t{0} >> 1);
    const std::size_t cut = cut_at % (count + 1);

    fuzz::Array<std::int16_t> logits(count * step.categories);
    fuzz::Array<std::uint8_t> states(count), expected(count);
    bool valid = true;
    std::size_t next = 0;
    const auto byte = [&] { return bytes[next++ % bytes.size()]; };
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t state = byte();
        states[i] = static_cast<std::uint8_t>(mode & 2 ? state : state % most_states(step));
        valid = valid && states[i] < most_states(step);
        std::int16_t* const row = logits.data() + i * step.categories;
        for (std::uint32_t k = 0; k < step.categories; ++k) {
            const std::uint32_t low = byte();
            row[k] = static_cast<std::int16_t>(static_cast<std::int16_t>(low | byte() << 8) >> (mode >> 2 & 7));
        }
        if (valid) expected[i] = expected_at(step, address, i, row, states[i]);
        if (valid) fuzz::require(expected[i] < most_results(step), "a result is a category");
    }
    std::string first_error;
    for (const std::string& path : duoview::paths()) {
        const duoview::PaletteKernels kernels = duoview::choose_palette(path);
        fuzz::Array<std::uint8_t> whole(count), front(cut), back(count - cut);
        const std::string error = fuzz::error_of([&] {
            duoview::posterior_sample(kernels, step, address, logits.data(), states.data(), count, threads, whole.data());
        });
        fuzz::require(error.empty() == valid, "an error is due exactly where a state is out of range", path);
        if (first_error.empty()) first_error = error;
        fuzz::require(error == first_error, "paths give the same error", path);
        if (!valid) continue;
        fuzz::require(whole == expected, "results are those of their positions", path);
        duoview::posterior_sample(kernels, step, address, logits.data(), states.data(), cut, 1, front.data());
        duoview::posterior_sample(kernels, step, fuzz::advanced(address, cut), logits.data() + cut * step.categories,
                                  states.data() + cut, count - cut, 1, back.data());
        for (std::size_t i = 0; i < count; ++i)
            fuzz::require((i < cut ? front[i] : back[i - cut]) == expected[i], "parts are the whole", path);
    }
    return 0;
}
