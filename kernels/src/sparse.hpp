// Elements of class 0 are not coded: packing the classes of the others, and spreading their symbols out again.
#pragma once

#include <cstddef>
#include <cstdint>

namespace duoview {

// Copies the classes other than 0, in order; `packed` has room for `count`. Returns how many there are.
using PackFunction = std::size_t (*)(const std::uint8_t* classes, std::size_t count, std::uint8_t* packed);

// The same for the symbols of those classes.
using PackSymbolsFunction = std::size_t (*)(const std::uint8_t* classes, const std::int16_t* symbols, std::size_t count,
                                            std::int16_t* packed);

// `symbols` holds `coded` symbols in front and room for `count`: moves each to the place of its class, 0 elsewhere. Runs from
// the end, where places are never behind what they are filled from, so one array is enough.
using SpreadFunction = void (*)(const std::uint8_t* classes, std::size_t count, std::size_t coded, std::int16_t* symbols);

std::size_t pack_scalar(const std::uint8_t* classes, std::size_t count, std::uint8_t* packed);
std::size_t pack_avx2(const std::uint8_t* classes, std::size_t count, std::uint8_t* packed);
std::size_t pack_symbols_scalar(const std::uint8_t* classes, const std::int16_t* symbols, std::size_t count,
                                std::int16_t* packed);
std::size_t pack_symbols_avx2(const std::uint8_t* classes, const std::int16_t* symbols, std::size_t count,
                              std::int16_t* packed);
void spread_scalar(const std::uint8_t* classes, std::size_t count, std::size_t coded, std::int16_t* symbols);
void spread_avx2(const std::uint8_t* classes, std::size_t count, std::size_t coded, std::int16_t* symbols);

}  // namespace duoview
