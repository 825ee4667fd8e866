"""dv_guard: what a generated view lost or invented is reported, marked, or kept from view."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

import duoview
from duoview.detections import Detections
from duoview.encoder import Encoder
from duoview.findings import FrameFindings, detections_of
from duoview.frame_origin import FrameOrigin
from duoview.pipelines.console import Console
from duoview.pipelines.filters import filter_help, our_filters
from duoview.plugins.errors import FrameError, LinkError, OptionError
from duoview.plugins.filters.dv_guard import Guard
from duoview.plugins.testing import check_stage
from duoview.verdict import Change, Difference, Kind, Patience, Tolerance, Verdict

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))
Place = tuple[int, int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A detector that sees red and blue squares of 8x8 pixels in pictures of 64x64."""
    return str(FILES.cell_detector(tmp_path_factory.mktemp("detector") / "cells.onnx"))


def scene(pts: int, objects: Sequence[Place], *, red: int = 230, size: int = 64) -> av.VideoFrame:
    """A dark picture with red squares at cells of a grid of 8x8."""
    picture = np.full((64, 64, 3), 20, np.uint8)
    for x, y in objects:
        picture[8 * y:8 * y + 8, 8 * x:8 * x + 8, 0] = red
    frame = av.VideoFrame.from_ndarray(np.repeat(np.repeat(picture, size // 64, 0), size // 64, 1), "rgb24")
    frame.pts, frame.time_base, frame.duration = pts, Fraction(1, 10), 1
    return frame


def guarded(stage: Guard, pairs: Sequence[tuple[av.VideoFrame, av.VideoFrame]]) -> list[Any]:
    """What comes out of a guard for pairs of a machine frame and a human frame."""
    outs = []
    for pair in pairs:
        for pad, frame in enumerate(pair):
            stage.feed(frame, pad)
        outs += list(stage.ready())
    stage.push(None)
    return outs + list(stage.ready())


def told(frame: av.VideoFrame) -> list[tuple[str, Place]]:
    """What the verdict says was lost or invented, and in which cell."""
    findings = frame.opaque
    assert isinstance(findings, FrameFindings) and findings.verdict is not None
    return [(one.kind.value, (int(one.object.box[0] // 8), int(one.object.box[1] // 8)))
            for one in findings.verdict.differences]


@pytest.mark.parametrize("action", ["report", "mark", "fallback"])
def test_the_guard_keeps_all_rules_of_stages(model: str, action: str) -> None:
    check_stage(lambda: Guard(model, action))


def test_an_object_that_only_the_machine_view_shows_is_lost(model: str) -> None:
    (out,) = guarded(Guard(model), [(scene(0, [(1, 1), (5, 2)]), scene(0, [(1, 1)]))])
    assert told(out) == [("lost", (5, 2))]


def test_an_object_that_only_the_human_view_shows_is_invented(model: str) -> None:
    (out,) = guarded(Guard(model), [(scene(0, [(1, 1)]), scene(0, [(1, 1), (6, 6)]))])
    assert told(out) == [("invented", (6, 6))]


def test_an_object_that_moved_away_is_lost_and_invented(model: str) -> None:
    (out,) = guarded(Guard(model), [(scene(0, [(1, 1)]), scene(0, [(3, 1)]))])
    assert told(out) == [("lost", (1, 1)), ("invented", (3, 1))]


def test_a_fainter_counterpart_is_enough(model: str) -> None:
    pairs = [(scene(0, [(1, 1)]), scene(0, [(1, 1)], red=100)), (scene(1, [(1, 1)], red=80), scene(1, [(1, 1)])),
             (scene(2, [(1, 1)], red=100), scene(2, [])), (scene(3, [(1, 1)]), scene(3, [(1, 1)], red=40))]
    assert [told(out) for out in guarded(Guard(model), pairs)] == [[], [], [], [("lost", (1, 1))]]


def test_a_difference_is_told_once_it_has_lasted(model: str) -> None:
    shown: list[list[Place]] = [[], [], [(1, 1)], [], [], []]
    pairs = [(scene(pts, [(1, 1)]), scene(pts, there)) for pts, there in enumerate(shown)]
    found = [bool(told(out)) for out in guarded(Guard(model, frames=3), pairs)]
    assert found == [False, False, False, False, False, True]


def test_a_report_leaves_the_picture_as_it_is(model: str) -> None:
    human = scene(4, [])
    (out,) = guarded(Guard(model), [(scene(4, [(1, 1)]), human)])
    assert np.array_equal(out.to_ndarray(), human.to_ndarray()) and out.pts == 4
    assert out.opaque.verdict.view == "human" and out.opaque.verdict.model == "cells"


def test_marks_are_drawn_where_the_views_differ_and_nowhere_else(model: str) -> None:
    same, human = scene(0, [(1, 1)]), scene(1, [])
    stage = Guard(model, action="mark", text=False)
    first, second = guarded(stage, [(scene(0, [(1, 1)]), same), (scene(1, [(1, 1)]), human)])
    assert np.array_equal(first.to_ndarray(), same.to_ndarray())
    changed = np.argwhere((second.to_ndarray() != human.to_ndarray()).any(axis=2))
    assert changed.min(axis=0).tolist() == [8, 8] and changed.max(axis=0).tolist() == [15, 15]
    assert second.to_ndarray()[8, 8].tolist() == [255, 0, 0]


def test_a_fallback_shows_the_machine_view_at_the_human_views_size_and_time(model: str) -> None:
    machine, human = scene(7, [(1, 1)]), scene(70, [], size=128)
    human.time_base = Fraction(1, 100)
    machine.opaque, human.opaque = FrameOrigin(concealed=True), FrameOrigin(concealed=False)
    (out,) = guarded(Guard(model, action="fallback"), [(machine, human)])
    assert (out.pts, out.time_base, out.width, out.height) == (70, Fraction(1, 100), 128, 128)
    assert out.to_ndarray()[24, 24, 0] > 200 and told(out) == [("lost", (2, 2))]
    assert out.opaque.verdict.view == "machine" and out.opaque.concealed


def test_without_a_difference_a_fallback_shows_the_human_view(model: str) -> None:
    human = scene(0, [(1, 1)])
    human.opaque = marker = ["marker"]
    (out,) = guarded(Guard(model, action="fallback"), [(scene(0, [(1, 1)], red=255), human)])
    assert np.array_equal(out.to_ndarray(), human.to_ndarray()) and out.opaque.carried is marker
    assert out.opaque.verdict == Verdict("human", "cells")


def test_a_fallback_is_held_for_as_many_frames_as_asked_for(model: str) -> None:
    shown: list[list[Place]] = [[(1, 1)], [], [(1, 1)], [(1, 1)], [(1, 1)]]
    pairs = [(scene(pts, [(1, 1)]), scene(pts, there)) for pts, there in enumerate(shown)]
    views = [out.opaque.verdict.view for out in guarded(Guard(model, action="fallback", hold=2), pairs)]
    assert views == ["human", "machine", "machine", "machine", "human"]


def test_objects_of_the_machine_view_become_the_frames_detections(model: str) -> None:
    (out,) = guarded(Guard(model), [(scene(0, [(1, 1)]), scene(0, [(6, 6)], size=128))])
    found = detections_of(out)
    assert found is not None and (found.width, found.height) == (128, 128)
    assert found.above(0.5).boxes.tolist() == [[16, 16, 32, 32]]


def test_frames_are_put_together_by_time_whatever_their_time_bases_and_rates(model: str) -> None:
    machine = [scene(pts, [(pts % 8, 0)]) for pts in range(6)]
    human = [scene(100 * pts, [(pts % 8, 0)]) for pts in (1, 3, 4)]
    for frame in human:
        frame.time_base = Fraction(1, 1000)
    graph = duoview.Graph.parse(f"[m][h]dv_guard={model}[out]")
    outs = [frame for _, frame in graph.run({"m": machine, "h": human})]
    assert [(frame.pts, told(frame)) for frame in outs] == [(100, []), (300, []), (400, [])]


def test_a_human_frame_without_a_machine_frame_is_an_error_and_the_next_one_comes(model: str) -> None:
    stage = Guard(model)
    for pad, pts in ((0, 0), (1, 1), (0, 2), (1, 2)):
        stage.feed(scene(pts, []), pad)
    with pytest.raises(FrameError, match="input machine has no frame of pts 1 of input human"):
        stage.pull()
    assert stage.pull().pts == 2


def test_both_views_of_a_stream_are_guarded_in_one_graph(model: str) -> None:
    encoder = Encoder(64, 64, rate=10, q=40, gop=4, threads=1)
    units = [packet for pts in range(3) for packet in encoder.encode(scene(pts, [(2, 2)]))]
    text = ("[u] dv_machine=threads=1 [m]; [u] dv_human=steps=1:threads=1 [h]; "
            f"[m][h] dv_guard={model}:action=mark [out]")
    outs = [frame for _, frame in duoview.Graph.parse(text).run({"u": units})]
    assert [frame.pts for frame in outs] == [0, 1, 2]
    assert all(frame.opaque.provenance.view == "human" and frame.opaque.verdict is not None for frame in outs)


def test_classes_that_are_not_watched_are_no_difference(model: str) -> None:
    (out,) = guarded(Guard(model, classes="blue"), [(scene(0, [(1, 1)]), scene(0, []))])
    assert told(out) == []


def kinds(*items: tuple[int, str]) -> Detections:
    """Objects of a class at a place."""
    names = ("person", "car", "bus", "truck")
    boxes = np.array([(40 * place, 0, 40 * place + 30, 30) for place, _ in items], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(items), 0.9, np.float32),
                      np.array([names.index(name) for _, name in items], np.int32), names, "test", 640, 360)


def test_classes_that_are_alike_are_counterparts_of_each_other_and_of_no_others() -> None:
    machine, human = kinds((0, "car"), (1, "car"), (2, "truck")), kinds((0, "truck"), (1, "person"), (2, "bus"))
    strict, mild = Tolerance(), Tolerance(alike=(("car", "truck", "bus"), ("bicycle", "motorcycle")))
    assert len(strict.differences(machine, human)) == 6
    assert [(one.kind, one.object.name) for one in mild.differences(machine, human)] == [
        (Kind.LOST, "car"), (Kind.INVENTED, "person")]


def test_cars_trucks_and_buses_are_alike_unless_it_is_told(model: str) -> None:
    assert Guard(model).tolerance.alike == (("car", "truck", "bus"),)
    assert Guard(model, alike="").tolerance.alike == ()
    assert Guard(model, alike="car+van|dog+cat").tolerance.alike == (("car", "van"), ("dog", "cat"))
    with pytest.raises(OptionError, match=r"alike='car\|dog\+cat': 'car': expected two names or more"):
        Guard(model, alike="car|dog+cat")
    for twice in ("car+van|van+truck", "van+van"):  # of the first, the last would undo the one before
        with pytest.raises(OptionError, match="'van': expected every name once"):
            Guard(model, alike=twice)


def test_what_cannot_be_is_told_with_what_would_be_right(model: str) -> None:
    with pytest.raises(OptionError, match=r"counterpart=0\.6: expected at most confidence and invented, 0\.35"):
        Guard(model, counterpart=0.6)
    with pytest.raises(OptionError, match="action='warn': expected one of report, mark, fallback"):
        Guard(model, action="warn")
    with pytest.raises(LinkError, match="it has two inputs, machine and human"):
        Guard(model).push(scene(0, []))
    with pytest.raises(LinkError, match="input human takes video frames"):
        Guard(model).feed(av.Packet(b"x"), 1)
    timeless = av.VideoFrame(64, 64, "rgb24")
    with pytest.raises(FrameError, match="a frame without a time at input machine"):
        Guard(model).feed(timeless, 0)


def test_the_help_names_both_inputs() -> None:
    assert "Inputs: machine (video frames), human (video frames)" in filter_help("dv_guard")
    (entry,) = [one for one in our_filters(Console(16)) if one["name"] == "dv_guard"]
    assert entry["inputs"] == ["machine", "human"]


def found(*boxes: tuple[float, float, float, float], score: float = 0.9, kind: int = 0) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32),
                      np.full(len(boxes), kind, np.int32), ("a", "b"), "m", 100, 100)


def test_one_object_is_the_counterpart_of_one_other_only() -> None:
    machine = found((0, 0, 20, 20), (4, 0, 24, 20))
    assert [one.object.box for one in Tolerance().differences(machine, found((4, 0, 24, 20)))] == [(0, 0, 20, 20)]
    assert Tolerance().differences(machine, machine) == []


def test_a_counterpart_is_of_the_same_class_unless_that_is_all_one() -> None:
    machine, human = found((0, 0, 20, 20)), found((0, 0, 20, 20), kind=1)
    assert [one.kind for one in Tolerance().differences(machine, human)] == [Kind.LOST, Kind.INVENTED]
    assert Tolerance(classes=False).differences(machine, human) == []


def test_patience_follows_a_difference_that_moves_a_little() -> None:
    patience = Patience(2)
    first, moved, far = (Difference(Kind.LOST, found(box)[0]) for box in (
        (0, 0, 20, 20), (4, 0, 24, 20), (60, 0, 80, 20)))
    assert patience.told([first]) == () and patience.told([moved, far]) == (moved,) and patience.told([far]) == (far,)


def street(width: int = 320, height: int = 176, *, put: tuple[int, int, int, int] | None = None, gain: float = 1.0,
           seed: int = 0) -> av.VideoFrame:
    """A coarse pattern with fine noise, brighter by a gain, and with something white put into it."""
    coarse = np.random.default_rng(1).integers(40, 200, (11, 20, 3)).repeat(16, 0).repeat(16, 1)
    picture = gain * coarse + np.random.default_rng(seed).normal(0, 6, coarse.shape)
    if put is not None:
        picture[put[1]:put[3], put[0]:put[2]] = 250
    frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), "rgb24")
    return frame if (width, height) == (320, 176) else frame.reformat(width, height)


PUT = (100, 40, 140, 110)


def test_change_is_where_something_was_put_and_not_where_detail_is_other() -> None:
    change = Change.between(street(seed=1), street(seed=2, put=PUT))
    inside, elsewhere = change.inside(np.array([PUT, (200, 40, 240, 110)], np.float32))
    assert inside > 40 and elsewhere < 3
    assert change.steps.shape == (11, 20)


def test_change_is_none_where_a_whole_picture_is_brighter_or_of_another_size() -> None:
    assert Change.between(street(), street(gain=1.1)).steps.max() < 4
    small = Change.between(street(160, 88), street(put=PUT))
    assert small.inside(np.array([PUT], np.float32))[0] > 40 and np.median(small.steps) < 4


def test_change_is_little_where_one_picture_has_less_chroma() -> None:
    whole, less = street(), street().reformat(format="yuv420p")
    for one, other in ((whole, less), (less, whole)):
        assert Change.between(one, other).steps.max() < 8


def test_change_of_boxes_beyond_the_picture_is_that_of_its_edge() -> None:
    change = Change(np.array([[1, 2], [3, 4]], np.float32), 32, 32)
    boxes = np.array([(-50, -50, -20, -20), (40, 40, 90, 90), (0, 0, 32, 32), (20, 2, 20, 2)], np.float32)
    assert change.inside(boxes).tolist() == [1, 4, 2.5, 2]


def change_in(*boxes: tuple[float, float, float, float], steps: float = 20) -> Change:
    """Of pictures of 100x100 that differ in those boxes alone."""
    found = np.zeros((100, 100), np.float32)
    for left, top, right, bottom in boxes:
        found[int(top):int(bottom), int(left):int(right)] = steps
    return Change(found, 100, 100)


def test_a_detector_need_not_be_sure_of_what_stands_where_the_pictures_differ() -> None:
    here, there = (0.0, 0.0, 20.0, 20.0), (60.0, 60.0, 80.0, 80.0)
    human, nothing = found(here, there, score=0.15), found()
    assert Tolerance().differences(nothing, human) == []
    assert Tolerance().differences(nothing, human, change_in(here, steps=7)) == []
    assert [(one.kind, one.object.box) for one in Tolerance().differences(nothing, human, change_in(here))] == [
        (Kind.INVENTED, here)]
    assert Tolerance(hinted=0.2).differences(nothing, human, change_in(here)) == []
    assert Tolerance().differences(found(here, score=0.3), human, change_in(here)) == []


def test_parts_and_other_names_of_what_is_known_are_no_hints() -> None:
    whole, part = (0.0, 0.0, 40.0, 40.0), (10.0, 10.0, 20.0, 20.0)
    weak = Detections(np.array([whole, part, part], np.float32), np.array([0.3, 0.2, 0.15], np.float32),
                      np.array([0, 0, 1], np.int32), ("a", "b"), "m", 100, 100)
    assert [one.object.box for one in Tolerance().differences(found(), weak, change_in(whole))] == [whole]
    assert Tolerance().differences(found(whole, kind=1), found(whole, kind=1).keep(np.array([True])), change_in(whole)
                                   ) == []
    assert [one.kind for one in Tolerance().differences(found(whole, kind=1), weak, change_in(whole))] == [Kind.LOST]


def test_the_guard_sees_what_its_detector_is_not_sure_of(model: str) -> None:
    (alone,), (hinted,) = (guarded(Guard(model, hinted=hint), [(scene(0, []), scene(0, [(1, 1)], red=60))])
                           for hint in (1, 0.1))
    assert told(alone) == [] and told(hinted) == [("invented", (1, 1))]


def test_the_suite_feeds_all_inputs_of_a_stage_alike(model: str) -> None:
    with pytest.raises(AssertionError, match="opaque"):
        check_stage(lambda: _Forgetful(model))


class _Forgetful(Guard):
    """Forgets what frames carry."""

    def pair(self, first: av.VideoFrame, second: av.VideoFrame) -> Any:
        for out in super().pair(first, second):
            out.opaque = None
            yield out
