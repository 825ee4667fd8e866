// How the 32 lanes of a warp run: in hardware where nvcc compiles, one after another in a loop where g++ does.
//
// A warp program is written once, against these names. What is the same in all lanes is a plain variable; what each lane has
// of its own is a PerLane; what each lane does stands in a body given to Warp::each. In a body, lanes must not depend on what
// other lanes write in the same body: on the CPU they run in order, on the GPU all at once. So the very code of a kernel can be
// tested, lane by lane, without a GPU.
#pragma once

#include <cstdint>

#include "duoview/host_device.hpp"

#if defined(__CUDACC__)
#define DUOVIEW_WARP static __device__ __forceinline__
#define DUOVIEW_WARP_MEMBER __device__ __forceinline__
#define DUOVIEW_UNROLL _Pragma("unroll")
#else
#define DUOVIEW_WARP [[maybe_unused]] static inline
#define DUOVIEW_WARP_MEMBER inline
#define DUOVIEW_UNROLL
#endif

namespace duoview {

static constexpr std::uint32_t kWarpLanes = 32;
static constexpr std::uint32_t kAllLanes = 0xFFFFFFFFu;

// Lanes below `lane` (0..32).
DUOVIEW_HD std::uint32_t lanes_below(std::uint32_t lane) { return lane >= kWarpLanes ? kAllLanes : (1u << lane) - 1u; }

#if defined(__CUDACC__)

using WideWord = unsigned long long;  // what CUDA's atomics take; the same as uint64_t but for its name

template <typename T>
struct PerLane {
    T value;
    DUOVIEW_WARP_MEMBER T& operator[](std::uint32_t) { return value; }
    DUOVIEW_WARP_MEMBER const T& operator[](std::uint32_t) const { return value; }
};

DUOVIEW_WARP std::uint32_t popcount(std::uint32_t mask) { return static_cast<std::uint32_t>(__popc(mask)); }
DUOVIEW_WARP std::uint32_t lowest_lane(std::uint32_t mask) { return static_cast<std::uint32_t>(__ffs(mask) - 1); }
DUOVIEW_WARP std::uint32_t highest_lane(std::uint32_t mask) { return 31u - static_cast<std::uint32_t>(__clz(mask)); }

class Warp {
public:
    DUOVIEW_WARP_MEMBER Warp() : lane_(threadIdx.x & (kWarpLanes - 1)) {}

