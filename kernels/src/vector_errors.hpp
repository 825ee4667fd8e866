// What error the vectors that are offered to the cells of a latent would leave: an encoder's choice depends on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dispatch.hpp"
#include "shift_operators.hpp"

namespace duoview {

// The two quadratic forms, as integers. Safe to use from several threads at once.
class ErrorForms {
public:
    // `weights`: (2, channels, channels), for what is different in a cell and for its mean. They become integers of as many
    // fraction bits as no sum of products needs more than 32 bits with. Throws std::invalid_argument for one that is not finite.
    ErrorForms(const float* weights, std::size_t channels, const QuadraticForm& form);

    std::size_t channels() const { return layout_.channels; }
    int fraction_bits() const { return bits_; }

    // The error of a cell (channels, 2, 2) beside the one that is wanted, mean over its positions, in units of 2^-unit_bits().
    // Both are in 1/64 and within the limits.
    std::int64_t error(const std::int16_t* wanted, const std::int16_t* found) const;
    // The two matrices, input by output, as (2, channels, channels).
    std::vector<std::int16_t> integers() const;
    int unit_bits() const { return bits_ + 2 * kStateBits + 4; }

private:
    // Where a weight is in what is packed.
    std::size_t place(std::size_t matrix, std::size_t input, std::size_t output) const;

    FormLayout layout_;
    QuadraticFormFunction form_;
    int bits_ = 0;
    std::vector<std::int16_t> packed_;
};

struct VectorErrorsJob {
    const float* wanted;         // (channels, height, width)
    const float* state;          // the same shape
    const std::int8_t* offered;  // (count, height / 2, width / 2, 2): half pixels down and to the right
    std::size_t count, height, width;
    std::size_t threads;         // any number gives the same
    float* errors;               // (count, height / 2, width / 2)
};

// Throws std::invalid_argument for a latent that is not finite and for a vector out of range, with their places.
void vector_errors(const ShiftOperators& operators, const ErrorForms& forms, const VectorErrorsJob& job);

}  // namespace duoview
