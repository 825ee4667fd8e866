"""Writes kernels/include/duoview/normal_table.hpp: the integer inverse CDF that turns uniform bits into normals.

Run once, by hand: ``python kernels/tables/make_normal.py``. The header is committed and is the truth.

The upper half of the standard normal is tabulated. An odd 32-bit number w stands for the tail probability w / 2^33 in
(0, 1/2): the middle of a cell, so that 0 and 1/2 do not occur. The table has 128 entries for every octave of w, so the
relative resolution is the same far out as near 0, and kernels interpolate linearly between them: entry 128 * o + s is
the quantile at w = 2^o * (1 + s / 128), in units of 2^-21 (the largest, 6.34 sigma, fits 24 bits and so is exact in
float32).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

OCTAVES = 32
STEPS = 128
FRACTION_BITS = 21


def quantile(w: float) -> int:
    """The z with P(X > z) = w / 2^33, rounded to the table's units."""
    return round(-NormalDist().inv_cdf(w / 2.0**33) * 2**FRACTION_BITS)


def wrapped(values: list[int]) -> str:
    lines, line = [], "   "
    for value in values:
        text = f" {value},"
        if len(line) + len(text) > 118:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([*lines, line])


def main() -> None:
    table = [quantile(2.0**o * (1 + s / STEPS)) for o in range(OCTAVES) for s in range(STEPS)] + [0]
    drops = [a - b for a, b in pairwise(table)]
    # What the kernels rely on: quantiles fall, a difference times a 16-bit fraction fits 32 bits, float32 is exact.
    assert min(drops) > 0 and max(drops) < 1 << 15 and table[0] < 1 << 24
    # What the kernels rely on: quantiles fall, a difference times a 16-bit fraction fits 32 bits, float32 is exact.
#pragma once

#include <cstdint>

namespace duoview {{

static constexpr int kNormalFractionBits = {FRACTION_BITS};

// Quantiles of the upper half of the standard normal in units of 2^-{FRACTION_BITS}; the script says what the index is.
static constexpr std::int32_t kNormalQuantile[{len(table)}] = {{
{wrapped(table)}
}};

}}  // namespace duoview
"""
    target = Path(__file__).resolve().parent.parent / "include" / "duoview" / "normal_table.hpp"
    target.write_text(text, encoding="utf-8")
    print(f"{target.name}: {len(table)} numbers, {len(text)} bytes, largest step {max(drops)}")


if __name__ == "__main__":
    main()
