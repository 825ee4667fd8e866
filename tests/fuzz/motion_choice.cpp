// The choice of vectors: each cell takes, of what it is offered, the first of least error and bits, beside what was taken to the
// left and above; an error is due exactly where an error is no number, or a first vector not 0.
//
// Input: rows, columns (1 byte each, of 0..5), vectors offered (1, of 1..5), mode (1: bit 0 leaves errors as they come, bit 1 the
// first vectors), worth (2, in 1/256), prices (1 each, in 1/4: stay, same, other, length), then bytes that are repeated:
// of errors (4 each, a float, or the first 1 a number), then of vectors offered and of those before (1 each, of -4..4 for even
// ones, of all for odd ones).
#include "motion_choice.hpp"

#include <cmath>
#include <cstdlib>

#include "input.hpp"
#include "palette_calls.hpp"

namespace {

int length(int difference) {
    int bits = 0;
    while ((1 << bits) <= std::abs(difference)) ++bits;
    return bits;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::size_t rows = input.number<std::uint8_t>() % 6, columns = input.number<std::uint8_t>() % 6;
    const std::size_t count = 1 + input.number<std::uint8_t>() % 5, cells = rows * columns;
    const std::uint8_t mode = input.number<std::uint8_t>();
    const float worth = static_cast<float>(input.number<std::uint16_t>()) / 256;
    double prices[4];
    for (double& price : prices) price = input.number<std::uint8_t>() / 4.0;
    std::vector<std::uint8_t> rest = input.rest();
    if (rest.empty()) rest.push_back(0);
    fuzz::Array<float> errors(count * cells);
    fuzz::Array<std::int8_t> offered(2 * count * cells), before(2 * cells), found(2 * cells);
    for (std::size_t i = 0; i < errors.size(); ++i) {
        std::uint32_t bits = 0;
        for (std::size_t k = 0; k < 4; ++k) bits |= static_cast<std::uint32_t>(rest[(4 * i + k) % rest.size()]) << 8 * k;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        errors[i] = mode & 1 ? value : static_cast<float>(bits & 255);
    }
    const auto component = [&](std::size_t i) {
        const int byte = rest[rest.size() - 1 - i % rest.size()];
        return static_cast<std::int8_t>(byte % 2 == 0 ? byte / 2 % 9 - 4 : byte - 128);
    };
    for (std::size_t i = 0; i < offered.size(); ++i) offered[i] = i < 2 * cells && !(mode & 2) ? std::int8_t{0} : component(i);
    for (std::size_t i = 0; i < before.size(); ++i) before[i] = component(offered.size() + 3 * i);
    bool possible = true;
    for (std::size_t i = 0; i < errors.size(); ++i) possible = possible && !std::isnan(errors[i]);
    for (std::size_t i = 0; i < 2 * cells; ++i) possible = possible && offered[i] == 0;

    const std::string error = fuzz::error_of([&] {
        duoview::choose_motion({offered.data(), errors.data(), before.data(), count, rows, columns, worth,
                                {prices[0], prices[1], prices[2], prices[3]}, found.data()});
    });
    fuzz::require(error.empty() == possible, "an error is due exactly where something cannot be");
    for (std::size_t cell = 0; possible && cell < cells; ++cell) {
        const auto moves = [](const std::int8_t* vector) { return vector[0] != 0 || vector[1] != 0; };
        const std::int8_t* expected = before.data() + 2 * cell;
        if (cell >= columns && moves(found.data() + 2 * (cell - columns))) expected = found.data() + 2 * (cell - columns);
        if (cell % columns != 0 && moves(found.data() + 2 * (cell - 1))) expected = found.data() + 2 * (cell - 1);
        std::size_t best = 0;
        double least = errors[cell] * worth + prices[0];
        for (std::size_t k = 1; k < count; ++k) {
            const std::int8_t* const vector = offered.data() + 2 * (k * cells + cell);
            const int dy = vector[0] - expected[0], dx = vector[1] - expected[1];
            const double bits = dy == 0 && dx == 0 && moves(expected) ? prices[1] : prices[2] + prices[3] * (length(dy) + length(dx));
            const double total = errors[k * cells + cell] * worth + bits;
            if (total < least) {
                least = total;
                best = k;
            }
        }
        const std::int8_t* const vector = offered.data() + 2 * (best * cells + cell);
        fuzz::require(found[2 * cell] == vector[0] && found[2 * cell + 1] == vector[1], "the vector is the first of least cost");
    }
    return 0;
}
