#include "quadratic_form.hpp"

namespace duoview {
namespace {

constexpr std::size_t kLanes = 8;  // of the layout

}  // namespace

std::int64_t quadratic_form_scalar(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights) {
    std::int64_t total = 0;
    for (std::size_t part = 0; part < kFormParts; ++part, parts += layout.outputs()) {
        const std::int16_t* matrix = weights + (part + 1 == kFormParts ? layout.matrix_size() : 0);
        for (std::size_t first = 0; first < layout.outputs(); first += kLanes) {
            std::int32_t sums[kLanes] = {};
            for (std::size_t pair = 0; pair < layout.pairs(); ++pair, matrix += 2 * kLanes)
                for (std::size_t lane = 0; lane < kLanes; ++lane)
                    sums[lane] += parts[2 * pair] * matrix[2 * lane] + parts[2 * pair + 1] * matrix[2 * lane + 1];
            for (std::size_t lane = 0; lane < kLanes; ++lane) total += std::int64_t{sums[lane]} * parts[first + lane];
        }
    }
    return total;
}

}  // namespace duoview
