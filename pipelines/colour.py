"""From decoded RGB back to the source's colour description, so that players show what they showed of the source."""

from __future__ import annotations

from dataclasses import dataclass

import av

from duoview.sequence import Colour

_RGB, _UNSPECIFIED, _FULL, _LIMITED, _BT709 = 0, 2, 2, 1, 1
# Matrices that the encoder converts with, by libswscale's names; it takes BT.601 for all others (duoview.picture).
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}


@dataclass(frozen=True)
class OutputColour:
    """How RGB becomes YUV (`matrix`, by libswscale's name, and `full` range) and what the result is tagged as."""

    matrix: str
    full: bool
    tags: Colour

    @property
    def filter(self) -> str:
        """The options of native filter ``scale`` that convert RGB so."""
        return f"in_range=full:out_color_matrix={self.matrix}:out_range={'full' if self.full else 'limited'}"

    def tag(self, frame: av.VideoFrame) -> None:
        """Write the tags on a frame."""
        frame.color_primaries = self.tags.primaries
        frame.color_trc = self.tags.transfer
        frame.colorspace = self.tags.matrix
        frame.color_range = self.tags.range


def output_colour(source: Colour) -> OutputColour:
    """The colour of YUV output for a stream whose source was tagged so.

    What was YUV returns to the same matrix, range and tags; what was RGB becomes BT.709 limited range.
    """
    if source.matrix == _RGB:
        return OutputColour("bt709", False, Colour(source.primaries, source.transfer, _BT709, _LIMITED))
    full = source.range == _FULL
    tags = Colour(source.primaries, source.transfer, source.matrix, _FULL if full else _LIMITED)
    return OutputColour(_MATRICES.get(source.matrix, "bt601"), full, tags)
