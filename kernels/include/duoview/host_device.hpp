// One spelling for functions that g++ and nvcc both compile.
#pragma once

// Internal linkage on purpose: the same header is compiled once per instruction set, and an inline function with external
// linkage would let the linker hand an AVX2 body to a caller that runs on a CPU without it.
#if defined(__CUDACC__)
#define DUOVIEW_HD static __host__ __device__ inline
#else
#define DUOVIEW_HD [[maybe_unused]] static inline
#endif
