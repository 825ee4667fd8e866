// Motion of the cells of a plane against the plane before it: vectors in half pixels, and what they bring.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/motion_rules.hpp"

namespace duoview {

struct BlockMotionJob {
    const std::uint8_t* previous;  // height rows of width samples each, without gaps
    const std::uint8_t* current;
    std::size_t height, width;  // multiples of cell
    std::size_t cell;           // 8, 16 or 32
    int reach;                  // 1..32 whole pixels
    std::size_t threads;        // any number gives the same
    std::int8_t* vectors;       // (height / cell, width / cell, 2): dy, dx
    std::uint32_t* sums;        // the same shape: sum of absolute differences at zero, and at the vector
};

// Throws std::invalid_argument if the cell, the reach or a side is none of these.
void block_motion(const BlockMotionJob& job);

}  // namespace duoview
