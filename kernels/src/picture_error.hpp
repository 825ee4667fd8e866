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

// What takes the place of a latent, and what it gains.
struct PictureGainJob {
    const float* wanted;           // (channels, height, width), as the other two
    const float *before, *after;
    const float* weights;          // as above
    std::size_t channels, height, width;
    std::size_t threads;
    float* out;                    // (height / 2, width / 2)
};

// The error of `wanted` less `before`, less that of `wanted` less `after`. Nothing is computed where the two are the same in all
// that a result depends on: 0 is what is gained there.
void picture_gain(const PictureGainJob& job, PictureFormFunction form);

}  // namespace duoview
