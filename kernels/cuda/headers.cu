// Compile check: every header that CPU and GPU share must be device code too. Makes no kernel that anybody launches.
#include "duoview/normal.hpp"
#include "duoview/philox.hpp"
#include "duoview/rans.hpp"

namespace duoview {

__global__ void shared_headers(std::uint32_t* x, DecodeEntry entry, EncodeEntry encode, const std::int32_t* quantiles, float* z) {
    const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    std::uint32_t state = pop_bits(pop_symbol(x[i], entry), 3);
    state = push_bits(push_symbol(state, encode), top_bits(state, 3), 3);
    const std::uint32_t length = escape_length_at(state & (kProbabilityScale - 1u));
    x[i] = must_flush(state, escape_length_frequency(length)) ? escape_length_start(length)
                                                              : static_cast<std::uint32_t>(entry_symbol(entry));
    const PhiloxBlock random = philox_at(state, 1, i);
    z[i] = normal_from_bits(random.word[0], quantiles);
}

}  // namespace duoview
