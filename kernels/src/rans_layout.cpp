#include "rans_layout.hpp"

#include <algorithm>

#include "rans_tables.hpp"

namespace duoview {
namespace {

// A lane more costs about 3 bytes: from these sizes on neither 4 nor 32 lanes cost more than 0.15 %.
constexpr std::uint64_t kFourLaneBytes = 8192;
constexpr std::uint64_t kThirtyTwoLaneBytes = 65536;
// A chunk costs its 32 states, about 95 bytes: less than 0.08 % of this.
constexpr std::uint64_t kChunkBytes = 131072;
// Symbols looked at for an estimate. Below that the estimate is exact to a byte or two.
constexpr std::size_t kSample = 16384;

std::uint64_t estimated_bytes(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count) {
    const RansTables& tables = rans_tables();
    const std::size_t stride = (count + kSample - 1) / kSample;
    std::uint64_t cost = 0;  // in 1/256 bit
    for (std::size_t i = 0; i < count; i += stride) {
        const std::uint32_t k = classes[i];
        const std::int32_t symbol = symbols[i];  // read once: another thread may write to it
        const std::uint32_t place = static_cast<std::uint32_t>(symbol + kEncodeOffset);
        const EncodeEntry entry = place < kEncodeStride ? tables.encode[k * kEncodeStride + place] : 0;
        if (entry_frequency(entry) != 0) {
            cost += tables.length[entry_frequency(entry)];
        } else {  // an escape of length n has n bits twice, and a sign
            cost += tables.length[entry_frequency(tables.escape[k])];
            cost += 512 * ((escape_code(symbol, tables.width[k]) & 0xFFu) + 1);
        }
    }
    return (cost >> 11) * stride;
}

}  // namespace

Layout choose_layout(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count, std::uint32_t lanes,
                     std::size_t chunk) {
    Layout layout{lanes, chunk};
    if (lanes != 0 && chunk != 0) return layout;
    const std::uint64_t bytes = estimated_bytes(symbols, classes, count);
    if (chunk == 0) {
        // Far below what a stream may have, so that an estimate that is off makes no difference.
        const std::uint64_t chunks = std::min<std::uint64_t>(bytes / kChunkBytes, kMaxChunks / 2);
        layout.chunk = chunks < 2 ? count : static_cast<std::size_t>((count + chunks - 1) / chunks + kMaxLanes - 1) / kMaxLanes * kMaxLanes;
    }
    if (lanes == 0) {
        const std::uint64_t each = layout.chunk < count ? bytes / count * layout.chunk + bytes % count * layout.chunk / count : bytes;
        layout.lanes = each < kFourLaneBytes ? 1u : each < kThirtyTwoLaneBytes ? 4u : kMaxLanes;
    }
    return layout;
}

}  // namespace duoview
