// AVX2 path of the quadratic forms: 6 outputs at 16 positions are 12 sums, 2 inputs and a weight in registers.
#include "picture_form.hpp"

namespace duoview {
namespace {

typedef float Vector __attribute__((vector_size(32)));

}  // namespace

void picture_form_avx2(const PictureBlock& block, float* room, float (&out)[kBlockPositions]) {
    PictureForm<Vector, Vector, 6>::find(block, room, out);
}

}  // namespace duoview
