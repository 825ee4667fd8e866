// The chain of the texture layer between its exact network and the entropy coder, by warps: what duoview.texture does on the
// host. Nodes are (groups, height, width); a step to their children is made in the two halves of checkerboard.hpp.
#pragma once

#include <cstdint>

#include "duoview/checkerboard.hpp"
#include "duoview/node_error.hpp"
#include "duoview/palette.hpp"
#include "duoview/philox.hpp"
#include "duoview/warp.hpp"
#include "duoview/warp_checkerboard.hpp"
#include "duoview/warp_planes.hpp"

namespace duoview {

static constexpr float kDecidedSign = 64.0f;        // what a decided child is for the network, plus or minus
static constexpr std::int32_t kLogits = 256;        // of the network, in sixteenths, from -128 on
static constexpr std::uint8_t kChildIsCoded = 2;    // of a child that is neither certain nor held; else it is 0 or 1
static constexpr std::uint64_t kBlockSide = 8;      // positions on a side of what is held or coded as a whole
static constexpr std::uint64_t kMoveReach = 1;      // a coded position changes those next to it too

// What the network sees of nodes: (groups * numbers, height, width) from embeddings (groups, nodes, numbers).
struct EmbedNodes {
    const std::uint8_t* nodes;
    const float* embedding;
    float* planes;
    std::uint64_t groups;
    std::uint64_t positions;
    std::uint64_t node_count;
    std::uint64_t numbers;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, groups * positions, item, [&](std::uint64_t i) {
            const std::uint64_t group = i / positions, position = i % positions;
            const float* const row = embedding + (group * node_count + nodes[i]) * numbers;
            float* const out = planes + group * numbers * positions + position;
            for (std::uint64_t number = 0; number < numbers; ++number) out[number * positions] = row[number];
        });
    }
};

// Children in the frame before, as signs: 0 where they are not known or their parent is another node now.
struct PreviousChildren {
    const std::uint8_t* before;  // nodes of the frame before, `levels` below the children
    const std::uint8_t* known;   // (height, width)
    const std::uint8_t* nodes;
    float* signs;
    std::uint64_t groups;
    std::uint64_t positions;
    std::uint64_t levels;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, groups * positions, item, [&](std::uint64_t i) {
            const std::uint32_t child = std::uint32_t{before[i]} >> levels;
            const bool same = known[i % positions] != 0 && child >> 1 == nodes[i];
            signs[i] = same ? (child & 1u ? kDecidedSign : -kDecidedSign) : 0.0f;
        });
    }
};

// Classes of a half's child decisions, 0 where nothing is coded; and which child that is then.
struct ChildClasses {
    const std::int16_t* logits;
    const std::uint8_t* nodes;
    const std::int8_t* own;      // (groups, nodes): what is added to the logits at a node
    const std::uint8_t* table;   // (256,): the class of every logit; 0 where the likely child is certain
    const std::uint8_t* held;    // (height, width), or null: positions that keep their child of the frame before
    const float* previous;
    std::uint8_t* classes;
    std::uint8_t* fixed;
    std::uint64_t groups;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t node_count;
    std::uint64_t half;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t group = item / height;
        each_of_row(warp, {groups, height, width}, half, item, [&](std::uint64_t i, std::uint64_t at, std::uint64_t) {
            std::int32_t logit = std::int32_t{logits[i]} + own[group * node_count + nodes[i]];
            logit = logit < -kLogits / 2 ? -kLogits / 2 : logit;
            logit = logit > kLogits / 2 - 1 ? kLogits / 2 - 1 : logit;
            const std::uint8_t k = table[logit + kLogits / 2];
            const bool keeps = held != nullptr && held[at] != 0;
            classes[i] = keeps ? std::uint8_t{0} : k;
            fixed[i] = static_cast<std::uint8_t>(keeps ? (previous[i] > 0.0f ? 1 : 0) : k == 0 ? (logit >= 0 ? 1 : 0)
                                                                                                : kChildIsCoded);
        });
    }
};

