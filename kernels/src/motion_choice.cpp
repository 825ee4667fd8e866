#include "motion_choice.hpp"

#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "default_arithmetic.hpp"

namespace duoview {
namespace {

int bit_length(int magnitude) {
    int bits = 0;
    for (; magnitude != 0; magnitude >>= 1) ++bits;
    return bits;
}

bool moves(const std::int8_t* vector) { return vector[0] != 0 || vector[1] != 0; }

// About what a motion field spends on a vector; `expected` is null where none is.
double price(const VectorPrices& prices, const std::int8_t* vector, const std::int8_t* expected) {
    int dy = vector[0], dx = vector[1];
    if (expected) {
        dy -= expected[0];
        dx -= expected[1];
        if (dy == 0 && dx == 0) return prices.same;
    }
    return prices.other + prices.length * (bit_length(std::abs(dy)) + bit_length(std::abs(dx)));
}

[[noreturn]] void refuse(const MotionChoiceJob& job, std::size_t k, std::size_t cell, const std::string& what) {
    throw std::invalid_argument(what + " at index " + std::to_string(k) + ", row " + std::to_string(cell / job.columns) +
                                ", column " + std::to_string(cell % job.columns));
}

}  // namespace

void choose_motion(const MotionChoiceJob& job) {
    const DefaultArithmetic arithmetic;
    const std::size_t size = job.rows * job.columns;
    for (std::size_t i = 0; i < size; ++i) {
        const std::int8_t* expected = nullptr;
        if (i % job.columns != 0 && moves(job.vectors + 2 * (i - 1))) expected = job.vectors + 2 * (i - 1);
        else if (i >= job.columns && moves(job.vectors + 2 * (i - job.columns))) expected = job.vectors + 2 * (i - job.columns);
        else if (moves(job.before + 2 * i)) expected = job.before + 2 * i;
        const std::int8_t* best = job.offered + 2 * i;
        if (moves(best)) refuse(job, 0, i, "offered is not 0");
        // An error times its worth is rounded to float32, added to bits in float64.
        double least = 0;
        for (std::size_t k = 0; k < job.count; ++k) {
            const float error = job.errors[k * size + i];
            if (std::isnan(error)) refuse(job, k, i, "errors is no number");
            const double cost = error * job.worth;
            if (k == 0) {
                least = cost + job.prices.stay;
            } else if (cost < least) {
                const std::int8_t* const vector = job.offered + 2 * (k * size + i);
                const double total = cost + price(job.prices, vector, expected);
                if (total < least) {
                    least = total;
                    best = vector;
                }
            }
        }
        job.vectors[2 * i] = best[0];
        job.vectors[2 * i + 1] = best[1];
    }
}

}  // namespace duoview
