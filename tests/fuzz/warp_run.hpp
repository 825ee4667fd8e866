// Runs warp programs as a GPU does, but lane by lane and one warp after the other.
#pragma once

#include <cstdint>

#include "duoview/warp_programs.hpp"

namespace fuzz {

template <typename Program>
void run(const Program& program, std::uint64_t warps) {
    const duoview::Warp warp;
    for (std::uint64_t item = 0; item < warps; ++item) program.run(warp, item);
}

}  // namespace fuzz
