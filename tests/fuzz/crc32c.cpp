// crc32c: every path gives the same checksum, of the whole and of any two parts, at any alignment.
//
// Input: start value (4 bytes), alignment (1), cut (2), data.
#include "duoview/crc32c.hpp"

#include <cstring>

#include "dispatch.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::uint32_t value = input.number<std::uint32_t>();
    const std::size_t shift = input.number<std::uint8_t>() % 16;
    const std::size_t cut_at = input.number<std::uint16_t>();
    const std::vector<std::uint8_t> bytes = input.rest();
    const std::size_t cut = bytes.empty() ? 0 : cut_at % (bytes.size() + 1);
    fuzz::Array<std::uint8_t> moved(shift + bytes.size());
    if (!bytes.empty()) std::memcpy(moved.data() + shift, bytes.data(), bytes.size());

    const std::uint32_t whole = duoview::crc32c_table(value, moved.data() + shift, bytes.size());
    for (const std::string& path : duoview::crc32c_paths()) {
        const duoview::Crc32cFunction crc32c = duoview::choose_crc32c(path);
        fuzz::require(crc32c(value, moved.data() + shift, bytes.size()) == whole, "paths agree", path);
        const std::uint32_t first = crc32c(value, moved.data() + shift, cut);
        fuzz::require(crc32c(first, moved.data() + shift + cut, bytes.size() - cut) == whole, "parts chain", path);
    }
    return 0;
}
