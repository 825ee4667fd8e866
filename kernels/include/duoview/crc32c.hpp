// CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected 0x82F63B78), RFC 3720 appendix B.4.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

// Continues the checksum `value` (0 at the start) over `size` bytes. Both paths give the same value.
std::uint32_t crc32c_table(std::uint32_t value, const std::uint8_t* data, std::size_t size);
std::uint32_t crc32c_sse42(std::uint32_t value, const std::uint8_t* data, std::size_t size);

}  // namespace duoview
