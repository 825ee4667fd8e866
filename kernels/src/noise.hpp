// Counter-based noise: elements offset .. offset + count - 1 of stream `stream` under `seed`.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

struct NoiseAddress {
    std::uint64_t seed;
    std::uint64_t stream;
    std::uint64_t offset;
};

using PhiloxFunction = void (*)(const NoiseAddress& address, std::size_t count, std::uint32_t* out);
using NormalsFunction = void (*)(const NoiseAddress& address, std::size_t count, float* out);

void philox_scalar(const NoiseAddress& address, std::size_t count, std::uint32_t* out);
void philox_avx2(const NoiseAddress& address, std::size_t count, std::uint32_t* out);
void philox_avx512(const NoiseAddress& address, std::size_t count, std::uint32_t* out);
void normals_scalar(const NoiseAddress& address, std::size_t count, float* out);
void normals_avx2(const NoiseAddress& address, std::size_t count, float* out);
void normals_avx512(const NoiseAddress& address, std::size_t count, float* out);

}  // namespace duoview
