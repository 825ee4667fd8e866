// Python's view of the planes between exact networks and the entropy coder. kernels/checkerboard.py checks what it gets.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <optional>
#include <stdexcept>

#include <nanobind/stl/optional.h>

#include "checkerboard.hpp"
#include "module.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

template <typename T>
using Planes = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Flat = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Picture = nb::ndarray<const bool, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <typename T>
PlaneShape shape_of(const Planes<T>& planes) {
    return {planes.shape(0), planes.shape(1), planes.shape(2)};
}

template <typename... Arrays>
void check_sizes(std::size_t size, const Arrays&... arrays) {
    if (((arrays.size() != size) || ...)) throw std::invalid_argument("planes differ in shape");
}

void check_half(std::size_t half) {
    if (half > 1) throw std::invalid_argument("half is 0 or 1");
}

template <typename T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> gather(Planes<const T> planes, std::size_t half) {
    check_half(half);
    const PlaneShape shape = shape_of(planes);
    const std::size_t count = half_positions(shape, half);
    std::unique_ptr<T[]> values(new T[count ? count : 1]);
    {
        nb::gil_scoped_release release;
        gather_half(shape, half, planes.data(), values.get());
    }
    T* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    values.release();
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {count}, owner);
}

void quantise(Planes<const float> values, Planes<const std::uint8_t> classes, Planes<const std::int16_t> means,
              std::size_t half, Flat<const float> margins, std::optional<Picture> keep, Planes<std::int16_t> symbols,
              Planes<float> decoded) {
    check_half(half);
    const PlaneShape shape = shape_of(values);
    check_sizes(values.size(), classes, means, symbols, decoded);
    if (margins.size() != 64) throw std::invalid_argument("margins are 64");
    if (keep && keep->size() != shape.height * shape.width) throw std::invalid_argument("keep is of another size");
    // numpy's bool is a byte that may hold more than 0 and 1, which C++'s may not.
    const std::uint8_t* const kept = keep ? reinterpret_cast<const std::uint8_t*>(keep->data()) : nullptr;
    const QuantiseJob job{shape, half, values.data(), classes.data(), means.data(), margins.data(),
                          kept, symbols.data(), decoded.data()};
    nb::gil_scoped_release release;
    quantise_half(job);
}

void dequantise(Flat<const std::int16_t> coded, Planes<const std::int16_t> means, std::size_t half,
                Planes<std::int16_t> symbols, Planes<float> decoded) {
    check_half(half);
    const PlaneShape shape = shape_of(means);
    check_sizes(means.size(), symbols, decoded);
    if (coded.size() != half_positions(shape, half)) throw std::invalid_argument("coded has another number of symbols");
    nb::gil_scoped_release release;
    dequantise_half(shape, half, coded.data(), means.data(), symbols.data(), decoded.data());
}

}  // namespace

void bind_checkerboard(nb::module_& m) {
    m.def("checkerboard_size", [](std::size_t channels, std::size_t height, std::size_t width, std::size_t half) {
        check_half(half);
        return half_positions({channels, height, width}, half);
    }, nb::arg("channels"), nb::arg("height"), nb::arg("width"), nb::arg("half"));
    m.def("checkerboard_gather", &gather<std::uint8_t>, nb::arg("planes").noconvert(), nb::arg("half"));
    m.def("checkerboard_gather", &gather<std::int16_t>, nb::arg("planes").noconvert(), nb::arg("half"));
    m.def("checkerboard_quantise", &quantise, nb::arg("values").noconvert(), nb::arg("classes").noconvert(),
          nb::arg("means").noconvert(), nb::arg("half"), nb::arg("margins").noconvert(), nb::arg("keep").none(),
          nb::arg("symbols").noconvert(), nb::arg("decoded").noconvert());
    m.def("checkerboard_dequantise", &dequantise, nb::arg("coded").noconvert(), nb::arg("means").noconvert(),
          nb::arg("half"), nb::arg("symbols").noconvert(), nb::arg("decoded").noconvert());
}

}  // namespace duoview