// A half's children from what is known of them: nodes of the next depth, and their bits as signs for the other half.
DUOVIEW_WARP void put_child(std::uint64_t i, std::uint32_t bit, const std::uint8_t* nodes, std::uint8_t* children, float* decided) {
    children[i] = static_cast<std::uint8_t>(std::uint32_t{nodes[i]} << 1 | bit);
    decided[i] = bit ? kDecidedSign : -kDecidedSign;
}

// From decoded symbols (N,) of the half, in coding order.
struct TakeChildren {
    const std::int16_t* coded;
    const std::uint8_t* fixed;
    const std::uint8_t* nodes;
    std::uint8_t* children;
    float* decided;
    std::uint64_t groups;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t half;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_row(warp, {groups, height, width}, half, item, [&](std::uint64_t i, std::uint64_t, std::uint64_t place) {
            const std::uint32_t bit = fixed[i] == kChildIsCoded ? static_cast<std::uint32_t>(coded[place]) & 1u : fixed[i];
            put_child(i, bit, nodes, children, decided);
        });
    }
};

// From wanted nodes, `levels` below the children; what is coded of them, in coding order.
struct OfferChildren {
    const std::uint8_t* wanted;
    const std::uint8_t* fixed;
    const std::uint8_t* nodes;
    std::int16_t* coded;
    std::uint8_t* children;
    float* decided;
    std::uint64_t groups;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t half;
    std::uint64_t levels;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_row(warp, {groups, height, width}, half, item, [&](std::uint64_t i, std::uint64_t, std::uint64_t place) {
            const std::uint32_t asked = std::uint32_t{wanted[i]} >> levels & 1u;
            const bool free = fixed[i] == kChildIsCoded;
            coded[place] = static_cast<std::int16_t>(free ? asked : 0u);
            put_child(i, free ? asked : fixed[i], nodes, children, decided);
        });
    }
};

// Drawn with their probabilities. Row r of group g takes the half-words from (top + r) * row_positions + left on of stream
// draw << 16 | depth << 8 | g.
struct DrawChildren {
    const std::uint8_t* classes;
    const std::uint8_t* fixed;
    const std::uint8_t* nodes;
    std::uint8_t* children;
    float* decided;
    std::uint64_t groups;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t half;
    std::uint64_t seed;
    std::uint64_t draw;
    std::uint64_t depth;
    std::uint64_t top;
    std::uint64_t left;
    std::uint64_t row_positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t group = item / height, row = item % height;
        each_of_row(warp, {groups, height, width}, half, item, [&](std::uint64_t i, std::uint64_t at, std::uint64_t) {
            std::uint32_t bit = fixed[i];
            if (bit == kChildIsCoded) {
                const std::uint64_t element = (top + row) * row_positions + left + at % width;
                const PhiloxBlock random = philox_at(seed, draw << 16 | depth << 8 | group, element / 8);
                bit = child_bit(half_word(random.word[element % 8 / 2], element % 2), classes[i]);
            }
            put_child(i, bit, nodes, children, decided);
        });
    }
};

// Positions of the blocks whose flag is 0; one of them that nobody knows is a fault.
struct HeldPositions {
    const std::int16_t* flags;  // (height / 8, width / 8)
    const std::uint8_t* known;  // (height, width)
    std::uint8_t* held;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t* error;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, height * width, item, [&](std::uint64_t i) {
            const bool keeps = flags[i / width / kBlockSide * (width / kBlockSide) + i % width / kBlockSide] == 0;
            if (keeps && known[i] == 0) warp.atomic_min(error, error_word(DeviceFault::held_unknown, i));
            held[i] = keeps ? 1 : 0;
        });
    }
};

