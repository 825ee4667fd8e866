"""A frame's samples as arrays that can be written to, and what a colour is in them. Nothing here converts a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from duoview.picture import matrix_of

from .errors import FrameError, OptionError, suggestion

#: Colours that have a name, HTML 4's; any other is #rrggbb or 0xrrggbb.
COLOURS = {
    "black": (0, 0, 0), "silver": (192, 192, 192), "gray": (128, 128, 128), "white": (255, 255, 255),
    "maroon": (128, 0, 0), "red": (255, 0, 0), "purple": (128, 0, 128), "fuchsia": (255, 0, 255), "green": (0, 128, 0),
    "lime": (0, 255, 0), "olive": (128, 128, 0), "yellow": (255, 255, 0), "navy": (0, 0, 128), "blue": (0, 0, 255),
    "teal": (0, 128, 128), "aqua": (0, 255, 255), "orange": (255, 165, 0),
}

#: Bytes of a pixel, and the place of each component in it, in the order red, green, blue.
_PACKED = {
    "rgb24": (3, (0, 1, 2)), "bgr24": (3, (2, 1, 0)), "rgba": (4, (0, 1, 2)), "bgra": (4, (2, 1, 0)),
    "argb": (4, (1, 2, 3)), "abgr": (4, (3, 2, 1)), "rgb0": (4, (0, 1, 2)), "bgr0": (4, (2, 1, 0)),
    "0rgb": (4, (1, 2, 3)), "0bgr": (4, (3, 2, 1)),
}
#: The place of U and V in a plane that holds both.
_SEMIPLANAR = {"nv12": (0, 1), "nv21": (1, 0), "nv16": (0, 1), "nv24": (0, 1), "nv42": (1, 0)}
#: Red's and blue's part of luma, by matrix (ITU-T H.273).
_LUMA = {Colorspace.ITU709: (0.2126, 0.0722), Colorspace.FCC: (0.30, 0.11), Colorspace.ITU601: (0.299, 0.114),
         Colorspace.SMPTE240M: (0.212, 0.087), Colorspace.BT2020: (0.2627, 0.0593)}


@dataclass(frozen=True)
class Layout:
    """How a pixel format keeps its samples.

    planes: of each component but alpha, in the order of the format's description: Y, U, V, or red, green, blue. bits:
    of a sample. shifts: log2 of how many pixels share a sample, across and down, by component. rgb: whether it is RGB.
    alpha: the plane that holds it, None where there is none.
    """

    planes: tuple[int, ...]
    bits: int
    shifts: tuple[tuple[int, int], ...]
    rgb: bool
    dtype: np.dtype[Any]
    alpha: int | None = None

    @property
    def unit(self) -> tuple[int, int]:
        """Width and height of the pixels that share samples: what drawings must keep to."""
        return 1 << max(across for across, _ in self.shifts), 1 << max(down for _, down in self.shifts)


def layout_of(stage: str, name: str) -> Layout:
    """The layout of a pixel format, by FFmpeg's name. Raises FrameError for one that cannot be written to here."""
    layout = _layout(name)
    if layout is None:
        raise FrameError(f"{stage}: cannot draw in {name} pictures: put format=yuv420p (or another planar YUV, nv12, "
                         "grey or RGB format of 8 to 16 bits) in front of it")
    return layout


def samples_of(stage: str, frame: av.VideoFrame) -> list[NDArray[Any]]:
    """(rows, columns) of each component but alpha, views of the frame's own memory, padding left out.

    The frame must be writable and upright, as `References.copy` gives it. Raises FrameError.
    """
    layout, name = layout_of(stage, frame.format.name), frame.format.name
    views = []
    for index, plane in enumerate(layout.planes):
        raw = frame.planes[plane]
        rows = np.frombuffer(memoryview(raw), np.uint8).reshape(-1, raw.line_size)
        across, down = layout.shifts[index]
        width, height = -(-frame.width >> across), -(-frame.height >> down)
        if name in _PACKED:
            step, places = _PACKED[name]
            view: NDArray[Any] = rows[:height, places[index]:step * width:step]
        elif name in _SEMIPLANAR and index:
            view = rows[:height, _SEMIPLANAR[name][index - 1]:2 * width:2]
        else:
            view = rows[:height].view(layout.dtype)[:, :width]
        views.append(view)
    return views


