// The quadratic forms of a cell by sums of products in registers, written once: `Products` are those of a path.
#pragma once

#include "quadratic_form.hpp"

namespace duoview {

template <typename Products>
struct FormProducts {
    using Register = typename Products::Register;
    static constexpr std::size_t kLanes = Products::kLanes;
    static constexpr std::size_t kBlock = 3;  // registers of outputs: 9 sums, 3 weights and an input are 13 registers

    static std::int64_t form(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights) {
        const std::int16_t* const mean = parts + (kFormParts - 1) * layout.outputs();
        const Register total = add_matrix<kFormParts - 1>(layout, parts, weights, Products::zero());
        return Products::total(add_matrix<1>(layout, mean, weights + layout.matrix_size(), total));
    }

private:
    // `Registers` of outputs, from `first` on, of `Parts` parts by one matrix.
    template <std::size_t Registers, std::size_t Parts>
    static Register add_block(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights,
                              std::size_t first, Register total) {
        const std::size_t size = layout.register_size(), outputs = layout.outputs();
        weights += first * size;
        Register sums[Registers][Parts];
        for (auto& of : sums)
            for (Register& sum : of) sum = Products::zero();
        for (std::size_t pair = 0; pair < layout.pairs(); ++pair) {
            Register factors[Registers];
            for (std::size_t r = 0; r < Registers; ++r) factors[r] = Products::load(weights + r * size + pair * 2 * kLanes);
            for (std::size_t part = 0; part < Parts; ++part) {
                const Register two = Products::spread(parts + part * outputs + 2 * pair);
                for (std::size_t r = 0; r < Registers; ++r)
                    sums[r][part] = Products::add_products(sums[r][part], two, factors[r]);
            }
        }
        for (std::size_t r = 0; r < Registers; ++r)
            for (std::size_t part = 0; part < Parts; ++part)
                total = Products::weigh(total, sums[r][part], parts + part * outputs + (first + r) * kLanes);
        return total;
    }

    template <std::size_t Parts>
    static Register add_matrix(const FormLayout& layout, const std::int16_t* parts, const std::int16_t* weights,
                               Register total) {
        std::size_t first = 0;
        for (; first + kBlock <= layout.registers(); first += kBlock)
            total = add_block<kBlock, Parts>(layout, parts, weights, first, total);
        if (layout.registers() - first == 2) total = add_block<2, Parts>(layout, parts, weights, first, total);
        if (layout.registers() - first == 1) total = add_block<1, Parts>(layout, parts, weights, first, total);
        return total;
    }
};

}  // namespace duoview
