"""dv_mask: what is hidden is gone, what is lost stays hidden for a while, and the rest stays bit for bit."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.filters.dv_mask import Mask
from duoview.plugins.graph import Graph
from duoview.plugins.samples import alpha_of, colour_in, layout_of, samples_of
from duoview.plugins.testing import looked_at, picture

FORMATS = ("yuv420p", "yuv422p", "nv12", "gray", "rgb24", "gbrp", "yuv420p10le", "yuv410p")
OBJECT = ((40.0, 30.0, 80.0, 70.0), 2)


def differing(before: av.VideoFrame, after: av.VideoFrame) -> np.ndarray:
    found = np.zeros((before.height, before.width), bool)
    layout = layout_of("s", before.format.name)
    for left, right, (across, down) in zip(samples_of("s", before), samples_of("s", after), layout.shifts, strict=True):
        found |= (left != right).repeat(1 << down, axis=0).repeat(1 << across, axis=1)[:before.height, :before.width]
    return found


def with_other_samples(frame: av.VideoFrame, x0: int, y0: int, x1: int, y1: int) -> av.VideoFrame:
    """The same frame with other samples inside a rectangle, in an order that keeps no block's samples in place."""
    other = picture(frame.pts or 0, frame.width, frame.height, pixel_format=frame.format.name)
    for part, (across, down) in zip(samples_of("s", other), layout_of("s", frame.format.name).shifts, strict=True):
        part[y0 >> down:-(-y1 >> down), x0 >> across:-(-x1 >> across)] ^= 37
    other.opaque = frame.opaque
    return other


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_of_a_filled_object_nothing_is_left_and_nothing_else_changes(pixel_format: str) -> None:
    frame = looked_at(picture(0, pixel_format=pixel_format), [OBJECT])
    stage = Mask(classes="face", padding=0.1, color="red")
    (out,) = stage.process([frame])
    where = differing(frame, out)
    assert not where[:24].any() and not where[76:].any() and not where[:, :36].any() and not where[:, 84:].any()
    layout, red = layout_of("s", pixel_format), colour_in("s", out, (255, 0, 0))
    for part, value, (across, down) in zip(samples_of("s", out), red, layout.shifts, strict=True):
        assert (part[26 >> down:74 >> down, 36 >> across:84 >> across] == value).all()
    (again,) = Mask(classes="face", padding=0.1, color="red").process([with_other_samples(frame, 36, 26, 84, 74)])
    assert not differing(out, again).any()


@pytest.mark.parametrize("mode", ["pixelate", "blur"])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_of_a_pixelated_object_only_the_blocks_means_are_left(mode: str, pixel_format: str) -> None:
    frame = looked_at(picture(0, pixel_format=pixel_format), [OBJECT])
    stage = Mask(classes="face", padding=0, mode=mode, block=8)
    (out,) = stage.process([frame])
    where = differing(frame, out)
    assert where[32:64, 40:80].mean() > 0.9 and not where[:28].any() and not where[72:].any()
    assert not where[:, :40].any() and not where[:, 80:].any()
    for part, (across, down) in zip(samples_of("s", out), layout_of("s", pixel_format).shifts, strict=True):
        inside = part[30 >> down:70 >> down, 40 >> across:80 >> across].astype(float)
        if mode == "pixelate":
            assert len(np.unique(inside)) <= 25
        else:
            assert abs(np.diff(inside, axis=1)).max() < 0.2 * (256 << (layout_of("s", pixel_format).bits - 8))


def test_by_default_a_face_is_left_with_six_blocks_at_most_each_way() -> None:
    frame = looked_at(picture(0, 640, 360), [((100.0, 100.0, 300.0, 290.0), 2)])
    (out,) = Mask(classes="face", padding=0, mode="pixelate").process([frame])
    rows = samples_of("s", out)[0][100:290, 100:300]
    assert (np.diff(rows.astype(int), axis=0) != 0).any(axis=1).sum() <= 5
    assert (np.diff(rows.astype(int), axis=1) != 0).any(axis=0).sum() <= 5


@pytest.mark.parametrize("pixel_format", ["yuva420p", "yuva444p10le", "rgba", "argb", "gbrap"])
@pytest.mark.parametrize("options", [{"classes": "face", "padding": 0}, {"zones": "40 30 80 70", "units": "pixels"}])
def test_what_is_hidden_is_opaque_so_that_alpha_shows_no_outline(pixel_format: str, options: dict[str, object]) -> None:
    frame = looked_at(picture(0, pixel_format=pixel_format), [OBJECT])
    (out,) = Mask(**options).process([frame])
    before, after = alpha_of("s", frame), alpha_of("s", out)
    assert before is not None and after is not None
    assert (after[30:70, 40:80] == (1023 if "10" in pixel_format else 255)).all()
    outside = np.ones(after.shape, bool)
    outside[30:70, 40:80] = False
    assert np.array_equal(before[outside], after[outside])


def test_blocks_are_never_smaller_in_chroma_than_told() -> None:
    frame = looked_at(picture(0), [OBJECT])
    (out,) = Mask(classes="face", padding=0, mode="pixelate", block=3).process([frame])
    chroma = samples_of("s", out)[1][15:35, 20:40]
    assert (chroma[:, ::2] == chroma[:, 1::2]).all() and (chroma[::2] == chroma[1::2]).all()


