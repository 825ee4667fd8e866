// Errors of offered vectors: every path and any number of threads give, for any latents, weights and vectors, what the
// definition gives in 64 bits, or the same error; an error is due exactly where something is not finite or out of its range. A
// GPU's warps, lane by lane, give the same.
//
// Input: channels (1 byte, picks one of 1, 2, 3, 8, 9, 17 and 25), rows, columns (1 each, of 0..3 cells), vectors offered (1, of
// 0..4), mode (1: bit 0 leaves weights and latents as they come, bit 1 vectors), the exponent of weights (1, signed), weights of
// a pattern (1), each (4, a float, or the first 2 a number), vectors of a pattern (1, of 1..8), each dy and dx (1 each, signed),
// the rest floats or numbers in 1/1024 of latents, of what is wanted and of the state in turn.
#include "vector_errors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "input.hpp"
#include "palette_calls.hpp"
#include "warp_run.hpp"

namespace {

constexpr std::size_t kChannels[] = {1, 2, 3, 8, 9, 17, 25};

float as_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

std::int64_t fixed(float value, int limit) {
    return static_cast<std::int64_t>(std::clamp(std::nearbyint(double{value} * 64), -double(limit), double(limit)));
}

struct Given {
    std::size_t channels, rows, columns, count;
    fuzz::Array<float> weights, wanted, state;
    fuzz::Array<std::int8_t> offered;

