// What error of the picture an error of its latent makes, place by place.
#pragma once

#include <cstddef>

#include "picture_form.hpp"

namespace duoview {

struct PictureErrorJob {
    const float* error;    // (channels, height, width)
    const float* weights;  // (2, channels, channels): for what differs from the mean of a position's neighbourhood, and for that
    std::size_t channels, height, width;  // sides are even
    std::size_t threads;                  // any number gives the same
    float* out;                           // (height / 2, width / 2)
};

void picture_error(const PictureErrorJob& job, PictureFormFunction form);

}  // namespace duoview
