// Python's view of the noise kernels. kernels/noise.py checks the ranges and explains them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <array>
#include <memory>

#include "dispatch.hpp"
#include "duoview/philox.hpp"
#include "module.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

template <typename T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> fill(void (*function)(const NoiseAddress&, std::size_t, T*),
                                            const NoiseAddress& address, std::size_t count) {
    std::unique_ptr<T[]> values(new T[count ? count : 1]);
    {
        nb::gil_scoped_release release;
        function(address, count, values.get());
    }
    T* const data = values.get();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    values.release();
    return nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {count}, owner);
}

std::array<std::uint32_t, 4> philox_block(const std::array<std::uint32_t, 4>& counter,
                                          const std::array<std::uint32_t, 2>& key) {
    const PhiloxBlock block = philox({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
    return {block.word[0], block.word[1], block.word[2], block.word[3]};
}

}  // namespace

void bind_noise(nb::module_& m) {
    m.def("philox_block", &philox_block, nb::arg("counter"), nb::arg("key"));
    m.def("philox",
          [](std::uint64_t seed, std::uint64_t stream, std::uint64_t offset, std::size_t count, const std::string& path) {
              return fill<std::uint32_t>(choose_philox(path), {seed, stream, offset}, count);
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("offset"), nb::arg("count"), nb::arg("path"));
    m.def("normals",
          [](std::uint64_t seed, std::uint64_t stream, std::uint64_t offset, std::size_t count, const std::string& path) {
              return fill<float>(choose_normals(path), {seed, stream, offset}, count);
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("offset"), nb::arg("count"), nb::arg("path"));
}

}  // namespace duoview
