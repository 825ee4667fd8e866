"""What exact networks see of a standard codec's picture: integer means of its blocks (docs/bitstream.md, Texture).

Standard decoders are exact to the bit, and these means are integer arithmetic on what they give, so they are the same
on every machine; pictures in RGB, or scaled ones, need not be.
"""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from duoview.errors import LimitError
from duoview.picture import padded, plane_rows

#: Side in pixels of a block of luma and of chroma, and of the square whose means stand at one place.
LUMA, CHROMA, SQUARE = 2, 8, 16
#: Numbers at a place: luma's, then those of both chroma planes, each row by row.
MEANS = (SQUARE // LUMA) ** 2 + 2 * (SQUARE // CHROMA) ** 2
_MIDDLE = 128


def block_means(frame: av.VideoFrame, coded: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Means of a decoded picture, less 128: (1, MEANS, H / 16, W / 16), integers from -128 to 127.

    coded: width and height of what counts of the frame, its top left part. size: of the sequence, at least as large; H
    and W are that padded to whole coding units, by the last block. Deeper samples count by their eight highest bits.
    Raises LimitError for what is not planar YUV or grey.
    """
    components = frame.format.components
    planar = len(components) == len(frame.planes) in (1, 3)  # packed samples are components of one plane
    if frame.format.is_rgb or frame.format.has_palette or not planar or not 8 <= components[0].bits <= 16:
        raise LimitError(f"pixel format {frame.format.name}: texture needs pictures of planar YUV or grey")
    rows, columns = (padded(side) // SQUARE for side in reversed(size))
    parts = []
    for number, block in enumerate((LUMA, CHROMA, CHROMA)):
        if number >= len(frame.planes):
            parts.append(np.zeros(((SQUARE // block) ** 2, rows, columns), np.int64))
            continue
        plane, bits = frame.planes[number], components[number].bits
        samples = plane_rows(plane).view("<u2") >> (bits - 8) if bits > 8 else plane_rows(plane)
        # Of a chroma sample that is only in part within the coded size, all counts.
        height, width = (-(-side * whole // full) for side, whole, full in (
            (coded[1], plane.height, frame.height), (coded[0], plane.width, frame.width)))
        sums, counts = _boxes(samples[:height, :width], size[1], block)
        sums, wide = _boxes(sums.T, size[0], block)
        sums, counts = sums.T, counts[:, None] * wide
        inside = (2 * sums + counts) // (2 * counts) - _MIDDLE
        around = (rows * SQUARE // block - inside.shape[0], columns * SQUARE // block - inside.shape[1])
        filled = np.pad(inside, ((0, around[0]), (0, around[1])), mode="edge")
        each = SQUARE // block
        parts.append(filled.reshape(rows, each, columns, each).transpose(1, 3, 0, 2).reshape(-1, rows, columns))
    return np.concatenate(parts)[None].astype(np.float32)


def _boxes(samples: NDArray[np.integer], length: int, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums of the rows (n, m) that each block of ``block`` of ``length`` pixels covers, (blocks, m), and their number.

    Block i covers the rows from i block n / length on to that of the next one, rounded down, one at least.
    """
    count = len(samples)
    starts = np.arange(0, length, block)
    first = starts * count // length
    last = np.maximum(np.minimum(starts + block, length) * count // length, first + 1)
    total = np.concatenate([np.zeros((1, samples.shape[1]), np.int64), samples.cumsum(0, np.int64)])
    return total[last] - total[first], last - first
