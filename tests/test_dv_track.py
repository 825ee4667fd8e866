"""dv_track: one number for one object, in every frame, over gaps, and never a second time."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
import pytest

from duoview.detections import Detections
from duoview.errors import BackendUnavailableError
from duoview.findings import FrameFindings, detections_of
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.filters.dv_track import Track
from duoview.plugins.graph import Graph
from duoview.plugins.testing import looked_at, picture


def walking(count: int, *, speed: float = 4, rate: int = 10, missing: Iterable[int] = ()) -> list[av.VideoFrame]:
    """One object of 20 x 40 pixels that walks to the right; in the frames of `missing` the detector saw nothing."""
    boxes = [((10 + speed * pts, 30.0, 30 + speed * pts, 70.0), 0) for pts in range(count)]
    return [looked_at(picture(pts, rate=rate), [] if pts in set(missing) else [box]) for pts, box in enumerate(boxes)]


def ids_of(frames: list[av.VideoFrame]) -> list[list[int]]:
    found = [detections_of(frame) for frame in frames]
    return [item.track_ids.tolist() for item in found if item is not None and item.track_ids is not None]


def test_an_object_keeps_its_number_while_it_moves() -> None:
    assert ids_of(list(Track().process(walking(10)))) == [[0], *[[1]] * 9]


def test_two_objects_that_pass_each_other_keep_theirs() -> None:
    frames = []
    for pts in range(30):
        boxes = [((4.0 * pts, 20.0, 4.0 * pts + 20, 60.0), 0), ((120 - 4.0 * pts, 50.0, 140 - 4.0 * pts, 90.0), 0)]
        frames.append(looked_at(picture(pts), boxes if pts % 2 else boxes[::-1]))  # the order changes all the time
    found = [detections_of(frame) for frame in Track().process(frames)]
    assert all(item is not None and item.track_ids is not None for item in found)
    of_upper = {int(item.track_ids[item.boxes[:, 1].argmin()]) for item in found[2:] if item is not None
                and item.track_ids is not None}
    of_lower = {int(item.track_ids[item.boxes[:, 1].argmax()]) for item in found[2:] if item is not None
                and item.track_ids is not None}
    assert len(of_upper) == len(of_lower) == 1 and of_upper != of_lower


def test_an_object_that_was_missed_for_less_than_lost_comes_back_with_its_number() -> None:
    assert ids_of(list(Track(lost=1).process(walking(20, missing=range(8, 14)))))[-1] == [1]


def test_an_object_that_was_gone_for_longer_gets_another_number() -> None:
    assert ids_of(list(Track(lost=0.4).process(walking(24, speed=1, missing=range(8, 14)))))[-1] == [2]


def test_lost_counts_seconds_and_not_frames() -> None:
    fast = ids_of(list(Track(lost=0.4).process(walking(24, speed=1, rate=100, missing=range(8, 14)))))
    assert fast[-1] == [1]


def test_a_weak_object_goes_on_with_a_track_but_begins_none() -> None:
    frames = walking(6)
    for pts in (2, 3):
        found = detections_of(frames[pts])
        assert found is not None
        frames[pts].opaque = FrameFindings.over(None, Detections(found.boxes, [0.2], found.classes, found.names,  # type: ignore[arg-type]
                                                                 "test", found.width, found.height))
    assert ids_of(list(Track().process(frames))) == [[0], *[[1]] * 5]
    weak = [looked_at(picture(pts), [((10.0, 10.0, 40.0, 60.0), 0)], score=0.2) for pts in range(6)]
    assert ids_of(list(Track().process(weak))) == [[0]] * 6


def test_classes_are_tracked_apart_unless_told_otherwise() -> None:
    frames = [looked_at(picture(pts), [((10.0 + pts, 10.0, 40.0 + pts, 60.0), pts // 4 % 2)]) for pts in range(8)]
    assert ids_of(list(Track().process(frames)))[-1] == [2]
    assert ids_of(list(Track(agnostic=True).process(frames)))[-1] == [1]


def test_only_the_classes_that_are_asked_for_are_tracked() -> None:
    frames = [looked_at(picture(pts), [((10.0, 10.0, 40.0, 60.0), 0), ((90.0, 10.0, 120.0, 60.0), 1)])
              for pts in range(4)]
    assert ids_of(list(Track(classes="car").process(frames)))[-1] == [0, 1]
    with pytest.raises(OptionError, match="dv_track: classes: class 'dog': the model knows 3 classes"):
        list(Track(classes="dog").process(frames))


def test_numbers_never_come_again_when_times_go_back_and_begin_anew_after_a_reset() -> None:
    stage = Track()
    first = list(stage.process(walking(4)))
    stage.reset()
    again = walking(4) + walking(4)
    assert ids_of(first)[-1] == [1] and ids_of(list(stage.process(again)))[3:] == [[1], [0], [2], [2], [2]]


def test_another_size_of_the_detectors_picture_ends_all_tracks() -> None:
    frames = walking(4) + [looked_at(picture(pts, 320, 192), [((26.0, 30.0, 46.0, 70.0), 0)]) for pts in range(4, 8)]
    assert ids_of(list(Track().process(frames)))[-1] == [2]


def test_all_else_of_the_findings_stays() -> None:
    frame = picture(0)
    frame.opaque = marker = object()
    looked_at(frame, [((10.0, 10.0, 40.0, 60.0), 0)], model="first")
    looked_at(frame, [((11.0, 10.0, 40.0, 60.0), 1)], model="second")
    before = FrameFindings.of(frame.opaque)
    (out,) = Track(model="first").process([frame])
    assert out.opaque.carried is marker and out.opaque.detections[1] is before.detections[1]
    assert out.opaque.detections[0].track_ids is not None and before.detections[0].track_ids is None
    assert np.array_equal(out.to_ndarray(), frame.to_ndarray()) and (out.pts, out.time_base) == (0, Fraction(1, 10))


def test_frames_without_times_count_as_one_rate() -> None:
    frames = walking(5)
    for frame in frames:
        frame.pts = None
    assert ids_of(list(Track().process(frames)))[-1] == [1]


def test_a_box_without_area_has_no_track() -> None:
    frames = [looked_at(picture(pts), [((10.0, 10.0, 10.0, 60.0), 0)]) for pts in range(4)]
    assert ids_of(list(Track().process(frames))) == [[0]] * 4


def test_a_frame_that_no_detector_looked_at_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(FrameError, match="no detector looked at the frame of pts 7: put dv_detect in front"):
        list(Track().process([picture(7)]))
    with pytest.raises(FrameError, match="the model 'other' did not look"):
        list(Track(model="other").process(walking(1)))


def test_thresholds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(OptionError, match=r"dv_track: low=0\.5: expected at most activation, 0\.3"):
        Graph.parse("dv_track=low=0.5")


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'duoview\[track\]'"):
        Track()


def test_memory_does_not_grow_with_the_number_of_tracks() -> None:
    stage = Track(lost=0.2)
    frames = (looked_at(picture(pts, 64, 64), [((10.0, 10.0, 40.0, 60.0), 0)] if pts % 8 < 4 else [])
              for pts in range(400))
    last = list(stage.process(frames))[-5]
    assert ids_of([last]) == [[50]] and len(stage._numbers) <= 2
    assert sum(len(tracker.tracks) for tracker in stage._trackers.values()) <= 2
