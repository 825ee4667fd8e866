// Baseline path of the noise kernels.
#include "noise.hpp"

#include "duoview/normal.hpp"
#include "duoview/normal_table.hpp"
#include "duoview/philox.hpp"

namespace duoview {

void philox_scalar(const NoiseAddress& address, std::size_t count, std::uint32_t* out) {
    std::uint64_t block = address.offset / 4;
    std::size_t word = address.offset % 4;
    for (std::size_t done = 0; done < count; word = 0) {
        const PhiloxBlock random = philox_at(address.seed, address.stream, block++);
        for (; word < 4 && done < count; ++word) out[done++] = random.word[word];
    }
}

void normals_scalar(const NoiseAddress& address, std::size_t count, float* out) {
    std::uint64_t block = address.offset / 4;
    std::size_t word = address.offset % 4;
    for (std::size_t done = 0; done < count; word = 0) {
        const PhiloxBlock random = philox_at(address.seed, address.stream, block++);
        for (; word < 4 && done < count; ++word) out[done++] = normal_from_bits(random.word[word], kNormalQuantile);
    }
}

}  // namespace duoview
