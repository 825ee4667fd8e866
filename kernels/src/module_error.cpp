// Python's view of the error of a picture. kernels/latent_error.py checks what it gets and explains it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <stdexcept>

#include "dispatch.hpp"
#include "module.hpp"
#include "picture_error.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

using Floats = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Errors = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

Errors find(Floats error, Floats weights, std::size_t threads, const std::string& path) {
    const std::size_t channels = error.shape(0), height = error.shape(1), width = error.shape(2);
    if (height % 2 != 0 || width % 2 != 0) throw std::invalid_argument("error is of another shape");
    if (weights.shape(0) != 2 || weights.shape(1) != channels || weights.shape(2) != channels)
        throw std::invalid_argument("weights are of another shape");
    const PictureFormFunction form = choose_picture_form(path);
    std::unique_ptr<float[]> values(new float[height * width / 4 + 1]);
    {
        nb::gil_scoped_release release;
        picture_error({error.data(), weights.data(), channels, height, width, threads, values.get()}, form);
    }
    float* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    values.release();
    return Errors(data, {height / 2, width / 2}, owner);
}

}  // namespace

void bind_error(nb::module_& m) {
    m.def("picture_error", &find, nb::arg("error").noconvert(), nb::arg("weights").noconvert(), nb::arg("threads"),
          nb::arg("path"));
}

}  // namespace duoview
