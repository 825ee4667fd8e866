// Python's view of the motion search and of the choice of vectors. kernels/motion.py checks what it gets and explains it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <stdexcept>
#include <utility>

#include <nanobind/stl/pair.h>

#include "block_motion.hpp"
#include "luma.hpp"
#include "module.hpp"
#include "motion_choice.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

using Plane = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Pairs = nb::ndarray<nb::numpy, T, nb::ndim<3>>;

template <typename T>
Pairs<T> pairs(std::unique_ptr<T[]> values, std::size_t rows, std::size_t columns) {
    T* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    values.release();
    return Pairs<T>(data, {rows, columns, 2}, owner);
}

using Picture = nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Luma = nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<2>>;

Luma luma_of(Picture picture) {
    if (picture.shape(0) != 3) throw std::invalid_argument("picture is of another shape");
    const std::size_t height = picture.shape(1), width = picture.shape(2), size = height * width;
    std::unique_ptr<std::uint8_t[]> values(new std::uint8_t[size + 1]);
    {
        nb::gil_scoped_release release;
        luma(picture.data(), picture.data() + size, picture.data() + 2 * size, size, values.get());
    }
    std::uint8_t* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<std::uint8_t*>(p); });
    values.release();
    return Luma(data, {height, width}, owner);
}

std::pair<Pairs<std::int8_t>, Pairs<std::uint32_t>> find(Plane previous, Plane current, std::size_t cell, int reach,
                                                         std::size_t threads) {
    if (previous.shape(0) != current.shape(0) || previous.shape(1) != current.shape(1))
        throw std::invalid_argument("planes differ in shape");
    if (cell == 0) throw std::invalid_argument("cell is 0");
    const std::size_t rows = current.shape(0) / cell, columns = current.shape(1) / cell;
    std::unique_ptr<std::int8_t[]> vectors(new std::int8_t[2 * rows * columns + 1]);
    std::unique_ptr<std::uint32_t[]> sums(new std::uint32_t[2 * rows * columns + 1]);
    {
        nb::gil_scoped_release release;
        block_motion({previous.data(), current.data(), current.shape(0), current.shape(1), cell, reach, threads, vectors.get(),
                      sums.get()});
    }
    return {pairs(std::move(vectors), rows, columns), pairs(std::move(sums), rows, columns)};
}

using Offered = nb::ndarray<const std::int8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Errors = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Vectors = nb::ndarray<const std::int8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

Pairs<std::int8_t> choose(Offered offered, Errors errors, Vectors before, float worth, double stay, double same, double other,
                          double length) {
    const std::size_t count = offered.shape(0), rows = offered.shape(1), columns = offered.shape(2);
    if (count == 0 || offered.shape(3) != 2) throw std::invalid_argument("offered is of another shape");
    if (errors.shape(0) != count || errors.shape(1) != rows || errors.shape(2) != columns)
        throw std::invalid_argument("errors is of another shape");
    if (before.shape(0) != rows || before.shape(1) != columns || before.shape(2) != 2)
        throw std::invalid_argument("before is of another shape");
    std::unique_ptr<std::int8_t[]> vectors(new std::int8_t[2 * rows * columns + 1]);
    {
        nb::gil_scoped_release release;
        choose_motion({offered.data(), errors.data(), before.data(), count, rows, columns, worth, {stay, same, other, length},
                       vectors.get()});
    }
    return pairs(std::move(vectors), rows, columns);
}

}  // namespace

void bind_motion(nb::module_& m) {
    m.def("luma", &luma_of, nb::arg("picture").noconvert());
    m.def("block_motion", &find, nb::arg("previous").noconvert(), nb::arg("current").noconvert(), nb::arg("cell"),
          nb::arg("reach"), nb::arg("threads"));
    m.def("choose_motion", &choose, nb::arg("offered").noconvert(), nb::arg("errors").noconvert(),
          nb::arg("before").noconvert(), nb::arg("worth"), nb::arg("stay"), nb::arg("same"), nb::arg("other"), nb::arg("length"));
}

}  // namespace duoview
