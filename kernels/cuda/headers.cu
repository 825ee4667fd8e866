// Compile check: every header that CPU and GPU share must be device code too. Makes no kernel that anybody launches.
#include "duoview/nearest.hpp"
#include "duoview/normal.hpp"
#include "duoview/palette.hpp"
#include "duoview/palette_tree.hpp"
#include "duoview/philox.hpp"
#include "duoview/posterior.hpp"
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

__global__ void palette_headers(PosteriorStep step, const std::int16_t* logits, const std::uint16_t* coarse,
                                const std::uint16_t* fine, const float* vectors, std::uint8_t* states) {
    const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    const PhiloxBlock random = philox_at(0, 1, i / 2);
    std::uint32_t state = posterior_at(step, logits + i * step.categories, states[i], random.word[0], random.word[1], coarse, fine);
    state = child_of(state, kFirstChildClass, half_word(random.word[2], i % 2));
    state += is_finite(vectors[i]) ? nearest_leaf(vectors, vectors + 8, kMaxLeaves, 8) : 0;
    const std::int32_t centre = centre_of(state, i + 1);
    state += above_mean(centre, state, i) + static_cast<std::uint32_t>(spread_of(1, centre));
    state += static_cast<std::uint32_t>(split_term(1, centre, 2) - split_offset_term(centre, 2));
    states[i] = static_cast<std::uint8_t>(state);
}

}  // namespace duoview
