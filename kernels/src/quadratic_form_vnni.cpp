// AVX-512 path, with VNNI, of the quadratic forms: as that of AVX2 with registers twice as wide, for 48 outputs of three parts.
#include "products_vnni.hpp"
#include "quadratic_form_products.hpp"

namespace duoview {

std::int64_t quadratic_form_vnni(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights) {
    return FormProducts<Products>::form(layout, parts, weights);
}

}  // namespace duoview
