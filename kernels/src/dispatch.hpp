// Which implementations this CPU can run, and the choice of one by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "noise.hpp"
#include "palette.hpp"
#include "picture_form.hpp"
#include "quadratic_form.hpp"
#include "rans_decoder.hpp"
#include "rans_encoder.hpp"
#include "shift_cells.hpp"
#include "sparse.hpp"
#include "survey.hpp"

namespace duoview {

using Crc32cFunction = std::uint32_t (*)(std::uint32_t, const std::uint8_t*, std::size_t);

// Names of the available implementations, slowest first.
std::vector<std::string> crc32c_paths();

// `path` is "auto" or one of crc32c_paths(); throws std::invalid_argument naming the available ones otherwise.
Crc32cFunction choose_crc32c(const std::string& path);

// Names of the available vector paths of rANS, slowest first. "scalar" is always there.
std::vector<std::string> paths();

// The same of all other kernels, which have one more; what has no code of its own there runs as on AVX2.
std::vector<std::string> all_paths();

// What decoding is made of.
struct DecodeKernels {
    DecodeFunction decode;
    ClassSurveyFunction survey;
    PackFunction pack;
    SpreadFunction spread;
};

// What encoding is made of.
struct EncodeKernels {
    EncodeFunction encode;
    SymbolSurveyFunction survey;
    PackFunction pack;
    PackSymbolsFunction pack_symbols;
};

// The quadratic forms of a cell.
struct QuadraticForm {
    std::size_t lanes;  // of the layout
    QuadraticFormFunction form;
};

// What shifting a latent is made of.
struct ShiftKernels {
    std::size_t lanes;  // of the layout
    AddOperatorsFunction add;
    GatherPatchFunction gather;
    ShiftCellFunction shift;
};

// `path` is "auto" or one of paths(); throws std::invalid_argument naming the available ones otherwise.
DecodeKernels choose_decode(const std::string& path);
EncodeKernels choose_encode(const std::string& path);

// `path` is "auto" or one of all_paths(); throws std::invalid_argument naming the available ones otherwise.
ShiftKernels choose_shift(const std::string& path);
PictureFormFunction choose_picture_form(const std::string& path);
QuadraticForm choose_quadratic_form(const std::string& path);
PhiloxFunction choose_philox(const std::string& path);
NormalsFunction choose_normals(const std::string& path);
PaletteKernels choose_palette(const std::string& path);

}  // namespace duoview
