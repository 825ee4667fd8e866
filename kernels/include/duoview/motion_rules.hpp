// What the motion search does, for the CPU and for warps: both find the same vectors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/host_device.hpp"

namespace duoview {

constexpr int kMaxReach = 32;           // whole pixels
constexpr std::size_t kBandRows = 4;    // rows of cells that know of each other's vectors: one job of a thread or warp
// In grey levels a pixel. A cell that differs less where it is stays there; one below kSearched takes a neighbour's vector or
// none: smooth parts of what moves differ little, and there is nothing in them to search for.
constexpr std::uint32_t kStill = 1;
constexpr std::uint32_t kSearched = 2;

constexpr int kShrunkFactor = 4;        // of height and width, to the planes on which the search begins
constexpr int kCoarseSize = 8;          // samples of the shrunk planes that are compared: 32 x 32 of the planes
constexpr int kCoarseReach = kMaxReach / kShrunkFactor;
constexpr int kCoarseSide = 2 * kCoarseReach + 1;
constexpr std::size_t kCoarseBest = 4;  // minima of the coarse search that are looked at
constexpr int kRefine = 3;              // whole pixels around each of them: half a sample of the shrunk planes, and one more
constexpr std::uint32_t kBitPrice = 20;  // what a bit of a vector costs, in grey levels of a cell of 16 x 16

// Half a grey level a pixel, of a cell of so many: less is not worth a vector.
DUOVIEW_HD constexpr std::uint32_t vector_gain(std::uint32_t pixels) { return pixels / 2; }

}  // namespace duoview