    std::size_t plane() const { return 4 * rows * columns; }
    std::size_t place(std::size_t channel, std::size_t cell, std::size_t at) const {
        return channel * plane() + (cell / columns * 2 + at / 2) * 2 * columns + cell % columns * 2 + at % 2;
    }
    const std::int8_t* vector(std::size_t k, std::size_t cell) const { return offered.data() + 2 * (k * rows * columns + cell); }
    bool moves(std::size_t cell) const {
        for (std::size_t k = 0; k < count; ++k)
            if (vector(k, cell)[0] != 0 || vector(k, cell)[1] != 0) return true;
        return false;
    }
};

// Differences of four positions from their mean, and the mean: what the transform of the kernel comes from.
float defined(const Given& given, const duoview::ShiftOperators& operators, int bits, std::size_t k, std::size_t cell) {
    const std::int8_t* const vector = given.vector(k, cell);
    for (std::size_t before = 0; before < k; ++before)
        if (given.vector(before, cell)[0] == vector[0] && given.vector(before, cell)[1] == vector[1])
            return std::numeric_limits<float>::infinity();
    std::vector<std::int16_t> state(given.state.size()), found(4 * given.channels);
    for (std::size_t i = 0; i < state.size(); ++i) state[i] = static_cast<std::int16_t>(fixed(given.state[i], 1024));
    for (std::size_t i = 0; i < found.size(); ++i) found[i] = state[given.place(i / 4, cell, i % 4)];
    if (vector[0] != 0 || vector[1] != 0)
        operators.shift({state.data(), 2 * given.rows, 2 * given.columns},
                        {{static_cast<std::int64_t>(cell / given.columns), static_cast<std::int64_t>(cell % given.columns), vector[0],
                          vector[1]}},
                        1, found.data());
    std::vector<std::int64_t> difference(found.size()), sum(given.channels);
    for (std::size_t i = 0; i < found.size(); ++i) {
        difference[i] = fixed(given.wanted[given.place(i / 4, cell, i % 4)], 2048) - found[i];
        sum[i / 4] += difference[i];
    }
    std::int64_t apart = 0, mean = 0;
    for (std::size_t i = 0; i < given.channels; ++i) {
        for (std::size_t j = 0; j < given.channels; ++j) {
            const auto weight = [&](std::size_t matrix) {
                const float value = given.weights[(matrix * given.channels + i) * given.channels + j];
                return static_cast<std::int64_t>(std::round(std::ldexp(double{value}, bits)));
            };
            for (std::size_t at = 0; at < 4; ++at)
                apart += (4 * difference[4 * i + at] - sum[i]) * weight(0) * (4 * difference[4 * j + at] - sum[j]);
            mean += sum[i] * weight(1) * sum[j];
        }
    }
    fuzz::require(apart % 4 == 0, "differences from a mean add up to nothing");
    return static_cast<float>(std::ldexp(static_cast<double>(apart / 4 + mean), -bits - 16));
}

// What kernels/cuda_shift.py launches; returns the error word.
std::uint64_t measure_by_warps(const Given& given, const duoview::ShiftOperators& operators, const duoview::ErrorForms& forms,
                               float* errors) {
    using namespace duoview;
    const std::uint64_t positions = given.plane(), words = (given.channels + 1) / 2 * positions;
    fuzz::Array<std::uint32_t> wanted(words), state(words);
    std::uint64_t error = kNoError;
    const auto round = [&](const fuzz::Array<float>& latent, std::uint32_t* rounded, int limit, DeviceFault fault) {
        fuzz::run(RoundLatent{latent.data(), rounded, given.channels, positions, static_cast<std::uint64_t>(limit),
                              static_cast<std::uint64_t>(fault), &error}, tiles_of(words));
    };
    round(given.wanted, wanted.data(), kWantedLimit, DeviceFault::wanted_not_finite);
    round(given.state, state.data(), kShiftLimit, DeviceFault::state_not_finite);
    const std::vector<std::int16_t> summed = operators.summed(), integers = forms.integers();
    std::vector<std::uint32_t> table(summed.size() / 2);
    std::memcpy(table.data(), summed.data(), summed.size() * sizeof(std::int16_t));
    fuzz::run(VectorErrors{wanted.data(), state.data(), given.offered.data(), table.data(), integers.data(), errors, given.count,
                           given.channels, 2 * given.rows, 2 * given.columns, std::ldexp(1.0, -forms.unit_bits()), &error},
              given.count * given.rows * given.columns);
    return error;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::size_t channels = kChannels[input.number<std::uint8_t>() % 7];
    const std::size_t rows = input.number<std::uint8_t>() % 4, columns = input.number<std::uint8_t>() % 4;
    const std::size_t count = input.number<std::uint8_t>() % 5;
    const std::uint8_t mode = input.number<std::uint8_t>();
    const int exponent = input.number<std::int8_t>();
    std::vector<float> pattern(1 + input.number<std::uint8_t>());
    for (float& weight : pattern) {
        const auto bits = input.number<std::uint32_t>();
        weight = mode & 1 ? as_float(bits) : std::ldexp(static_cast<float>(static_cast<std::int16_t>(bits)), exponent % 64);
    }
    std::vector<std::int8_t> pool(2 * (1 + input.number<std::uint8_t>() % 8));
    for (std::int8_t& component : pool) {
        const int number = input.number<std::int8_t>();
        component = static_cast<std::int8_t>(mode & 2 ? number : number % 65);
    }
    const std::vector<std::uint8_t> rest = input.rest();
    const std::size_t plane = 4 * rows * columns;
    Given given{channels, rows, columns, count, fuzz::Array<float>(2 * channels * channels), fuzz::Array<float>(channels * plane),
                fuzz::Array<float>(channels * plane), fuzz::Array<std::int8_t>(2 * count * rows * columns)};
    for (std::size_t i = 0; i < given.weights.size(); ++i) given.weights[i] = pattern[i % pattern.size()];
    for (std::size_t i = 0; i < 2 * channels * plane; ++i) {
        std::uint32_t bits = 0;
        for (std::size_t k = 0; k < 4; ++k)
            bits |= rest.empty() ? 0u : static_cast<std::uint32_t>(rest[(4 * i + k) % rest.size()]) << 8 * k;
        const float value = mode & 1 ? as_float(bits) : static_cast<float>(static_cast<std::int16_t>(bits)) / 1024;
        (i % 2 == 0 ? given.wanted : given.state)[i / 2] = value;
    }
    for (std::size_t i = 0; i < given.offered.size() / 2; ++i) {
        const std::size_t from = (i + (rest.empty() ? 0 : rest[i % rest.size()])) % (pool.size() / 2);
        given.offered[2 * i] = pool[2 * from];
        given.offered[2 * i + 1] = pool[2 * from + 1];
    }

    bool weights_finite = true, any = false, vectors_fit = true, state_finite = true, wanted_finite = true;
    for (std::size_t i = 0; i < given.weights.size(); ++i) weights_finite = weights_finite && std::isfinite(given.weights[i]);
    for (std::size_t i = 0; i < given.offered.size(); ++i) {
        any = any || given.offered[i] != 0;
        vectors_fit = vectors_fit && std::abs(int{given.offered[i]}) <= 64;
    }
    for (std::size_t i = 0; i < given.state.size(); ++i) {
        state_finite = state_finite && std::isfinite(given.state[i]);
        wanted_finite = wanted_finite && std::isfinite(given.wanted[i]);
    }
    // Whoever owns a latent may have mended it by the time that its error is told.
    if (state_finite)
        fuzz::require(!fuzz::error_of([&] { duoview::refuse_not_finite("state", {given.state.data(), 2 * rows, 2 * columns}, channels); })
                           .empty(), "what became finite is an error as well");
    const bool possible = !any || (vectors_fit && state_finite && wanted_finite);

    std::vector<std::int16_t> shifts(81 * 9 * channels * channels);
    for (std::size_t i = 0; i < shifts.size(); ++i) shifts[i] = static_cast<std::int16_t>(static_cast<int>(i * 2654435761u >> 24 & 63) - 32);
    std::string first;
    fuzz::Array<float> expected(count * rows * columns);
    bool known = false;
    for (const std::string& path : duoview::all_paths()) {
        const duoview::ShiftOperators operators(shifts.data(), channels, duoview::choose_shift(path));
        std::unique_ptr<duoview::ErrorForms> forms;
        std::string error = fuzz::error_of([&] {
            forms = std::make_unique<duoview::ErrorForms>(given.weights.data(), channels, duoview::choose_quadratic_form(path));
        });
        fuzz::require(error.empty() == weights_finite, "weights are refused exactly where one is not finite", path);
        if (forms && possible && !known) {
            for (std::size_t i = 0; i < expected.size(); ++i)
                expected[i] = given.moves(i % (rows * columns))
                                  ? defined(given, operators, forms->fraction_bits(), i / (rows * columns), i % (rows * columns))
                                  : std::numeric_limits<float>::infinity();
            known = true;
        }
        if (forms && path == duoview::paths().front()) {
            fuzz::Array<float> found(expected.size());
            const bool right = measure_by_warps(given, operators, *forms, found.data()) == duoview::kNoError;
            const bool all_fit = vectors_fit && state_finite && wanted_finite;
            fuzz::require(right == all_fit, "warps find an error exactly where something cannot be, whatever moves");
            if (possible) fuzz::require(found == expected, "warps find the errors of the definition");
        }
        for (std::size_t threads = 1; forms && threads <= 3; threads += 2) {
            fuzz::Array<float> found(expected.size());
            error = fuzz::error_of([&] {
                duoview::vector_errors(operators, *forms, {given.wanted.data(), given.state.data(), given.offered.data(), count,
                                                           2 * rows, 2 * columns, threads, found.data()});
            });
            fuzz::require(error.empty() == possible, "an error is due exactly where something cannot be", path);
            if (error.empty()) fuzz::require(found == expected, "errors are as defined", path);
        }
        if (first.empty()) first = error;
        fuzz::require(error == first, "every path has the same error", path);
    }
    return 0;
}
