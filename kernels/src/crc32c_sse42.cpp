// CRC-32C by the instruction of SSE 4.2. Compiled with -msse4.2; called only after the dispatcher has seen the CPU.
#include "duoview/crc32c.hpp"

#include <cstring>
#include <nmmintrin.h>

namespace duoview {

std::uint32_t crc32c_sse42(std::uint32_t value, const std::uint8_t* data, std::size_t size) {
    std::uint64_t crc = ~value;
    for (; size >= 8; data += 8, size -= 8) {
        std::uint64_t chunk;
        std::memcpy(&chunk, data, 8);
        crc = _mm_crc32_u64(crc, chunk);
    }
    std::uint32_t tail = static_cast<std::uint32_t>(crc);
    for (; size > 0; ++data, --size) tail = _mm_crc32_u8(tail, *data);
    return ~tail;
}

}  // namespace duoview
