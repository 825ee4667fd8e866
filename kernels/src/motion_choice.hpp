// Which of the vectors that are offered to cells is taken: cell by cell in the order of coding, by error and bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

// Bits, never negative, of a cell that stays; of one whose vector is the one that is expected; of another vector, and of every bit of the
// magnitudes of its difference from the expected one.
struct VectorPrices {
    double stay, same, other, length;
};

struct MotionChoiceJob {
    const std::int8_t* offered;  // (count, rows, columns, 2); the first ones are 0
    const float* errors;         // (count, rows, columns)
    const std::int8_t* before;   // (rows, columns, 2): of the frame before
    std::size_t count, rows, columns;
    float worth;                 // of an error, in bits
    VectorPrices prices;
    std::int8_t* vectors;        // (rows, columns, 2)
};

// Throws std::invalid_argument for an error that is no number, and for a first vector that is not 0, with their places.
void choose_motion(const MotionChoiceJob& job);

}  // namespace duoview
