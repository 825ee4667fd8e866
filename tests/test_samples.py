"""Samples of frames as arrays, and colours in them: held against libswscale's own conversion."""

from __future__ import annotations

import av
import numpy as np
import pytest

import duoview
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.references import References
from duoview.plugins.samples import COLOURS, colour_in, layout_of, parse_colour, samples_of

FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le", "nv12", "nv21", "gray", "gbrp",
           "rgb24", "bgra", "argb", "gbrp10le", "yuva420p", "yuv410p")


def one_colour(name: str, colour: tuple[int, int, int], colorspace: int, colour_range: int) -> av.VideoFrame:
    frame = av.VideoFrame(32, 16, name)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.colorspace, frame.color_range = colorspace, colour_range
    for part, value in zip(samples_of("s", frame), colour_in("s", frame, colour), strict=True):
        part[...] = value
    return frame


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("colorspace", [1, 5])
@pytest.mark.parametrize("colour", ["red", "teal", "white", "black"])
def test_a_colour_is_what_libswscale_takes_it_for(name: str, colorspace: int, colour: str) -> None:
    full = name.startswith("yuvj") or name == "gray"
    frame = one_colour(name, COLOURS[colour], colorspace, 2 if full else 1)
    rgb = frame.reformat(format="rgb24", src_colorspace=colorspace, src_color_range=2 if full else 1,
                         interpolation="BILINEAR").to_ndarray().astype(int)[4:-4, 4:-4]
    if name == "gray":
        red, blue = (0.2126, 0.0722) if colorspace == 1 else (0.299, 0.114)
        parts = COLOURS[colour]
        assert abs(rgb - (red * parts[0] + (1 - red - blue) * parts[1] + blue * parts[2])).max() <= 3
    else:
        assert abs(rgb - np.array(COLOURS[colour])).max() <= 4


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(32, 16), (17, 9), (1, 1)])
def test_the_arrays_are_the_frames_own_memory_without_padding(name: str, size: tuple[int, int]) -> None:
    frame = av.VideoFrame(*size, name)
    layout = layout_of("s", name)
    parts = samples_of("s", frame)
    for part, (across, down) in zip(parts, layout.shifts, strict=True):
        assert part.shape == (-(-size[1] >> down), -(-size[0] >> across))
        part[...] = 1
    before = [bytes(plane) for plane in frame.planes]
    parts[0][-1, -1] = 7
    assert [bytes(plane) for plane in frame.planes] != before


def test_ten_bits_and_limited_range_are_scaled() -> None:
    frame = av.VideoFrame(16, 16, "yuv420p10le")
    frame.color_range = 1
    assert colour_in("s", frame, (255, 255, 255)) == (940, 512, 512)
    assert colour_in("s", frame, (0, 0, 0)) == (64, 512, 512)


def test_a_format_that_cannot_be_written_to_is_named_with_what_to_do() -> None:
    for name in ("yuyv422", "p010le", "pal8", "monow", "ya8", "gbrpf32le", "gbrpf16le"):
        with pytest.raises(FrameError, match=f"dv_x: cannot draw in {name} pictures: put format=yuv420p"):
            layout_of("dv_x", name)


@pytest.mark.parametrize(("text", "colour"), [
    ("Red", (255, 0, 0)), ("#0a0B0c", (10, 11, 12)), ("0xff8000", (255, 128, 0)),
])
def test_colours_are_names_and_hexadecimal_numbers(text: str, colour: tuple[int, int, int]) -> None:
    assert parse_colour("s", "color", text) == colour


@pytest.mark.parametrize("text", ["rred", "#12345", "123456", "#12345g", ""])
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"dv_x: color='.*': expected #rrggbb, 0xrrggbb or one of black"):
        parse_colour("dv_x", "color", text)


def test_a_reference_shares_samples_and_a_copy_does_not() -> None:
    frame, references = av.VideoFrame(32, 16, "gray"), References()
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    shared, copied = references.reference(frame), references.copy(frame)
    samples_of("s", copied)[0][...] = 9
    assert not shared.to_ndarray().any() and not frame.to_ndarray().any()
    samples_of("s", frame)[0][...] = 5
    assert (shared.to_ndarray() == 5).all() and (copied.to_ndarray() == 9).all()


def test_a_copy_of_a_picture_that_is_upside_down_in_memory_is_upright() -> None:
    frame = av.VideoFrame.from_ndarray(np.arange(32 * 16, dtype=np.uint32).astype(np.uint8).reshape(16, 32), "gray")
    (turned,) = duoview.Graph.parse("vflip").process([frame])
    assert turned.planes[0].line_size < 0
    copied = References().copy(turned)
    assert copied.planes[0].line_size > 0 and np.array_equal(samples_of("s", copied)[0], frame.to_ndarray()[::-1])