def alpha_of(stage: str, frame: av.VideoFrame) -> NDArray[Any] | None:
    """(height, width) how opaque each pixel is, a view as those of `samples_of`; None for a format without it."""
    layout = layout_of(stage, frame.format.name)
    if layout.alpha is None:
        return None
    raw = frame.planes[layout.alpha]
    rows = np.frombuffer(memoryview(raw), np.uint8).reshape(-1, raw.line_size)[:frame.height]
    if frame.format.name in _PACKED:
        step, places = _PACKED[frame.format.name]
        (place,) = {*range(step)} - {*places}
        return rows[:, place:step * frame.width:step]
    return rows.view(layout.dtype)[:, :frame.width]


def parse_colour(stage: str, option: str, text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour's name, #rrggbb or 0xrrggbb. Raises OptionError."""
    word = text.strip().lower()
    if word in COLOURS:
        return COLOURS[word]
    digits = word.removeprefix("#").removeprefix("0x")
    if len(digits) == 6 and len(digits) < len(word) and all(digit in "0123456789abcdef" for digit in digits):
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    raise OptionError(f"{stage}: {option}={text!r}: expected #rrggbb, 0xrrggbb or one of {', '.join(COLOURS)}"
                      f"{suggestion(word, COLOURS)}")


def colour_in(stage: str, frame: av.VideoFrame, colour: tuple[int, int, int]) -> tuple[int, ...]:
    """The samples of a colour, one per component, by the frame's own matrix and range. Raises FrameError."""
    layout = layout_of(stage, frame.format.name)
    shares = [part / 255 for part in colour]
    most = (1 << layout.bits) - 1
    if layout.rgb:
        return tuple(round(share * most) for share in shares)
    red, blue = _LUMA[matrix_of(frame)]
    luma = red * shares[0] + (1 - red - blue) * shares[1] + blue * shares[2]
    scale = 1 << (layout.bits - 8)
    if _is_full_range(frame, layout):
        values = [luma * most]
        chroma, middle = float(most), (most + 1) / 2
    else:
        values = [(16 + 219 * luma) * scale]
        chroma, middle = 224.0 * scale, 128.0 * scale
    if len(layout.planes) == 3:
        values.append(middle + chroma * (shares[2] - luma) / (2 * (1 - blue)))
        values.append(middle + chroma * (shares[0] - luma) / (2 * (1 - red)))
    return tuple(min(most, math.floor(value + 0.5)) for value in values)


def _is_full_range(frame: av.VideoFrame, layout: Layout) -> bool:
    told = int(frame.color_range)
    if told in (int(ColorRange.MPEG), int(ColorRange.JPEG)):
        return told == int(ColorRange.JPEG)
    # Where nothing is told, libswscale takes grey as full range, and YUV as limited but for yuvj.
    return len(layout.planes) == 1 or frame.format.name.startswith("yuvj")


def _layout(name: str) -> Layout | None:
    # 64 pixels: what shares a sample can be told from the components' sizes.
    described = av.VideoFormat(name, 64, 64)
    parts = [part for part in described.components if not part.is_alpha]
    bits = {part.bits for part in parts}
    planes = tuple(part.plane for part in parts)
    one_each = len(set(planes)) == len(planes) and described.padded_bits_per_pixel >= 8
    if len(parts) not in (1, 3) or len(bits) != 1 or not 8 <= min(bits) <= 16 or described.has_palette:
        return None
    if described.is_bayer or described.is_bit_stream or not (one_each or name in _PACKED or name in _SEMIPLANAR):
        return None
    if not one_each and bits != {8}:
        return None
    if (len(parts) == 1 and name.startswith("ya")) or "msb" in name or "f16" in name:
        return None  # grey beside alpha, samples that are shifted up, half floats
    shifts = tuple(((64 // part.width).bit_length() - 1, (64 // part.height).bit_length() - 1) for part in parts)
    wide = ">u2" if described.is_big_endian else "<u2"
    alpha = [part.plane for part in described.components if part.is_alpha]
    return Layout(planes, min(bits), shifts, described.is_rgb, np.dtype(np.uint8 if bits == {8} else wide),
                  alpha[0] if alpha else None)
