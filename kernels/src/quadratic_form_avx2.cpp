// AVX2 path of the quadratic forms: two products and their sum an instruction, 24 outputs of three parts in registers.
#include "products_avx2.hpp"
#include "quadratic_form_products.hpp"

namespace duoview {

std::int64_t quadratic_form_avx2(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights) {
    return FormProducts<Products>::form(layout, parts, weights);
}

}  // namespace duoview
