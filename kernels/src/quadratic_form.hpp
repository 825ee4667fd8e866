// The inner loop of what a difference of latents is seen as: two quadratic forms of the four positions of a cell.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

constexpr std::size_t kFormParts = 4;     // Haar transform of a cell: its sum, and what is different in it
constexpr std::size_t kFormMatrices = 2;  // for what is different, and for the sum

// Where numbers are. Parts are (4, outputs()), the sum last; a matrix is (registers, pairs, outputs of a register, 2 inputs),
// the one for the sum behind the other. What pads inputs to pairs and outputs to whole registers is 0. lanes: outputs of a
// register, 8 or 16 as the path is.
struct FormLayout {
    std::size_t channels, lanes;

    std::size_t pairs() const { return (channels + 1) / 2; }
    std::size_t registers() const { return (channels + lanes - 1) / lanes; }
    std::size_t outputs() const { return registers() * lanes; }
    std::size_t register_size() const { return pairs() * lanes * 2; }
    std::size_t matrix_size() const { return registers() * register_size(); }
};

// The sum of the four forms. No sum of products of a part by a column leaves 32 bits.
using QuadraticFormFunction = std::int64_t (*)(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights);

// These are for 8 lanes, that of vnni for 16.
std::int64_t quadratic_form_scalar(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights);
std::int64_t quadratic_form_avx2(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights);
std::int64_t quadratic_form_vnni(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights);

}  // namespace duoview
