// One kernel per warp program (duoview/warp_programs.hpp): eight warps a block, one item each. A program whose tables are read
// all the time gets them copied to shared memory first. What the programs do stands in the headers; nothing else does here.
#include "duoview/warp_programs.hpp"

namespace duoview {

template <typename Program>
__device__ __forceinline__ void run_warp(const Program& program, std::uint64_t warps) {
    const std::uint64_t item = (static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarpLanes;
    if (item < warps) program.run(Warp(), item);
}

template <typename Tables>
__device__ __forceinline__ void copy_tables(Tables& shared, const Tables* global) {
    static_assert(sizeof(Tables) % 4 == 0, "copied word by word");
    const std::uint32_t* const from = reinterpret_cast<const std::uint32_t*>(global);
    std::uint32_t* const to = reinterpret_cast<std::uint32_t*>(&shared);
    for (std::uint32_t i = threadIdx.x; i < sizeof(Tables) / 4; i += blockDim.x) to[i] = from[i];
    __syncthreads();
}

}  // namespace duoview

#define DUOVIEW_KERNEL(name, program)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) duoview_##name(duoview::program job, std::uint64_t warps) { \
        duoview::run_warp(job, warps);                                                                         \
    }

#define DUOVIEW_TABLE_KERNEL(name, program, table)                                                             \
    extern "C" __global__ void __launch_bounds__(256) duoview_##name(duoview::program job, std::uint64_t warps) { \
        __shared__ alignas(8) unsigned char memory[sizeof(duoview::table)];                                    \
        duoview::table& shared = *reinterpret_cast<duoview::table*>(memory);                                   \
        duoview::copy_tables(shared, job.tables);                                                              \
        job.tables = &shared;                                                                                  \
        duoview::run_warp(job, warps);                                                                         \
    }

DUOVIEW_WARP_PROGRAMS(DUOVIEW_KERNEL, DUOVIEW_TABLE_KERNEL)
