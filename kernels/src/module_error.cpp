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

// Runs find(results) on room for a latent's results.
template <typename Find>
Errors results(const Floats& latent, const Floats& weights, const Find& find) {
    const std::size_t channels = latent.shape(0), height = latent.shape(1), width = latent.shape(2);
    if (height % 2 != 0 || width % 2 != 0) throw std::invalid_argument("a latent is of another shape");
    if (weights.shape(0) != 2 || weights.shape(1) != channels || weights.shape(2) != channels)
        throw std::invalid_argument("weights are of another shape");
    std::unique_ptr<float[]> values(new float[height * width / 4 + 1]);
    {
        nb::gil_scoped_release release;
        find(values.get());
    }
    float* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
    values.release();
    return Errors(data, {height / 2, width / 2}, owner);
}

Errors find(Floats error, Floats weights, std::size_t threads, const std::string& path) {
    const PictureFormFunction form = choose_picture_form(path);
    return results(error, weights, [&](float* out) {
        picture_error({error.data(), weights.data(), error.shape(0), error.shape(1), error.shape(2), threads, out}, form);
    });
}

Errors gain(Floats wanted, Floats before, Floats after, Floats weights, std::size_t threads, const std::string& path) {
    for (std::size_t axis = 0; axis < 3; ++axis)
        if (before.shape(axis) != wanted.shape(axis) || after.shape(axis) != wanted.shape(axis))
            throw std::invalid_argument("latents differ in shape");
    const PictureFormFunction form = choose_picture_form(path);
    return results(wanted, weights, [&](float* out) {
        picture_gain({wanted.data(), before.data(), after.data(), weights.data(), wanted.shape(0), wanted.shape(1),
                      wanted.shape(2), threads, out}, form);
    });
}

}  // namespace

void bind_error(nb::module_& m) {
    m.def("picture_error", &find, nb::arg("error").noconvert(), nb::arg("weights").noconvert(), nb::arg("threads"),
          nb::arg("path"));
    m.def("picture_gain", &gain, nb::arg("wanted").noconvert(), nb::arg("before").noconvert(), nb::arg("after").noconvert(),
          nb::arg("weights").noconvert(), nb::arg("threads"), nb::arg("path"));
}

}  // namespace duoview
