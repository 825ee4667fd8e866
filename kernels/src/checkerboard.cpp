#include "checkerboard.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

#include "default_arithmetic.hpp"
#include "duoview/rans.hpp"

namespace duoview {
namespace {

// Calls body(index of the element in the planes, index in the picture) for every position of the half, in coding order.
template <typename Body>
void for_half(const PlaneShape& shape, std::size_t half, const Body& body) {
    for (std::size_t channel = 0; channel < shape.channels; ++channel) {
        for (std::size_t row = 0; row < shape.height; ++row) {
            const std::size_t in_picture = row * shape.width;
            const std::size_t in_planes = channel * shape.height * shape.width + in_picture;
            for (std::size_t column = first_column(shape, channel, row, half); column < shape.width; column += 2)
                body(in_planes + column, in_picture + column);
        }
    }
}

std::string place(const PlaneShape& shape, std::size_t index) {
    const std::size_t picture = shape.height * shape.width;
    return "[" + std::to_string(index / picture) + ", " + std::to_string(index % picture / shape.width) + ", " +
           std::to_string(index % shape.width) + "]";
}

}  // namespace

template <typename T>
void gather_half(const PlaneShape& shape, std::size_t half, const T* planes, T* out) {
    for_half(shape, half, [&](std::size_t i, std::size_t) { *out++ = planes[i]; });
}

template void gather_half(const PlaneShape&, std::size_t, const std::uint8_t*, std::uint8_t*);
template void gather_half(const PlaneShape&, std::size_t, const std::int16_t*, std::int16_t*);

void quantise_half(const QuantiseJob& job) {
    const DefaultArithmetic guard;
    for_half(job.shape, job.half, [&](std::size_t i, std::size_t at) {
        const std::uint32_t k = job.classes[i];
        const float value = job.values[i];
        if (k >= kGaussianClasses)
            throw std::invalid_argument("classes" + place(job.shape, i) + " is " + std::to_string(k) + "; Gaussian classes are 0..63");
        if (!std::isfinite(value))
            throw std::invalid_argument("values" + place(job.shape, i) + " is " + std::to_string(value) + "; finite numbers are needed");
        const std::int16_t mean = job.means[i];
        const bool coded = k != 0 && (job.keep == nullptr || job.keep[at] != 0);
        const std::int16_t symbol = coded ? quantise_symbol(value, mean, job.margins[k]) : std::int16_t{0};
        job.symbols[i] = symbol;
        job.decoded[i] = dequantise_symbol(symbol, mean);
    });
}

void dequantise_half(const PlaneShape& shape, std::size_t half, const std::int16_t* coded, const std::int16_t* means,
                     std::int16_t* symbols, float* decoded) {
    for_half(shape, half, [&](std::size_t i, std::size_t) {
        symbols[i] = *coded;
        decoded[i] = dequantise_symbol(*coded++, means[i]);
    });
}

}  // namespace duoview
