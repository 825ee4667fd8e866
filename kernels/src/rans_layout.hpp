// How a stream is laid out: lanes and chunks, chosen by its estimated size.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

// Chunks a stream may have.
static constexpr std::size_t kMaxChunks = 65536;

struct Layout {
    std::uint32_t lanes;  // 1, 4 or 32
    std::size_t chunk;    // coded symbols a chunk; `count` or more where there is one chunk only
};

// `count` >= 1 coded symbols; `lanes` and `chunk` as wanted, 0 where the size is to decide. Integer arithmetic on the
// symbols alone, so that every machine chooses the same.
Layout choose_layout(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count, std::uint32_t lanes,
                     std::size_t chunk);

}  // namespace duoview