// What nodes stand for, put into a part of planes (channels, rows, columns); positions that are held keep what they have. A
// second choice of nodes counts by `share`: first + share * (second - first). A table is (groups, nodes, channels), or null:
// zeros. Without nodes the first is what the planes hold. A warp does one row of one channel.
struct LookUpNodes {
    const std::uint8_t* nodes;   // or null
    const float* table;
    const std::uint8_t* others;  // or null: none
    const float* other_table;
    const float* share;          // one number
    const std::uint8_t* held;    // (height, width), or null
    float* planes;
    std::uint64_t groups;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t channels;
    std::uint64_t node_count;
    std::uint64_t other_count;
    std::uint64_t top;
    std::uint64_t left;
    std::uint64_t rows;
    std::uint64_t columns;

    DUOVIEW_WARP_MEMBER float sum(const std::uint8_t* of, const float* in, std::uint64_t count, std::uint64_t channel,
                                  std::uint64_t at) const {
        float total = 0.0f;
        if (in == nullptr) return total;
        for (std::uint64_t group = 0; group < groups; ++group)
            total += in[(group * count + of[group * height * width + at]) * channels + channel];
        return total;
    }

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t channel = item / height, row = item % height;
        float* const to = planes + (channel * rows + top + row) * columns + left;
        for (std::uint64_t base = 0; base < width; base += kWarpLanes)
            warp.each([&](std::uint32_t lane) {
                const std::uint64_t column = base + lane, at = row * width + column;
                if (column >= width || (held != nullptr && held[at] != 0)) return;
                float found = nodes == nullptr ? to[column] : sum(nodes, table, node_count, channel, at);
                if (others != nullptr) found += *share * (sum(others, other_table, other_count, channel, at) - found);
                to[column] = found;
            });
    }
};

// One number for a part of a plane (rows, columns) of bytes, but where positions are held.
struct MarkPositions {
    const std::uint8_t* held;  // (height, width), or null
    std::uint8_t* plane;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t top;
    std::uint64_t left;
    std::uint64_t columns;
    std::uint64_t value;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, height * width, item, [&](std::uint64_t i) {
            if (held == nullptr || held[i] == 0)
                plane[(top + i / width) * columns + left + i % width] = static_cast<std::uint8_t>(value);
        });
    }
};

// Planes (channels, height, width) without what lies where a part of (rows, columns) is marked: zeros there.
template <typename T>
struct WithoutMarked {
    const T* planes;
    const std::uint8_t* marked;
    T* out;
    std::uint64_t channels;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t top;
    std::uint64_t left;
    std::uint64_t columns;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, channels * height * width, item, [&](std::uint64_t i) {
            const std::uint64_t at = i % (height * width);
            out[i] = marked[(top + at / width) * columns + left + at % width] != 0 ? T{} : planes[i];
        });
    }
};

using FloatsWithoutMarked = WithoutMarked<float>;
using BytesWithoutMarked = WithoutMarked<std::uint8_t>;

// (height, width): whether any channel's symbol is other than 0.
struct CodedPositions {
    const std::int16_t* symbols;
    std::uint8_t* coded;
    std::uint64_t channels;
    std::uint64_t positions;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, positions, item, [&](std::uint64_t i) {
            std::uint8_t any = 0;
            for (std::uint64_t channel = 0; channel < channels && any == 0; ++channel)
                any = symbols[channel * positions + i] != 0 ? 1 : 0;
            coded[i] = any;
        });
    }
};

