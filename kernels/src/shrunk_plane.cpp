#include "shrunk_plane.hpp"

#include <algorithm>
#include <cstring>

namespace duoview {

ShrunkPlane::ShrunkPlane(const std::uint8_t* plane, std::size_t height, std::size_t width, int border)
    : plane_(plane),
      height_(height / kFactor),
      width_(width / kFactor),
      border_(border),
      stride_(static_cast<std::ptrdiff_t>(width_) + 2 * border),
      samples_(new std::uint8_t[(height_ + 2 * static_cast<std::size_t>(border)) * static_cast<std::size_t>(stride_)]) {}

void ShrunkPlane::shrink_rows(std::size_t first, std::size_t last) {
    constexpr std::size_t kStrip = 512;  // columns whose sums are kept on the stack
    const std::size_t full = width_ * kFactor, border = static_cast<std::size_t>(border_);
    const std::size_t stride = static_cast<std::size_t>(stride_);
    std::uint16_t sums[kStrip];
    for (std::size_t y = first; y < last; ++y) {
        std::uint8_t* const row = samples_.get() + (y + border) * stride;
        const std::uint8_t* const source = plane_ + y * kFactor * full;
        for (std::size_t begin = 0; begin < full; begin += kStrip) {
            const std::size_t count = std::min(kStrip, full - begin);
            const std::uint8_t* const strip = source + begin;
            for (std::size_t x = 0; x < count; ++x)
                sums[x] = static_cast<std::uint16_t>(strip[x] + strip[full + x] + strip[2 * full + x] + strip[3 * full + x]);
            std::uint8_t* const out = row + border + begin / kFactor;
            for (std::size_t x = 0; x < count / kFactor; ++x) {
                const std::uint16_t* const four = sums + kFactor * x;
                out[x] = static_cast<std::uint8_t>(static_cast<std::uint16_t>(four[0] + four[1] + four[2] + four[3] + 8) >> 4);
            }
        }
        std::memset(row, row[border], border);
        std::memset(row + border + width_, row[border + width_ - 1], border);
        const bool top = y == 0, bottom = y + 1 == height_;
        for (std::size_t copy = 1; top && copy <= border; ++copy) std::memcpy(row - copy * stride, row, stride);
        for (std::size_t copy = 1; bottom && copy <= border; ++copy) std::memcpy(row + copy * stride, row, stride);
    }
}

}  // namespace duoview
