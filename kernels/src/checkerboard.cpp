#include "checkerboard.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

// Element i of the planes, at `at` of the picture. Throws std::invalid_argument for one that cannot be quantised.
void quantise_element(const QuantiseJob& job, std::size_t i, std::size_t at) {
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
}

#ifdef __SSE2__
constexpr std::size_t kGroup = 8;  // columns, of which every second one is of the half

// Of eight bytes those at `first`, `first` + 2 and so on, as numbers of 32 bits.
__m128i every_second(const std::uint8_t* bytes, std::size_t first) {
    const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
    const __m128i four = first == 0 ? _mm_and_si128(pairs, _mm_set1_epi16(0xFF)) : _mm_srli_epi16(pairs, 8);
    return _mm_unpacklo_epi16(four, _mm_setzero_si128());
}

// What quantise_element does, for the four elements of the half among eight columns from element `i` on, operation by operation.
// False, and nothing written, where one of them cannot be quantised.
bool quantise_group(const QuantiseJob& job, std::size_t first, std::size_t i, std::size_t at) {
    const __m128i zero = _mm_setzero_si128(), classes = every_second(job.classes + i, first);
    const __m128 low = _mm_loadu_ps(job.values + i), high = _mm_loadu_ps(job.values + i + kGroup / 2);
    const __m128 values = first == 0 ? _mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0))
                                     : _mm_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1));
    const __m128i exponent = _mm_set1_epi32(0x7F800000);  // all of it in what is not finite
    const __m128i wrong = _mm_or_si128(_mm_cmpeq_epi32(_mm_and_si128(_mm_castps_si128(values), exponent), exponent),
                                       _mm_cmpgt_epi32(classes, _mm_set1_epi32(static_cast<int>(kGaussianClasses) - 1)));
    if (_mm_movemask_epi8(wrong) != 0) return false;
    const std::uint8_t* const k = job.classes + i + first;
    const __m128 margins = _mm_setr_ps(job.margins[k[0]], job.margins[k[2]], job.margins[k[4]], job.margins[k[6]]);
    const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(job.means + i));
    const __m128i means = _mm_srai_epi32(first == 0 ? _mm_slli_epi32(pairs, 16) : pairs, 16);
    const __m128 half = _mm_set1_ps(0.5f), one = _mm_set1_ps(1.0f), two = _mm_set1_ps(2.0f);
    const __m128 rest = _mm_sub_ps(values, _mm_mul_ps(_mm_cvtepi32_ps(means), _mm_set1_ps(kSixteenth)));
    const __m128 magnitude = _mm_andnot_ps(_mm_set1_ps(-0.0f), rest);
    __m128i symbols = _mm_cvttps_epi32(_mm_min_ps(_mm_add_ps(magnitude, half), _mm_set1_ps(kMostMagnitude)));
    const __m128 nearest = _mm_cvtepi32_ps(symbols);
    const __m128 lowered = _mm_mul_ps(margins, _mm_sub_ps(_mm_mul_ps(two, nearest), one));
    const __m128i below = _mm_castps_si128(_mm_cmplt_ps(magnitude, _mm_add_ps(_mm_sub_ps(nearest, half), lowered)));
    symbols = _mm_add_epi32(symbols, _mm_and_si128(below, _mm_cmpgt_epi32(symbols, zero)));  // -1 where both
    const __m128i negative = _mm_castps_si128(_mm_cmplt_ps(rest, _mm_setzero_ps()));
    symbols = _mm_sub_epi32(_mm_xor_si128(symbols, negative), negative);
    symbols = _mm_andnot_si128(_mm_cmpeq_epi32(classes, zero), symbols);
    if (job.keep != nullptr) symbols = _mm_andnot_si128(_mm_cmpeq_epi32(every_second(job.keep + at, first), zero), symbols);
    alignas(16) std::int32_t found[kGroup / 2];
    alignas(16) float decoded[kGroup / 2];
    _mm_store_si128(reinterpret_cast<__m128i*>(found), symbols);
    _mm_store_ps(decoded, _mm_cvtepi32_ps(_mm_add_epi32(_mm_slli_epi32(symbols, 4), means)));
    for (std::size_t n = 0; n < kGroup / 2; ++n) {
        job.symbols[i + first + 2 * n] = static_cast<std::int16_t>(found[n]);
        job.decoded[i + first + 2 * n] = decoded[n];
    }
    return true;
}
#endif

// The elements of the half in a row, whose first element is `i` of the planes and `at` of the picture.
void quantise_row(const QuantiseJob& job, std::size_t first, std::size_t i, std::size_t at) {
    std::size_t column = 0;
#ifdef __SSE2__
    while (job.shape.width - column >= kGroup && quantise_group(job, first, i + column, at + column)) column += kGroup;
#endif
    for (column += first; column < job.shape.width; column += 2) quantise_element(job, i + column, at + column);
}

}  // namespace

void quantise_half(const QuantiseJob& job) {
    const DefaultArithmetic guard;
    for (std::size_t channel = 0; channel < job.shape.channels; ++channel)
        for (std::size_t row = 0; row < job.shape.height; ++row) {
            const std::size_t at = row * job.shape.width;
            quantise_row(job, first_column(job.shape, channel, row, job.half),
                         channel * job.shape.height * job.shape.width + at, at);
        }
}

template <typename T>
void gather_half(const PlaneShape& shape, std::size_t half, const T* planes, T* out) {
    for_half(shape, half, [&](std::size_t i, std::size_t) { *out++ = planes[i]; });
}

template void gather_half(const PlaneShape&, std::size_t, const std::uint8_t*, std::uint8_t*);
template void gather_half(const PlaneShape&, std::size_t, const std::int16_t*, std::int16_t*);

void dequantise_half(const PlaneShape& shape, std::size_t half, const std::int16_t* coded, const std::int16_t* means,
                     std::int16_t* symbols, float* decoded) {
    for_half(shape, half, [&](std::size_t i, std::size_t) {
        symbols[i] = *coded;
        decoded[i] = dequantise_symbol(*coded++, means[i]);
    });
}

}  // namespace duoview
