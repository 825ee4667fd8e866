#include "picture_form.hpp"

namespace duoview {
namespace {

typedef float Vector __attribute__((vector_size(16)));

}  // namespace

void picture_form_scalar(const PictureBlock& block, float* room, float (&out)[kBlockPositions]) {
    PictureForm<Vector, Vector, 2>::find(block, room, out);
}

}  // namespace duoview
