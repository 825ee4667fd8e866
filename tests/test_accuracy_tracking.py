"""Tracks and HOTA of `bench accuracy`: the same tracks are 1, a lost or swapped one costs, ignored ones do not."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duoview.detections import Detections

pytest.importorskip("trackers", reason="trackers is not installed (extra bench)")
pytest.importorskip("trackeval", reason="trackeval is not installed (extra bench)")
BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
tracking = BENCH.module("bench.accuracy.tracking")
detection = BENCH.module("bench.accuracy.detection")
average = BENCH.module("bench.average_precision")
clips = BENCH.module("bench.accuracy.clip")

KINDS = detection.KINDS
FRAMES = 12


def frame(*objects: tuple[str, float, float, float]) -> Detections:
    """Kind, left and top edge and score of objects of 40x80."""
    return Detections(np.array([(x, y, x + 40, y + 80) for _, x, y, _ in objects], np.float32).reshape(-1, 4),
                      np.array([score for *_, score in objects], np.float32),
                      np.array([KINDS.index(kind) for kind, *_ in objects], np.int32), KINDS, "m", 640, 360)


def walk(*, lost: range = range(0), score: float = 0.9) -> list[Detections]:
    """Two persons who walk past each other far apart, and a car; the second person is not seen for a while."""
    return [frame(("person", 20 + 8 * step, 20, score), ("vehicle", 300, 250, 0.8),
                  *([] if step in lost else [("person", 500 - 8 * step, 200, score)])) for step in range(FRAMES)]


def truth(*, ignored: bool = False) -> list[Any]:
    return [average.Reference(
        np.array([(20 + 8 * step, 20, 60 + 8 * step, 100), (500 - 8 * step, 200, 540 - 8 * step, 280)], np.float64),
        ("person", "person"), np.array([False, ignored]), (7, 3)) for step in range(FRAMES)]


def test_an_object_that_moves_keeps_its_id_and_every_kind_has_tracks_of_its_own() -> None:
    persons, cars = (tracking.tracks(walk(), kind, 10.0) for kind in KINDS)
    later = [set(item.ids.tolist()) for item in persons[2:]]
    assert len(later[0]) == 2 and all(ids == later[0] for ids in later)
    assert [len(item.ids) for item in cars[2:]] == [1] * (FRAMES - 2)
    first = [item.boxes[item.ids == min(later[0])][0, 0] for item in persons[2:]]
    assert np.allclose(np.abs(np.diff(first)), 8)  # the boxes are those that were detected


def test_weak_detections_begin_no_track_and_go_on_with_one_that_is_there() -> None:
    assert not any(len(item.ids) for item in tracking.tracks(walk(score=0.3), "person", 10.0))
    fading = walk()[:6] + walk(score=0.3)[6:]
    assert [len(item.ids) for item in tracking.tracks(fading, "person", 10.0)[2:]] == [2] * (FRAMES - 2)


def test_the_source_agrees_with_itself_and_a_lost_object_costs() -> None:
    whole = tracking.hota_of_tracks(walk(), walk(), 10.0, KINDS)
    short = tracking.hota_of_tracks(walk(lost=range(4, 8)), walk(), 10.0, KINDS)
    long = tracking.hota_of_tracks(walk(lost=range(3, 12)), walk(), 10.0, KINDS)
    assert whole == 1 and 0 < long < short < 1
    assert tracking.hota_of_tracks([frame()] * FRAMES, walk(), 10.0, KINDS) == 0


def test_without_tracks_in_the_source_there_is_nothing_to_judge_by() -> None:
    assert tracking.hota_of_tracks(walk(), [frame()] * FRAMES, 10.0, KINDS) is None


def test_truth_needs_to_say_who_is_who() -> None:
    seen = tracking.hota_of_truth(walk(), truth(), 10.0)
    assert 0.9 < seen < 1  # a track counts from its second frame on
    nameless = [average.Reference(item.boxes, item.names, item.ignored) for item in truth()]
    assert tracking.hota_of_truth(walk(), nameless, 10.0) is None
    assert tracking.hota_of_truth(walk(), None, 10.0) is None


def test_tracks_of_what_is_to_be_ignored_are_neither_right_nor_wrong() -> None:
    with_it = tracking.hota_of_truth(walk(), truth(ignored=True), 10.0)
    without = tracking.hota_of_truth(walk(lost=range(FRAMES)), truth(ignored=True), 10.0)
    assert with_it == pytest.approx(without)


def test_swapped_ids_cost_association_as_the_paper_counts_it() -> None:
    # Two objects, found exactly, whose ids change places after half of the time. DetA is 1, and every one of them is
    # associated with its own track for half of its length: half / (half + half + half) = 1 / 3.
    boxes = np.array([[0, 0, 40, 40], [100, 0, 140, 40.0]])
    wanted = [tracking.Tracked(boxes, np.array([1, 2]))] * 10
    found = [tracking.Tracked(boxes, np.array([1, 2] if step < 5 else [2, 1])) for step in range(10)]
    assert tracking.hota([(found, wanted)]) == pytest.approx((1 / 3) ** 0.5)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(3)), st.sets(st.integers(0, 7), max_size=7))
def test_names_of_ids_do_not_matter_and_frames_without_objects_are_fine(order: list[int], empty: set[int]) -> None:
    boxes = np.array([[100.0 * n, 0, 100.0 * n + 40, 40] for n in range(3)])
    nothing = tracking.Tracked(np.zeros((0, 4)), np.zeros(0, np.int64))
    wanted = [nothing if step in empty else tracking.Tracked(boxes, np.array([5, 9, 4])) for step in range(8)]
    found = [nothing if step in empty else tracking.Tracked(boxes, 10 + np.array(order)) for step in range(8)]
    assert tracking.hota([(found, wanted)]) == pytest.approx(1)


def test_a_judge_tells_hota_of_clips_only_when_it_is_asked_to(tmp_path: Path) -> None:
    FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))
    path = BENCH.write_clip(tmp_path / "a.mp4", BENCH.lavfi("color=color=red:size=96x64:rate=5", 6), rate=5)
    clip, file = clips.load(path), str(FILES.looking_detector(tmp_path / "red.onnx"))
    judges = BENCH.module("bench.accuracy.judges")
    plain, tracked = (judges.open_named(file, tracking=wanted) for wanted in (False, True))
    assert plain.version != tracked.version
    seen = plain.look(clip.frames, clip)
    assert plain.accuracy(seen, seen, clip).hota is None and tracked.accuracy(seen, seen, clip).hota == 1


def test_ids_of_ground_truth_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.gt.txt").write_text("1,4,1,1,10,10,1\n1,2,30,1,10,10,0\n2,4,2,1,10,10,1\n")
    first, second = average.read_mot(tmp_path / "a.gt.txt", 2)
    assert (first.ids, second.ids) == ((4, 2), (4,)) and first.ignored.tolist() == [False, True]
    with pytest.raises(ValueError, match="1 boxes, 2 ids"):
        average.Reference(np.zeros((1, 4)), ("person",), np.zeros(1, bool), (1, 2))
