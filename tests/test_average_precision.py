"""Average precision by hand: interpolation, matching, ignored objects, ground truth files, agreement."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.detections import Detections


def load_module() -> ModuleType:
    """bench/average_precision.py. Tests do not see the checkout as a package."""
    path = Path(__file__).resolve().parent.parent / "bench" / "average_precision.py"
    spec = importlib.util.spec_from_file_location("duoview_average_precision", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


ap = load_module()
NAMES = ("person", "car")
Box = tuple[float, float, float, float]


def found(*objects: tuple[Box, float] | tuple[Box, float, int]) -> Detections:
    return Detections(np.array([item[0] for item in objects], np.float32).reshape(-1, 4),
                      np.array([item[1] for item in objects], np.float32),
                      np.array([item[2] if len(item) > 2 else 0 for item in objects], np.int32), NAMES, "m", 1000, 1000)


def wanted(*boxes: Box, names: tuple[str, ...] = (), ignored: tuple[bool, ...] = ()) -> Any:
    return ap.Reference(np.array(boxes, np.float64).reshape(-1, 4), names or ("person",) * len(boxes),
                        np.array(ignored or (False,) * len(boxes), np.bool_))


A, B, C, D = ((100.0 * k, 0.0, 100.0 * k + 50, 50.0) for k in range(4))


def test_all_found_and_nothing_else_is_one_at_every_threshold() -> None:
    result = ap.average_precision([found((A, 0.9), (B, 0.3)), found((C, 0.5))], [wanted(A, B), wanted(C)])
    assert (result.ap50, result.ap75, result.ap50_95) == (1, 1, 1)
    assert (result.classes, result.objects, result.thresholds) == (("person",), (3,), ap.COCO_THRESHOLDS)


def test_one_of_two_objects_is_the_share_of_recalls_up_to_a_half() -> None:
    # Precision 1 at recalls 0, 0.01, ..., 0.5: 51 of 101 points.
    assert ap.average_precision([found((A, 0.9))], [wanted(A, B)]).ap50 == pytest.approx(51 / 101)


def test_a_false_one_between_two_right_ones_is_worked_out_by_hand() -> None:
    # right, wrong, right: precision 1, 1/2, 2/3; recalls up to 0.5 have 1, those up to 1 have 2/3.
    result = ap.average_precision([found((A, 0.9), (D, 0.8), (B, 0.7))], [wanted(A, B)])
    assert result.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_four_objects_with_hits_and_misses_across_frames() -> None:
    # By score: wrong .9, right .8, right .7, wrong .6, right .5; objects 4.
    frames = [found((D, 0.9), (A, 0.8)), found((A, 0.7), (C, 0.6), (B, 0.5))]
    result = ap.average_precision(frames, [wanted(A), wanted(A, B, (0, 500, 50, 550))])
    # Precision 0, 1/2, 2/3, 1/2, 3/5, made falling: 2/3 up to recall 0.5, 3/5 up to 0.75, then nothing.
    assert result.ap50 == pytest.approx((51 * 2 / 3 + 25 * 3 / 5) / 101)


def test_the_second_detection_of_an_object_is_wrong() -> None:
    assert ap.average_precision([found((A, 0.9), (A, 0.8), (B, 0.7))], [wanted(A, B)]).ap50 == pytest.approx(
        (51 + 50 * 2 / 3) / 101)


def test_each_threshold_has_its_own_matches() -> None:
    shifted = (10.0, 0.0, 60.0, 50.0)  # overlap 40 / 60
    result = ap.average_precision([found((shifted, 0.9))], [wanted(A)])
    row = dict(zip(result.thresholds, result.table[0], strict=True))
    assert row[0.65] == 1 and row[0.7] == 0 and result.ap50_95 == pytest.approx(0.4)
    exact = ap.average_precision([found(((0, 0, 50, 25), 0.9))], [wanted(A)], thresholds=(0.5,))
    assert exact.at(0.5) == 1


def test_of_two_objects_a_detection_takes_the_one_it_overlaps_more() -> None:
    near, far = (0.0, 0.0, 50.0, 50.0), (10.0, 0.0, 60.0, 50.0)
    both = ap.average_precision([found((far, 0.9), (near, 0.8))], [wanted(near, far)], thresholds=(0.6, 0.9))
    assert both.table == ((1.0, 1.0),)


def test_a_detection_of_an_ignored_object_counts_for_nothing() -> None:
    # Twice on the ignored one, and once right: precision 1 throughout.
    reference = wanted(A, B, ignored=(True, False))
    result = ap.average_precision([found((A, 0.9), (A, 0.8), (B, 0.7))], [reference])
    assert result.ap50 == 1 and result.objects == (1,)
    assert ap.average_precision([found((C, 0.9), (B, 0.7))], [reference]).ap50 == pytest.approx(0.5)


def test_an_object_to_be_found_comes_before_an_ignored_one_that_fits_better() -> None:
    near = (5.0, 0.0, 55.0, 50.0)
    result = ap.average_precision([found((A, 0.9))], [wanted(A, near, ignored=(True, False))], thresholds=(0.5,))
    assert result.ap50 == 1


def test_classes_do_not_match_each_other_and_count_alike() -> None:
    reference = [wanted(A, B, C, names=("person", "person", "car"))]
    result = ap.average_precision([found((A, 0.9), (B, 0.8), (C, 0.9, 0))], reference)
    assert result.classes == ("car", "person") and result.table[0][0] == 0
    assert ap.average_precision([found((A, 0.9), (B, 0.8))], reference, classes=("person",)).ap50 == 1
    assert ap.average_precision([found((A, 0.9), (B, 0.8))], reference).ap50 == 0.5


def test_the_floor_and_the_limit_leave_detections_out() -> None:
    frames, reference = [found((A, 0.9), (B, 0.04))], [wanted(A, B)]
    assert ap.average_precision(frames, reference, floor=0.05).ap50 == pytest.approx(51 / 101)
    assert ap.average_precision(frames, reference, limit=1).ap50 == pytest.approx(51 / 101)


def test_nothing_found_is_nought_and_nothing_to_find_is_an_error() -> None:
    assert ap.average_precision([found()], [wanted(A)]).ap50 == 0
    with pytest.raises(ValueError, match="the references hold no object of any class"):
        ap.average_precision([found((A, 0.9))], [wanted()])
    with pytest.raises(ValueError, match="no object of car"):
        ap.average_precision([found((A, 0.9))], [wanted(A)], classes=("person", "car"))
    with pytest.raises(ValueError, match="detections of 1 frames, references of 2"):
        ap.average_precision([found()], [wanted(A), wanted(A)])
    with pytest.raises(ValueError, match=r"threshold 0\.75: computed were 0\.5"):
        _ = ap.average_precision([found()], [wanted(A)], thresholds=(0.5,)).ap75


CORNERS = st.tuples(st.integers(0, 60), st.integers(0, 60))
BOXES = st.lists(CORNERS.map(lambda at: (at[0], at[1], at[0] + 20, at[1] + 30)), min_size=1, max_size=6, unique=True)



@given(st.lists(BOXES, min_size=1, max_size=4), st.data())
def test_it_is_a_share_and_one_for_the_reference_itself(frames: list[list[Box]], data: st.DataObject) -> None:
    seen = [found(*((box, data.draw(st.integers(0, 10)) / 10) for box in data.draw(BOXES))) for _ in frames]
    result = ap.average_precision(seen, [wanted(*boxes) for boxes in frames])
    assert all(0 <= value <= 1 for value in result.table[0])
    assert ap.average_precision([found(*((box, 0.5) for box in boxes)) for boxes in frames],
                                [wanted(*boxes) for boxes in frames]).ap50_95 == 1


def test_the_source_agrees_with_itself_whatever_is_done_with_weak_objects() -> None:
    source = [found((A, 0.9), (B, 0.5), (C, 0.2)), found((A, 0.46, 1), (D, 0.44))]
    for weak in ("wrong", "ignored"):
        assert ap.agreement(source, source, weak=weak).ap50_95 == 1
    assert ap.agreement(source, source).objects == (1, 2)


def test_a_weak_object_that_grew_strong_is_wrong_or_ignored() -> None:
    source, coded = [found((A, 0.9), (B, 0.44))], [found((B, 0.95), (A, 0.9))]
    assert ap.agreement(coded, source).ap50 == pytest.approx(0.5)
    assert ap.agreement(coded, source, weak="ignored").ap50 == 1
    assert ap.agreement(coded, source, above=0.4).ap50 == 1
    with pytest.raises(ValueError, match="weak='no': expected one of wrong, ignored"):
        ap.agreement(coded, source, weak="no")


def test_mot_ground_truth_counts_frames_and_pixels_from_one(tmp_path: Path) -> None:
    path = tmp_path / "clip.gt.txt"
    path.write_text("1,1,11,21,30,40,1,-1,-1,-1\n3,1,1,1,5,6,0,-1,-1,-1\n3,2,2.5,1,5,6,1,1.5,2,0\n\n")
    references = ap.read_mot(path, 3)
    assert [len(item.boxes) for item in references] == [1, 0, 2]
    assert references[0].boxes.tolist() == [[10, 20, 40, 60]] and references[0].names == ("person",)
    assert references[2].ignored.tolist() == [True, False] and references[2].boxes[1].tolist() == [1.5, 0, 6.5, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4,1,1,1,5,6,1", "line 1: frame 4; expected 1 to 3"),
        ("1,1,1,1,5,6,1\n1,2,x,1,5,6,1", "line 2: '1,2,x"),
        ("1,2", "line 1: '1,2'"),
    ],
)
def test_ground_truth_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.gt.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        ap.read_mot(tmp_path / "a.gt.txt", 3)


def test_a_reference_whose_parts_do_not_agree_is_refused() -> None:
    with pytest.raises(ValueError, match="2 boxes, 1 names"):
        ap.Reference(np.zeros((2, 4)), ("person",), np.zeros(2, bool))
