// Python's view of the noise kernels. kernels/noise.py checks the ranges and explains them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <memory>

#include "dispatch.hpp"
#include "duoview/philox.hpp"
#include "module.hpp"
#include "parallel.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

constexpr std::size_t kShare = 1 << 16;  // elements a thread takes at a time: more than starting it costs

// Elements in shares of kShare, in any order: each depends on its own number only.
template <typename T>
void fill_shares(void (*function)(const NoiseAddress&, std::size_t, T*), const NoiseAddress& address, std::size_t count,
                 std::size_t threads, T* out) {
    if (threads <= 1) return function(address, count, out);
    run_parallel(threads, count / kShare + (count % kShare != 0), [&](std::size_t job) {
        const std::size_t begin = job * kShare;
        const std::size_t size = std::min(kShare, count - begin);
        function({address.seed, address.stream, address.offset + begin}, size, out + begin);
    });
}

template <typename T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> fill(void (*function)(const NoiseAddress&, std::size_t, T*),
                                            const NoiseAddress& address, std::size_t count, std::size_t threads) {
    std::unique_ptr<T[]> values(new T[count ? count : 1]);
    {
        nb::gil_scoped_release release;
        fill_shares(function, address, count, threads, values.get());
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
          [](std::uint64_t seed, std::uint64_t stream, std::uint64_t offset, std::size_t count, std::size_t threads,
             const std::string& path) {
              return fill<std::uint32_t>(choose_philox(path), {seed, stream, offset}, count, threads);
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("offset"), nb::arg("count"), nb::arg("threads"), nb::arg("path"));
    m.def("normals",
          [](std::uint64_t seed, std::uint64_t stream, std::uint64_t offset, std::size_t count, std::size_t threads,
             const std::string& path) {
              return fill<float>(choose_normals(path), {seed, stream, offset}, count, threads);
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("offset"), nb::arg("count"), nb::arg("threads"), nb::arg("path"));
    m.def("normals_into",
          [](std::uint64_t seed, std::uint64_t stream, std::uint64_t offset,
             nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu> out, std::size_t threads, const std::string& path) {
              const NormalsFunction function = choose_normals(path);
              nb::gil_scoped_release release;
              fill_shares<float>(function, {seed, stream, offset}, out.size(), threads, out.data());
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("offset"), nb::arg("out").noconvert(), nb::arg("threads"),
          nb::arg("path"));
}

}  // namespace duoview
