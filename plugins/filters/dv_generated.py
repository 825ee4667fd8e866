"""``dv_generated``: where a picture was generated, as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from duoview.generated import generated_map
from duoview.picture import PictureReader, matrix_of, to_frame
from duoview.plugins.errors import FrameError
from duoview.plugins.links import LinkType, copy_properties
from duoview.plugins.options import option
from duoview.plugins.paired_stage import PairedStage

SHOWN = ("map", "overlay")
_TINT = (255, 96, 0)
_STRONGEST = 0.6  # of the tint, where all is generated


class Generated(PairedStage):
    """Compare a generated view with what was coded, pixel by pixel.

    ``map`` gives a grey picture, black where the view is as it was coded, white where all of its detail was
    generated, as `duoview.generated.generated_map` counts it; ``overlay`` the generated view with that share of a tint.
    Both come in the generated view's pixel format, at its times, with its frame.opaque. Of a human view that starts
    from texture, the texture view is what was coded.
    """

    name = "dv_generated"
    input = LinkType.VIDEO
    output = LinkType.VIDEO
    pads = ("coded", "generated")

    @dataclass(frozen=True)
    class Options:
        """Options of dv_generated."""

        show: str = option("map", choices=SHOWN, help="the map, grey, or the generated view tinted by it")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._readers = PictureReader(), PictureReader()
        self._formatter = VideoReformatter()

    def pair(self, first: av.VideoFrame, second: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The map or the overlay of a coded and a generated frame. Raises FrameError where their sizes differ."""
        if (first.width, first.height) != (second.width, second.height):
            raise FrameError(f"{self.label}: the coded picture is {first.width}x{first.height}, the generated one "
                             f"{second.width}x{second.height}; expected both in one size")
        width, height = second.width, second.height
        coded, shown = (reader.read(frame)[0, :, :height, :width]
                        for reader, frame in zip(self._readers, (first, second), strict=True))
        share = generated_map(shown, coded)
        picture = np.broadcast_to(share, shown.shape) if self.options.show == "map" else _tinted(shown, share)
        yield copy_properties(second, self._in_form_of(second, to_frame(picture[None], width, height)))

    def reset(self) -> None:
        """Forget the frames before."""
        super().reset()
        self._readers = PictureReader(), PictureReader()

    def _in_form_of(self, frame: av.VideoFrame, made: av.VideoFrame) -> av.VideoFrame:
        """An RGB frame in the pixel format, matrix and range of another."""
        if frame.format.name != made.format.name:
            full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
            made = self._formatter.reformat(made, format=frame.format.name, dst_colorspace=matrix_of(frame),
                                            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG)
        return made


def _tinted(shown: NDArray[np.uint8], share: NDArray[np.uint8]) -> NDArray[np.uint8]:
    part = share * np.float32(_STRONGEST / 255)
    tint = np.array(_TINT, np.float32)[:, None, None]
    return np.rint(shown + (tint - shown) * part).astype(np.uint8)