    template <typename Body>
    DUOVIEW_WARP_MEMBER void each(Body&& body) const {
        body(lane_);
    }
    DUOVIEW_WARP_MEMBER std::uint32_t ballot(const PerLane<bool>& flag) const { return __ballot_sync(kAllLanes, flag.value); }
    template <typename T>
    DUOVIEW_WARP_MEMBER T broadcast(const PerLane<T>& value, std::uint32_t lane) const {
        return __shfl_sync(kAllLanes, value.value, static_cast<int>(lane));
    }
    // Each lane's view of another lane's value.
    template <typename T>
    DUOVIEW_WARP_MEMBER T from(const PerLane<T>& value, std::uint32_t, std::uint32_t source) const {
        return __shfl_sync(kAllLanes, value.value, static_cast<int>(source));
    }
    // Greatest value, sum, and sum of the lanes below, within groups of `group` lanes, a power of two.
    DUOVIEW_WARP_MEMBER void group_max(PerLane<std::int32_t>& value, std::uint32_t group) const {
        for (std::uint32_t step = group / 2; step > 0; step /= 2) {
            const std::int32_t other = __shfl_xor_sync(kAllLanes, value.value, static_cast<int>(step));
            value.value = other > value.value ? other : value.value;
        }
    }
    DUOVIEW_WARP_MEMBER void group_sum(PerLane<std::uint32_t>& value, std::uint32_t group) const {
        for (std::uint32_t step = group / 2; step > 0; step /= 2)
            value.value += __shfl_xor_sync(kAllLanes, value.value, static_cast<int>(step));
    }
    DUOVIEW_WARP_MEMBER void group_exclusive_sum(PerLane<std::uint32_t>& value, std::uint32_t group) const {
        const std::uint32_t own = value.value;
        for (std::uint32_t step = 1; step < group; step *= 2) {
            const std::uint32_t below = __shfl_up_sync(kAllLanes, value.value, step, static_cast<int>(group));
            if ((lane_ & (group - 1)) >= step) value.value += below;
        }
        value.value -= own;
    }
    // What lanes wrote to memory before is seen by all of them afterwards.
    DUOVIEW_WARP_MEMBER void sync() const { __syncwarp(); }
    // Replaces every lane's value by the sum of those of the lanes below it; returns the sum of all.
    DUOVIEW_WARP_MEMBER std::uint64_t exclusive_sum(PerLane<std::uint64_t>& value) const {
        const WideWord own = value.value;
        WideWord sum = own;
        for (std::uint32_t step = 1; step < kWarpLanes; step *= 2) {
            const WideWord below = __shfl_up_sync(kAllLanes, sum, step);
            if (lane_ >= step) sum += below;
        }
        value.value = sum - own;
        return __shfl_sync(kAllLanes, sum, kWarpLanes - 1);
    }
    DUOVIEW_WARP_MEMBER void atomic_min(std::uint64_t* target, std::uint64_t value) const {
        atomicMin(reinterpret_cast<WideWord*>(target), static_cast<WideWord>(value));
    }
    DUOVIEW_WARP_MEMBER void atomic_add(std::uint64_t* target, std::uint64_t value) const {
        atomicAdd(reinterpret_cast<WideWord*>(target), static_cast<WideWord>(value));
    }

private:
    std::uint32_t lane_;
};

#else

template <typename T>
struct PerLane {
    T values[kWarpLanes];
    T& operator[](std::uint32_t lane) { return values[lane]; }
    const T& operator[](std::uint32_t lane) const { return values[lane]; }
};

DUOVIEW_WARP std::uint32_t popcount(std::uint32_t mask) { return static_cast<std::uint32_t>(__builtin_popcount(mask)); }
DUOVIEW_WARP std::uint32_t lowest_lane(std::uint32_t mask) { return static_cast<std::uint32_t>(__builtin_ctz(mask)); }
DUOVIEW_WARP std::uint32_t highest_lane(std::uint32_t mask) { return 31u - static_cast<std::uint32_t>(__builtin_clz(mask)); }

class Warp {
public:
    // Backwards: the last lane goes first, which must not make a difference.
    explicit Warp(bool backwards = false) : backwards_(backwards) {}