def test_a_box_that_is_turned_inside_out_is_hidden_too() -> None:
    (out,) = Mask(classes="face", padding=0).process([looked_at(picture(0), [((80.0, 70.0, 40.0, 30.0), 2)])])
    assert (samples_of("s", out)[0][30:70, 40:80] == 16).all()


def test_a_face_that_was_lost_behind_another_one_stays_hidden() -> None:
    frames = [looked_at(picture(0), [OBJECT]), looked_at(picture(1), [((60.0, 30.0, 100.0, 70.0), 2)])]
    out = list(Mask(classes="face", padding=0).process(frames))[1]
    assert (samples_of("s", out)[0][30:70, 40:100] == 16).all()


def test_a_missed_detection_does_not_show_a_face() -> None:
    frames = [looked_at(picture(pts), [OBJECT] if pts != 3 else []) for pts in range(7)]
    for out in Mask(classes="face", hold=2).process(frames):
        assert (samples_of("s", out)[0][30:70, 40:80] == 16).all()


def test_the_hold_ends_after_its_frames() -> None:
    frames = [looked_at(picture(pts), [OBJECT] if pts == 0 else []) for pts in range(5)]
    hidden = [bool(differing(frame, out).any()) for frame, out in
              zip(frames, Mask(classes="face", hold=2).process(frames), strict=True)]
    assert hidden == [True, True, True, False, False]


def test_a_held_box_follows_a_change_of_the_pictures_size() -> None:
    frames = [looked_at(picture(0), [OBJECT]), looked_at(picture(1, 320, 192), [])]
    out = list(Mask(classes="face", padding=0).process(frames))[1]
    assert (samples_of("s", out)[0][60:140, 80:160] == 16).all()
    assert not differing(frames[1], out)[:58].any()


def test_a_zone_is_hidden_in_every_frame_whether_or_not_anybody_looked() -> None:
    frame = picture(0)
    (out,) = Mask(zones="0.25 0.25 0.75 0.25 0.5 0.75").process([frame])
    where, luma = differing(frame, out), samples_of("s", out)[0]
    zone_rows, zone_columns = np.nonzero(where)
    assert (zone_rows.min(), zone_columns.min()) == (24, 40) and where[:, :38].sum() == 0
    assert (luma[24, 42:118] == 16).all() and (luma[70, 80] == 16) and not where[60, 42:50].any()


def test_a_zone_that_is_thinner_than_a_pixel_is_hidden_where_it_lies() -> None:
    (out,) = Mask(zones="40.6 20 40.9 20 40.9 60 40.6 60", units="pixels").process([picture(0)])
    assert (samples_of("s", out)[0][20:60, 40] == 16).all()


@given(st.lists(st.tuples(st.integers(0, 160), st.integers(0, 96)), min_size=3, max_size=6, unique=True))
def test_every_pixel_of_a_zone_is_hidden_and_none_beyond_its_units(points: list[tuple[int, int]]) -> None:
    if np.linalg.matrix_rank(np.array(points) - points[0]) < 2:
        return
    text = " ".join(f"{x} {y}" for x, y in points)
    stage = Mask(zones=text, units="pixels")
    frame = picture(0)
    (out,) = stage.process([frame])
    inside = stage._zones[0].touched(160, 96)
    near = inside.reshape(48, 2, 80, 2).any(axis=(1, 3)).repeat(2, axis=0).repeat(2, axis=1)
    assert (samples_of("s", out)[0][near] == 16).all() and not differing(frame, out)[~near].any()


def test_a_frame_that_no_detector_looked_at_is_not_shown() -> None:
    stage = Mask(classes="face")
    stage.push(picture(0))
    with pytest.raises(FrameError, match="dv_mask: no detector looked at the frame of pts 0: put dv_detect in front"):
        stage.pull()


def test_other_classes_and_weak_scores_are_shown_where_that_is_asked_for() -> None:
    frame = looked_at(picture(0), [OBJECT], score=0.3)
    for options, hidden in (({"classes": "face"}, True), ({"classes": "*"}, True), ({"classes": "person|car"}, False),
                            ({"classes": "face", "confidence": 0.4}, False)):
        (out,) = Mask(**options).process([frame])
        assert differing(frame, out).any() == hidden


def test_odd_sizes_and_boxes_beyond_the_edge_are_hidden_to_the_last_pixel() -> None:
    frame = looked_at(picture(0, 33, 17), [((20.0, 10.0, 90.0, 90.0), 2)])
    (out,) = Mask(classes="face", padding=0).process([frame])
    assert (samples_of("s", out)[0][10:, 20:] == 16).all() and (samples_of("s", out)[1][5:, 10:] == 128).all()


@pytest.mark.parametrize(("text", "message"), [
    ("dv_mask", "dv_mask: expected zones, classes or both"),
    ("dv_mask=classes=face:mode=smear", "expected one of fill, pixelate, blur"),
    ("dv_mask=classes=face:color=nocolour", "dv_mask: color='nocolour'"),
    ("dv_mask=zones=0 0 1", "3 numbers"),
    ("dv_mask=classes=face:mode=blur:block=1", "a block of one pixel hides nothing"),
])
def test_wrong_options_are_said_when_the_graph_is_read(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Graph.parse(text)
    assert message in str(caught.value)


def test_a_class_that_the_detector_does_not_know_is_an_error() -> None:
    with pytest.raises(OptionError, match="dv_mask: classes: class 'fase': the model knows 3 classes: person, car"):
        list(Mask(classes="fase").process([looked_at(picture(0), [OBJECT])]))
