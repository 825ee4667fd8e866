// Python's view of the shift operators and of the errors that vectors leave. kernels/shift.py checks what it gets and explains it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "module.hpp"
#include "shift_operators.hpp"
#include "vector_errors.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

template <typename T, int Dimensions>
using Input = nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using Cells = nb::ndarray<nb::numpy, std::int16_t, nb::ndim<4>>;
using Latent = nb::ndarray<nb::numpy, float, nb::ndim<3>>;
using Errors = nb::ndarray<nb::numpy, float, nb::ndim<3>>;

void construct(ShiftOperators* self, Input<std::int16_t, 4> weights, const std::string& path) {
    const std::size_t channels = weights.shape(3);
    if (channels == 0 || weights.shape(0) != kShifts || weights.shape(1) != kShifts || weights.shape(2) != channels * kShiftTaps)
        throw std::invalid_argument("weights are of another shape");
    const ShiftKernels kernels = choose_shift(path);
    nb::gil_scoped_release release;
    new (self) ShiftOperators(weights.data(), channels, kernels);
}

template <typename Index>
Cells shift(const ShiftOperators& self, Input<std::int16_t, 3> state, Input<Index, 2> cells, Input<std::int8_t, 2> vectors,
            std::size_t threads) {
    const std::size_t count = cells.shape(0), channels = self.channels();
    if (state.shape(0) != channels || state.shape(1) % kCellSide != 0 || state.shape(2) % kCellSide != 0)
        throw std::invalid_argument("state is of another shape");
    if (cells.shape(1) != 2 || vectors.shape(1) != 2 || vectors.shape(0) != count)
        throw std::invalid_argument("cells and vectors are of other shapes");
    // A copy: what was checked must not change afterwards.
    std::vector<ShiftedCell> moved(count);
    for (std::size_t i = 0; i < count; ++i)
        moved[i] = {cells.data()[2 * i], cells.data()[2 * i + 1], vectors.data()[2 * i], vectors.data()[2 * i + 1]};
    const std::size_t size = count * channels * kCellPositions;
    std::unique_ptr<std::int16_t[]> values(new std::int16_t[size ? size : 1]);
    {
        nb::gil_scoped_release release;
        self.shift({state.data(), state.shape(1), state.shape(2)}, moved, threads, values.get());
    }
    std::int16_t* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<std::int16_t*>(p); });
    values.release();
    return Cells(data, {count, channels, kCellSide, kCellSide}, owner);
}

Latent compensate(const ShiftOperators& self, Input<float, 3> state, Input<std::int8_t, 3> vectors, std::size_t threads) {
    const std::size_t channels = self.channels(), height = state.shape(1), width = state.shape(2);
    if (state.shape(0) != channels || height % kCellSide != 0 || width % kCellSide != 0)
        throw std::invalid_argument("state is of another shape");
    if (vectors.shape(0) != height / kCellSide || vectors.shape(1) != width / kCellSide || vectors.shape(2) != 2)
        throw std::invalid_argument("vectors is of another shape");
    const std::size_t size = channels * height * width;
    std::unique_ptr<float[]> values(new float[size ? size : 1]);
    {
        nb::gil_scoped_release release;
        self.compensate({state.data(), height, width}, vectors.data(), threads, values.get());
    }
    float* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    values.release();
    return Latent(data, {channels, height, width}, owner);
}

void construct_forms(ErrorForms* self, Input<float, 3> weights, const std::string& path) {
    const std::size_t channels = weights.shape(1);
    if (channels == 0 || weights.shape(0) != kFormMatrices || weights.shape(2) != channels)
        throw std::invalid_argument("weights are of another shape");
    new (self) ErrorForms(weights.data(), channels, choose_quadratic_form(path));
}

Errors errors(const ErrorForms& self, const ShiftOperators& operators, Input<float, 3> wanted, Input<float, 3> state,
              Input<std::int8_t, 4> offered, std::size_t threads) {
    const std::size_t count = offered.shape(0), rows = offered.shape(1), columns = offered.shape(2);
    for (const auto& latent : {wanted, state})
        if (latent.shape(0) != self.channels() || latent.shape(1) != rows * kCellSide || latent.shape(2) != columns * kCellSide)
            throw std::invalid_argument("a latent is of another shape");
    if (offered.shape(3) != 2) throw std::invalid_argument("offered is of another shape");
    const std::size_t size = count * rows * columns;
    std::unique_ptr<float[]> values(new float[size ? size : 1]);
    {
        nb::gil_scoped_release release;
        // A copy: vectors that were checked must not change afterwards.
        const std::vector<std::int8_t> vectors(offered.data(), offered.data() + 2 * size);
        vector_errors(operators, self, {wanted.data(), state.data(), vectors.data(), count, rows * kCellSide, columns * kCellSide,
                                        threads, values.get()});
    }
    float* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    values.release();
    return Errors(data, {count, rows, columns}, owner);
}

// A numpy array of what a vector holds.
template <typename T>
nb::ndarray<nb::numpy, T> given(std::unique_ptr<std::vector<T>> values, std::initializer_list<std::size_t> shape) {
    T* const data = values->data();
    nb::capsule owner(values.release(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(data, shape, owner);
}

nb::ndarray<nb::numpy, std::int16_t> summed(const ShiftOperators& self) {
    auto values = std::make_unique<std::vector<std::int16_t>>(self.summed());
    return given(std::move(values), {kShiftKinds, self.pairs(), kShiftTaps, self.channels(), 2});
}

nb::ndarray<nb::numpy, std::int16_t> integers(const ErrorForms& self) {
    auto values = std::make_unique<std::vector<std::int16_t>>(self.integers());
    return given(std::move(values), {kFormMatrices, self.channels(), self.channels()});
}

}  // namespace

void bind_shift(nb::module_& m) {
    nb::class_<ShiftOperators>(m, "ShiftOperators")
        .def("__init__", &construct, nb::arg("weights").noconvert(), nb::arg("path"))
        .def("shift", &shift<std::int64_t>, nb::arg("state").noconvert(), nb::arg("cells").noconvert(),
             nb::arg("vectors").noconvert(), nb::arg("threads"))
        .def("shift", &shift<std::int32_t>, nb::arg("state").noconvert(), nb::arg("cells").noconvert(),
             nb::arg("vectors").noconvert(), nb::arg("threads"))
        .def("summed", &summed)
        .def("compensate", &compensate, nb::arg("state").noconvert(), nb::arg("vectors").noconvert(), nb::arg("threads"));
    nb::class_<ErrorForms>(m, "ErrorForms")
        .def("__init__", &construct_forms, nb::arg("weights").noconvert(), nb::arg("path"))
        .def_prop_ro("fraction_bits", &ErrorForms::fraction_bits)
        .def_prop_ro("unit_bits", &ErrorForms::unit_bits)
        .def("integers", &integers)
        .def("errors", &errors, nb::arg("operators"), nb::arg("wanted").noconvert(), nb::arg("state").noconvert(),
             nb::arg("offered").noconvert(), nb::arg("threads"));
}

}  // namespace duoview
