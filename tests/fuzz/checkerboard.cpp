// The loops between exact networks and the entropy coder: the halves of any planes are a partition of them, in coding order
// and as long as their formula says; symbols are the nearest ones or, where the margin says so, one lower, and decode to the
// same values on both sides; what cannot be coded is an error.
//
// Input: channels, height, width (1 byte each, of 0..12), mode (1: bit 0 gives what to keep, bit 1 makes values of halves
// and quarters, bit 2 leaves classes and numbers as they come), margin (4, a float32, 0 where it is not within 0..1), value
// (4), mean (2), class and keep (1) of each position.
#include "checkerboard.hpp"

#include <cmath>
#include <cstring>

#include "duoview/rans.hpp"
#include "input.hpp"
#include "palette_calls.hpp"

namespace {

float any_float(fuzz::Input& input) {
    const std::uint32_t bits = input.number<std::uint32_t>();
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Planes {
    duoview::PlaneShape shape;
    fuzz::Array<float> values;
    fuzz::Array<std::uint8_t> classes;
    fuzz::Array<std::int16_t> means;
    fuzz::Array<std::uint8_t> keep;
    bool keeps;

    Planes(fuzz::Input& input, const duoview::PlaneShape& planes, std::uint8_t mode)
        : shape(planes),
          values(planes.channels * planes.height * planes.width),
          classes(values.size()),
          means(values.size()),
          keep(planes.height * planes.width),
          keeps(mode & 1) {
        for (std::size_t i = 0; i < keep.size(); ++i) keep[i] = 1;
        for (std::size_t i = 0; i < values.size(); ++i) {
            values[i] = mode & 2 ? static_cast<float>(input.number<std::int16_t>()) / 4.0f : any_float(input);
            means[i] = input.number<std::int16_t>();
            const std::uint8_t last = input.number<std::uint8_t>();
            classes[i] = mode & 4 ? last : static_cast<std::uint8_t>(last % duoview::kGaussianClasses);
            if (!(mode & 4) && !std::isfinite(values[i])) values[i] = 0.0f;
            keep[i % keep.size()] = last < 128 ? static_cast<std::uint8_t>(last + 1) : std::uint8_t{0};
        }
    }

    bool codable(std::size_t i) const { return std::isfinite(values[i]) && classes[i] < duoview::kGaussianClasses; }
    bool coded(std::size_t i) const { return classes[i] != 0 && (!keeps || keep[i % keep.size()] != 0); }
};

// Numbers of the positions of a half in coding order, by a gather of the numbers themselves.
std::vector<std::size_t> places(const duoview::PlaneShape& shape, std::size_t half) {
    fuzz::Array<std::int16_t> numbers(shape.channels * shape.height * shape.width);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int16_t>(i);
    fuzz::Array<std::int16_t> gathered(duoview::half_positions(shape, half));
    duoview::gather_half(shape, half, numbers.data(), gathered.data());
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < gathered.size(); ++i) {
        out.push_back(static_cast<std::size_t>(gathered[i]));
        fuzz::require(i == 0 || out[i - 1] < out[i], "coding order is that of memory");
    }
    return out;
}

void check_symbol(float value, std::int16_t mean, float margin, std::int16_t symbol) {
    const double rest = static_cast<double>(value - static_cast<float>(mean) / 16.0f);
    const double magnitude = std::fabs(rest), level = std::abs(int{symbol});
    fuzz::require(symbol == 0 || (rest < 0) == (symbol < 0), "a symbol has the sign of its distance");
    if (magnitude > 32766.0) {
        fuzz::require(level >= 32766, "what is beyond 16 bits is the last symbol or the one before");
        return;
    }
    // In float32 a sum may round over a midpoint: 1 / 256 is its unit at the largest magnitudes.
    fuzz::require(level - magnitude <= 0.5 + 1.0 / 256, "no symbol is above the nearest");
    fuzz::require(magnitude - level <= 0.5 + 1.0 / 256 || (margin > 0.0f && magnitude - level <= 1.5 + 1.0 / 256),
                  "a symbol is at most one below the nearest, and only with a margin");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    duoview::PlaneShape shape{};
    shape.channels = input.number<std::uint8_t>() % 13;
    shape.height = input.number<std::uint8_t>() % 13;
    shape.width = input.number<std::uint8_t>() % 13;
    const std::uint8_t mode = input.number<std::uint8_t>();
    float margin = any_float(input);
    if (!(margin >= 0.0f && margin <= 1.0f)) margin = 0.0f;
    const Planes planes(input, shape, mode);
    const std::size_t total = planes.values.size();
    fuzz::Array<float> margins(duoview::kGaussianClasses);
    for (std::size_t k = 0; k < margins.size(); ++k) margins[k] = margin;

    std::vector<int> seen(total, 0);
    for (std::size_t half = 0; half < 2; ++half) {
        const std::vector<std::size_t> at = places(shape, half);
        bool codable = true;
        for (const std::size_t i : at) {
            ++seen[i];
            codable = codable && planes.codable(i);
        }
        fuzz::Array<std::int16_t> symbols(total), read(total), coded(at.size());
        fuzz::Array<float> decoded(total), decoded_again(total);
        const std::string error = fuzz::error_of([&] {
            duoview::quantise_half({shape, half, planes.values.data(), planes.classes.data(), planes.means.data(), margins.data(),
                                    planes.keeps ? planes.keep.data() : nullptr, symbols.data(), decoded.data()});
        });
        fuzz::require(error.empty() == codable, "an error is due exactly where something cannot be coded");
        if (!codable) continue;
        duoview::gather_half(shape, half, symbols.data(), coded.data());
        duoview::dequantise_half(shape, half, coded.data(), planes.means.data(), read.data(), decoded_again.data());
        for (const std::size_t i : at) {
            fuzz::require(read[i] == symbols[i] && decoded_again[i] == decoded[i], "both sides have the same values");
            if (planes.coded(i)) check_symbol(planes.values[i], planes.means[i], margin, symbols[i]);
            else fuzz::require(symbols[i] == 0, "what is not coded is 0");
        }
    }
    for (const int times : seen) fuzz::require(times == 1, "every position is in one half");
    return 0;
}
