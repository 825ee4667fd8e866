#include "rans_tables.hpp"

#include <new>
#include <stdexcept>
#include <string>

#include "duoview/gaussian_table.hpp"

namespace duoview {
namespace {

// log2(value) in 1/256, rounded down, for 1 <= value <= 4096: integer squaring, since these numbers decide the number of
// lanes and with it the bytes of a stream.
std::uint32_t log2_fixed(std::uint32_t value) {
    std::uint32_t integer = 0;
    while (value >> (integer + 1)) ++integer;
    std::uint64_t mantissa = (std::uint64_t{value} << 30) >> integer;  // in [2^30, 2^31)
    std::uint32_t result = integer << 8;
    for (std::uint32_t bit = 128; bit; bit >>= 1) {
        mantissa = (mantissa * mantissa) >> 30;
        if (mantissa >> 31) {
            mantissa >>= 1;
            result |= bit;
        }
    }
    return result;
}

}  // namespace

std::vector<std::uint16_t> class_frequencies(std::uint32_t class_index) {
    std::vector<std::uint16_t> frequencies;
    if (class_index == 0) return frequencies;
    if (class_index >= kGaussianClasses) {
        const std::uint32_t one = 32 * (class_index - kGaussianClasses) + 16;  // P(1) = (i + 0.5) / 128
        frequencies = {static_cast<std::uint16_t>(kProbabilityScale - one), static_cast<std::uint16_t>(one)};
        return frequencies;
    }
    const std::uint16_t* half = kGaussianHalf;
    for (std::uint32_t k = 1; k < class_index; ++k) half += kGaussianWidth[k] + 1;
    const int width = kGaussianWidth[class_index];
    for (int symbol = -width; symbol <= width; ++symbol) frequencies.push_back(half[symbol < 0 ? -symbol : symbol]);
    frequencies.push_back(kGaussianEscape[class_index]);
    return frequencies;
}

RansTables::RansTables()
    : decode(static_cast<DecodeEntry*>(std::calloc(kTableRows * kProbabilityScale, sizeof(DecodeEntry)))),
      encode(kTableRows * kEncodeStride), escape{}, reciprocal{}, length{}, width{} {
    if (!decode) throw std::bad_alloc();
    for (std::uint32_t f = 1; f < kProbabilityScale; ++f) {
        reciprocal[f] = reciprocal_of(f);
        length[f] = static_cast<std::uint16_t>(kProbabilityBits * 256 - log2_fixed(f));
    }
    for (std::uint32_t k = 1; k < kClasses; ++k) {
        const bool gaussian = k < kGaussianClasses;
        width[k] = gaussian ? kGaussianWidth[k] : 0;
        std::int32_t symbol = -std::int32_t{width[k]};
        std::uint32_t start = 0;
        const std::vector<std::uint16_t> frequencies = class_frequencies(k);
        for (std::size_t i = 0; i < frequencies.size(); ++i, ++symbol) {
            const bool escaped = gaussian && i + 1 == frequencies.size();
            const std::uint32_t frequency = frequencies[i];
            if (frequency == 0 || frequency >= kProbabilityScale || start + frequency > kProbabilityScale)
                throw std::logic_error("frequencies of class " + std::to_string(k) + " do not sum to 4096");
            EncodeEntry& entry = escaped ? escape[k] : encode[k * kEncodeStride + static_cast<std::size_t>(symbol + kEncodeOffset)];
            entry = pack_encode_entry(start, frequency);
            for (std::uint32_t bias = 0; bias < frequency; ++bias)
                decode[k * kProbabilityScale + start + bias] = pack_decode_entry(frequency, bias, escaped ? kEscape : symbol);
            start += frequency;
        }
        if (start != kProbabilityScale)
            throw std::logic_error("frequencies of class " + std::to_string(k) + " do not sum to 4096");
    }
}

const RansTables& rans_tables() {
    static const RansTables tables;
    return tables;
}

}  // namespace duoview
