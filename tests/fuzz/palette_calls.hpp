// What the palette targets share: addresses within a stream, and errors as values.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "input.hpp"
#include "noise.hpp"

namespace fuzz {

inline duoview::NoiseAddress address(Input& input) {
    duoview::NoiseAddress address{};
    address.seed = input.number<std::uint64_t>();
    address.stream = input.number<std::uint64_t>();
    address.offset = input.number<std::uint64_t>();
    return address;
}

// Moved to the front as far as `count` positions behind it need, where `last` is the last position of a stream.
inline duoview::NoiseAddress within(duoview::NoiseAddress address, std::size_t count, std::uint64_t last) {
    const std::uint64_t greatest = count == 0 ? last : last - (count - 1);
    if (address.offset > greatest) address.offset = greatest;
    return address;
}

inline duoview::NoiseAddress advanced(duoview::NoiseAddress address, std::size_t count) {
    address.offset += count;
    return address;
}

// The message of the error that the caller's arguments earned, empty where there was none.
template <typename Call>
std::string error_of(const Call& call) {
    try {
        call();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "";
}

}  // namespace fuzz
