// AVX-512 path of the quadratic forms: 24 outputs at 16 positions are 24 sums and an input in registers.
#include "picture_form.hpp"

namespace duoview {
namespace {

typedef float Vector __attribute__((vector_size(64)));
typedef float Row __attribute__((vector_size(32)));

}  // namespace

void picture_form_avx512(const PictureBlock& block, float* room, float (&out)[kBlockPositions]) {
    PictureForm<Vector, Row, 24>::find(block, room, out);
}

}  // namespace duoview