    template <typename Body>
    void each(Body&& body) const {
        for (std::uint32_t lane = 0; lane < kWarpLanes; ++lane) body(backwards_ ? kWarpLanes - 1 - lane : lane);
    }
    std::uint32_t ballot(const PerLane<bool>& flag) const {
        std::uint32_t mask = 0;
        for (std::uint32_t lane = 0; lane < kWarpLanes; ++lane) mask |= std::uint32_t{flag[lane]} << lane;
        return mask;
    }
    template <typename T>
    T broadcast(const PerLane<T>& value, std::uint32_t lane) const {
        return value[lane];
    }
    // To be called in a body that does nothing but read: all lanes have their value already.
    template <typename T>
    T from(const PerLane<T>& value, std::uint32_t, std::uint32_t source) const {
        return value[source % kWarpLanes];
    }
    void group_max(PerLane<std::int32_t>& value, std::uint32_t group) const {
        for (std::uint32_t first = 0; first < kWarpLanes; first += group) {
            std::int32_t greatest = value[first];
            for (std::uint32_t i = 1; i < group; ++i) greatest = value[first + i] > greatest ? value[first + i] : greatest;
            for (std::uint32_t i = 0; i < group; ++i) value[first + i] = greatest;
        }
    }
    void group_sum(PerLane<std::uint32_t>& value, std::uint32_t group) const {
        for (std::uint32_t first = 0; first < kWarpLanes; first += group) {
            std::uint32_t sum = 0;
            for (std::uint32_t i = 0; i < group; ++i) sum += value[first + i];
            for (std::uint32_t i = 0; i < group; ++i) value[first + i] = sum;
        }
    }
    void group_exclusive_sum(PerLane<std::uint32_t>& value, std::uint32_t group) const {
        for (std::uint32_t first = 0; first < kWarpLanes; first += group) {
            std::uint32_t sum = 0;
            for (std::uint32_t i = 0; i < group; ++i) {
                const std::uint32_t own = value[first + i];
                value[first + i] = sum;
                sum += own;
            }
        }
    }
    void sync() const {}
    std::uint64_t exclusive_sum(PerLane<std::uint64_t>& value) const {
        std::uint64_t sum = 0;
        for (std::uint32_t lane = 0; lane < kWarpLanes; ++lane) {
            const std::uint64_t own = value[lane];
            value[lane] = sum;
            sum += own;
        }
        return sum;
    }
    void atomic_min(std::uint64_t* target, std::uint64_t value) const {
        if (value < *target) *target = value;
    }
    void atomic_add(std::uint64_t* target, std::uint64_t value) const { *target += value; }

private:
    bool backwards_;
};

#endif

// Error words. A word in device memory holds `place << 8 | kind`, so that the smallest place wins an atomic minimum; kNoError
// where nothing was wrong. The place is an element's index, a byte's offset, or the size that would have been needed.
enum class DeviceFault : std::uint8_t {
    class_range = 1,    // index of a class that is 192 or more
    zero_symbol = 2,    // index of a symbol other than 0 at class 0
    binary_symbol = 3,  // index of a symbol other than 0 and 1 at a class from 64 on
    output_size = 4,    // the output would take so many bytes
    scratch_size = 5,   // the words of all chunks may take so many bytes
    chunk_capacity = 6,  // the stream has so many chunks
    chunk_count = 7,    // it would have so many, more than a stream may have
    state_range = 8,    // index of a state that is none of the transition's
    node_range = 9,     // index of a node that is no parent
    child_class = 10,   // index of a class that is no binary one
    not_finite = 11,    // flat index of a number that is not finite
    leaf_not_finite = 12,  // the same among the leaves
    off_grid = 13,      // flat index of a number that is not finite or beyond the grid
    weight_sum = 14,    // the sum of all weights, which is out of range
    gaussian_class = 15,   // flat index of a class above 63
    header_end = 16,    // offset at which the data ends within a header
    header_byte = 17,   // offset of a first byte that is none
    header_state = 18,  // offset of a state that is out of range
    header_count = 19,  // offset of a chunk header's number that is out of range
    half_word = 20,     // offset at which the data ends in the middle of a word
    truncated = 21,     // offset at which the data ends before its symbols do
    escape_range = 22,  // offset behind an escape beyond 16 bits
    left_over = 23,     // offset from which on data is left over
    final_state = 24,   // offset at the end of a chunk whose states are not those of the start
    beyond_chunks = 25,  // offset of the end; more symbols were asked for than the chunks hold
    missing_chunks = 26,  // the last chunk was not begun: offset of the end, 0 where none was
    value_not_finite = 27,  // flat index of a value that is not finite
    value_not_whole = 28,   // flat index of a value that is no integer, or beyond the limit
    held_unknown = 29,      // index of a position that is held and not known
    state_not_finite = 30,  // flat index of a number of the latent that is not finite
    wanted_not_finite = 31,  // the same of the latent that is wanted
    vector_range = 32,      // index of a cell whose vector is out of range
    offered_range = 33,     // the same of a vector that is offered, flat
};

static constexpr std::uint64_t kNoError = 0xFFFFFFFFFFFFFFFFull;

DUOVIEW_HD std::uint64_t error_word(DeviceFault fault, std::uint64_t place) {
    return place << 8 | static_cast<std::uint64_t>(fault);
}

}  // namespace duoview
