#include "picture_form.hpp"

namespace duoview {
namespace {

typedef float Vector __attribute__((vector_size(16)));

}  // namespace

void picture_form_scalar(const float* x, const float* weights, std::size_t channels, std::size_t count, float* out) {
    PictureForm<Vector>::run<2>(x, weights, channels, count, out);
}

}  // namespace duoview
