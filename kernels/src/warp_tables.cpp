#include "warp_tables.hpp"

#include <stdexcept>
#include <vector>

#include "rans_tables.hpp"

namespace duoview {

WarpDecodeTables make_warp_decode_tables() {
    WarpDecodeTables tables{};
    std::size_t at = 0;
    for (std::uint32_t k = 1; k < kGaussianClasses; ++k) {
        const std::vector<std::uint16_t> frequencies = class_frequencies(k);
        tables.base[k] = static_cast<std::uint16_t>(at);
        tables.width[k] = static_cast<std::uint8_t>((frequencies.size() - 2) / 2);
        std::uint32_t start = 0;
        for (std::size_t i = 0; i < frequencies.size(); ++i) {
            if (at >= kWarpStarts) throw std::logic_error("more symbols than the tables of warps hold");
            tables.starts[at++] = static_cast<std::uint16_t>(start);
            // Every coarse slot that begins within this symbol.
            for (std::uint32_t slot = (start + (1u << kCoarseBits) - 1) >> kCoarseBits;
                 slot << kCoarseBits < start + frequencies[i]; ++slot)
                tables.coarse[k * kCoarseEntries + slot] = static_cast<std::uint8_t>(i);
            start += frequencies[i];
        }
        if (start != kProbabilityScale || at >= kWarpStarts) throw std::logic_error("frequencies do not sum to 4096");
        tables.starts[at++] = kProbabilityScale;
    }
    return tables;
}

WarpEncodeTables make_warp_encode_tables() {
    WarpEncodeTables tables{};
    std::size_t at = 0;
    for (std::uint32_t k = 1; k < kClasses; ++k) {
        const std::vector<std::uint16_t> frequencies = class_frequencies(k);
        tables.base[k] = static_cast<std::uint16_t>(at);
        tables.width[k] = static_cast<std::uint8_t>(k < kGaussianClasses ? (frequencies.size() - 2) / 2 : 0);
        std::uint32_t start = 0;
        for (const std::uint16_t frequency : frequencies) {
            if (at >= kWarpEntries) throw std::logic_error("more symbols than the tables of warps hold");
            tables.range[at] = pack_encode_entry(start, frequency);
            tables.reciprocal[at++] = reciprocal_of(frequency);
            start += frequency;
        }
    }
    return tables;
}

}  // namespace duoview
