// A plane at a quarter of its height and width, with a border that repeats its edges: where a motion search begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "block_difference.hpp"
#include "duoview/motion_rules.hpp"

namespace duoview {

class ShrunkPlane {
public:
    static constexpr int kFactor = kShrunkFactor;

    // Height and width are multiples of kFactor. The border is in shrunk samples; samples are not set before shrink_rows.
    ShrunkPlane(const std::uint8_t* plane, std::size_t height, std::size_t width, int border);

    // Makes rows first .. last - 1 of the shrunk plane, with what the border repeats of them: different rows may be made at
    // the same time. A sample is the mean of 16, rounded, halves up.
    void shrink_rows(std::size_t first, std::size_t last);

    std::size_t height() const { return height_; }

    // May be read from -border to height + border - 1 and likewise in x.
    BlockView at(std::ptrdiff_t y, std::ptrdiff_t x) const {
        return {samples_.get() + (y + border_) * stride_ + x + border_, stride_};
    }

private:
    const std::uint8_t* plane_;
    std::size_t height_, width_;
    std::ptrdiff_t border_, stride_;
    std::unique_ptr<std::uint8_t[]> samples_;
};

}  // namespace duoview
