// A standard normal from 32 uniform bits, by integers only: the same float32 on every device.
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

static constexpr float kNormalUnit = 1.0f / 2097152.0f;  // 2^-21, the unit of the table
static constexpr int kNormalStepBits = 7;                // 128 entries per octave

DUOVIEW_HD std::uint32_t leading_zeros(std::uint32_t value) {  // value != 0
#if defined(__CUDA_ARCH__)
    return static_cast<std::uint32_t>(__clz(static_cast<int>(value)));
#else
    return static_cast<std::uint32_t>(__builtin_clz(value));
#endif
}

// `quantiles` is kNormalQuantile (normal_table.hpp, which says what it holds). The top bit is the sign, the others the tail
// probability. A value is an integer below 2^24 times a power of two, so that the conversion to float is exact.
DUOVIEW_HD float normal_from_bits(std::uint32_t bits, const std::int32_t* quantiles) {
    const std::uint32_t w = bits << 1 | 1u;
    const std::uint32_t zeros = leading_zeros(w);
    const std::uint32_t scaled = w << zeros;
    const std::uint32_t index = (31u - zeros) << kNormalStepBits | (scaled >> 24 & 0x7Fu);
    const std::int32_t upper = quantiles[index];
    const std::uint32_t drop = static_cast<std::uint32_t>(upper - quantiles[index + 1]);  // < 2^15
    const std::uint32_t fraction = scaled >> 8 & 0xFFFFu;
    const std::int32_t magnitude = upper - static_cast<std::int32_t>((drop * fraction + 0x8000u) >> 16);
    return static_cast<float>(bits >> 31 ? -magnitude : magnitude) * kNormalUnit;
}

}  // namespace duoview
