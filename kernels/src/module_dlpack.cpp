// Arrays given out by DLPack. kernels/dlpack.py checks what it gets and explains it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "module.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

// The capsule of a contiguous array at an address, which nothing is read from here. As nanobind makes them, they give `owner`
// back from any thread, and while an exception is on its way, which a destructor in Python could not.
nb::ndarray<> dlpack_capsule(std::uint64_t pointer, std::uint8_t code, std::uint8_t bits, const std::vector<std::size_t>& shape,
                             int device_type, int device_id, nb::handle owner) {
    return nb::ndarray<>(reinterpret_cast<void*>(static_cast<std::uintptr_t>(pointer)), shape.size(), shape.data(), owner, nullptr,
                         nb::dlpack::dtype{code, bits, 1}, device_type, device_id);
}

}  // namespace

void bind_dlpack(nb::module_& m) {
    m.def("dlpack_capsule", &dlpack_capsule, nb::arg("pointer"), nb::arg("code"), nb::arg("bits"), nb::arg("shape"),
          nb::arg("device_type"), nb::arg("device_id"), nb::arg("owner"));
}

}  // namespace duoview
