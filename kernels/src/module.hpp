// The parts of the Python module, one function per kernel.
#pragma once

#include <nanobind/nanobind.h>

namespace duoview {

void bind_checkerboard(nanobind::module_& m);
void bind_dlpack(nanobind::module_& m);
void bind_error(nanobind::module_& m);
void bind_motion(nanobind::module_& m);
void bind_noise(nanobind::module_& m);
void bind_palette(nanobind::module_& m);
void bind_rans(nanobind::module_& m);
void bind_shift(nanobind::module_& m);
void bind_warp(nanobind::module_& m);

}  // namespace duoview
