// AVX2 path of the quadratic form: 6 outputs at 16 positions are 12 sums, 2 inputs and a weight in registers.
#include "picture_form.hpp"

namespace duoview {
namespace {

typedef float Vector __attribute__((vector_size(32)));

}  // namespace

void picture_form_avx2(const float* x, const float* weights, std::size_t channels, std::size_t count, float* out) {
    PictureForm<Vector>::run<6>(x, weights, channels, count, out);
}

}  // namespace duoview
