#include "quadratic_form.hpp"

namespace duoview {

std::int64_t quadratic_form_scalar(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights) {
    std::int64_t total = 0;
    for (std::size_t part = 0; part < kFormParts; ++part, parts += layout.lanes()) {
        const std::int16_t* matrix = weights + (part + 1 == kFormParts ? layout.matrix_size() : 0);
        for (std::size_t first = 0; first < layout.lanes(); first += kFormLanes) {
            std::int32_t sums[kFormLanes] = {};
            for (std::size_t pair = 0; pair < layout.pairs(); ++pair, matrix += 2 * kFormLanes)
                for (std::size_t lane = 0; lane < kFormLanes; ++lane)
                    sums[lane] += parts[2 * pair] * matrix[2 * lane] + parts[2 * pair + 1] * matrix[2 * lane + 1];
            for (std::size_t lane = 0; lane < kFormLanes; ++lane) total += std::int64_t{sums[lane]} * parts[first + lane];
        }
    }
    return total;
}

}  // namespace duoview
