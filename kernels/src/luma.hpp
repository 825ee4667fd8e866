// A plane to look for motion in, of a picture in RGB.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

// (R + 2 G + B + 2) >> 2 of `count` samples of three planes.
inline void luma(const std::uint8_t* __restrict red, const std::uint8_t* __restrict green, const std::uint8_t* __restrict blue,
                 std::size_t count, std::uint8_t* __restrict out) {
    for (std::size_t i = 0; i < count; ++i)
        out[i] = static_cast<std::uint8_t>(static_cast<std::uint16_t>(red[i] + 2 * green[i] + blue[i] + 2) >> 2);
}

}  // namespace duoview
