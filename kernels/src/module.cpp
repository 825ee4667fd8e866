// The Python module duoview.kernels._native: argument conversion only, all work is done by the kernels.
#include "module.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "buffer_view.hpp"
#include "dispatch.hpp"

namespace nb = nanobind;

namespace {

std::uint32_t crc32c(nb::handle data, std::uint32_t value, const std::string& path) {
    const duoview::Crc32cFunction function = duoview::choose_crc32c(path);
    const duoview::BufferView view(data);
    nb::gil_scoped_release release;
    return function(value, view.data(), view.size());
}

}  // namespace

NB_MODULE(_native, m) {
    m.def("paths", &duoview::paths);
    m.def("all_paths", &duoview::all_paths);
    m.def("crc32c", &crc32c, nb::arg("data"), nb::arg("value"), nb::arg("path"));
    m.def("crc32c_paths", &duoview::crc32c_paths);
    duoview::bind_checkerboard(m);
    duoview::bind_dlpack(m);
    duoview::bind_error(m);
    duoview::bind_motion(m);
    duoview::bind_noise(m);
    duoview::bind_palette(m);
    duoview::bind_rans(m);
    duoview::bind_shift(m);
    duoview::bind_warp(m);
}