// (2 height, 2 width): what a P frame may have changed, 3x3 around every coded position and where something moves.
struct TouchedPositions {
    const std::uint8_t* coded;
    const std::uint8_t* moving;  // (height, width), or null
    std::uint8_t* touched;
    std::uint64_t height;
    std::uint64_t width;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, 4 * height * width, item, [&](std::uint64_t i) {
            const std::uint64_t row = i / (2 * width) / 2, column = i % (2 * width) / 2;
            bool any = moving != nullptr && moving[row * width + column] != 0;
            const std::uint64_t last_row = row + kMoveReach < height ? row + kMoveReach : height - 1;
            const std::uint64_t last_column = column + kMoveReach < width ? column + kMoveReach : width - 1;
            for (std::uint64_t y = row > 0 ? row - kMoveReach : 0; y <= last_row && !any; ++y)
                for (std::uint64_t x = column > 0 ? column - kMoveReach : 0; x <= last_column && !any; ++x)
                    any = coded[y * width + x] != 0;
            touched[i] = any ? 1 : 0;
        });
    }
};

// Components (groups * numbers, height * width) as vectors (positions, groups, numbers + beside), over their group's scale.
// Of what stands beside, the first is 0, and the second the node (groups, positions) times `apart`.
struct GatherVectors {
    const float* components;
    const float* scale;          // (groups,)
    const std::uint8_t* nodes;   // or null: one number stands beside
    const float* apart;          // one number
    float* vectors;
    std::uint64_t groups;
    std::uint64_t numbers;
    std::uint64_t height;
    std::uint64_t width;
    std::uint64_t top;           // of a part of planes (.., rows, columns)
    std::uint64_t left;
    std::uint64_t rows;
    std::uint64_t columns;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        const std::uint64_t positions = height * width, wide = numbers + (nodes != nullptr ? 2 : 1);
        each_of_tile(warp, groups * positions, item, [&](std::uint64_t i) {
            const std::uint64_t group = i / positions, at = i % positions;
            const float* const from = components + (group * numbers * rows + top + at / width) * columns + left + at % width;
            float* const to = vectors + (at * groups + group) * wide;
            for (std::uint64_t number = 0; number < numbers; ++number) to[number] = from[number * rows * columns] / scale[group];
            to[numbers] = 0.0f;
            if (nodes != nullptr) to[numbers + 1] = static_cast<float>(nodes[i]) * *apart;
        });
    }
};

// Leaves (positions, groups) to leaves (groups, positions): all of them, or where their ancestor is another than the node.
// Positions that are held take those of before.
struct TakeLeaves {
    const std::uint8_t* found;
    const std::uint8_t* nodes;   // or null: all
    const std::uint8_t* held;    // (positions,), or null
    const std::uint8_t* before;  // with held
    std::uint8_t* leaves;
    std::uint64_t groups;
    std::uint64_t positions;
    std::uint64_t levels;       // of leaves below nodes

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, groups * positions, item, [&](std::uint64_t i) {
            if (held != nullptr && held[i % positions] != 0)
                leaves[i] = before[i];
            else if (nodes == nullptr || std::uint32_t{leaves[i]} >> levels != nodes[i])
                leaves[i] = found[i % positions * groups + i / positions];
        });
    }
};

// Squared errors (positions,) that nodes (groups, positions) leave of vectors (positions, groups, wide), the first `numbers`
// of which count; group by group, times `factor` in the end.
struct NodeErrors {
    const float* vectors;
    const std::uint8_t* nodes;
    const float* table;   // (groups, nodes, numbers), or null: there is nothing yet
    const float* scale;   // (groups,)
    const float* factor;  // one number
    float* errors;
    std::uint64_t positions;
    std::uint64_t groups;
    std::uint64_t node_count;
    std::uint64_t numbers;
    std::uint64_t wide;

    DUOVIEW_WARP_MEMBER void run(const Warp& warp, std::uint64_t item) const {
        each_of_tile(warp, positions, item, [&](std::uint64_t i) {
            float sum = 0.0f;
            for (std::uint64_t group = 0; group < groups; ++group) {
                const float* const node =
                    table == nullptr ? nullptr : table + (group * node_count + nodes[group * positions + i]) * numbers;
                sum = node_error(sum, vectors + (i * groups + group) * wide, node, numbers, scale[group]);
            }
            errors[i] = sum * *factor;
        });
    }
};

}  // namespace duoview
