"""Detections as a value: nothing changes, everything is checked, JSON gives it back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import duoview
from duoview.detections import Detection, Detections

NAMES = ("person", "car", "dog")


def detections(**changes: Any) -> Detections:
    values: dict[str, Any] = {
        "boxes": np.array([[10, 20, 30, 60], [-5, 0, 50, 120], [90, 10, 130, 40]], np.float32),
        "scores": np.array([0.9, 0.5, 0.25], np.float32), "classes": np.array([0, 1, 0]), "names": NAMES,
        "model": "tiny", "width": 100, "height": 80} | changes
    return Detections(**values)


def test_it_has_a_length_items_and_iteration() -> None:
    found = detections()
    assert len(found) == 3 and len(list(found)) == 3
    assert found[1] == Detection((-5.0, 0.0, 50.0, 120.0), 0.5, 1, "car") and found[-1] == list(found)[2]
    assert (found[0].width, found[0].height, found[0].centre) == (20, 40, (20, 40))
    with pytest.raises(IndexError):
        found[3]


def test_the_arrays_have_their_types_and_cannot_be_written_to() -> None:
    found = detections(boxes=[[1, 2, 3, 4]], scores=[1], classes=[2])
    assert [str(array.dtype) for array in (found.boxes, found.scores, found.classes)] == ["float32", "float32", "int32"]
    for array in (found.boxes, found.scores, found.classes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.width = 3  # type: ignore[misc]


def test_it_does_not_see_later_changes_of_what_it_was_made_of() -> None:
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    found = detections(boxes=boxes, scores=[1], classes=[2])
    boxes[:] = 0
    assert found.boxes.tolist() == [[1, 2, 3, 4]]


def test_equality_and_hash_go_by_all_of_it() -> None:
    assert detections() == detections() and hash(detections()) == hash(detections())
    positive, negative = (detections(boxes=[[zero] * 4], scores=[1], classes=[0]) for zero in (0.0, -0.0))
    assert positive == negative
    for change in ({"model": "other"}, {"width": 101}, {"scores": [0.9, 0.5, 0.2]}, {"classes": [0, 1, 1]},
                   {"names": ("person", "car", "cat")}):
        assert detections(**change) != detections()
    assert detections() != "detections"


def test_above_keeps_a_score_of_exactly_the_threshold() -> None:
    assert detections(scores=[0.9, 0.4, 0.1]).above(0.4).scores.tolist() == [np.float32(0.9), np.float32(0.4)]


def test_of_takes_names_and_ids_one_or_several() -> None:
    assert [item.name for item in detections().of("person")] == ["person", "person"]
    assert [item.name for item in detections().of(["car", 2])] == ["car"] and len(detections().of([])) == 0
    with pytest.raises(ValueError, match=r"class 'bike': the model knows 3 classes: person, car, dog"):
        detections().of("bike")
    with pytest.raises(ValueError, match="class 3"):
        detections().of(3)


def test_scaled_moves_boxes_to_another_size_of_the_picture() -> None:
    scaled = detections().scaled(200, 40)
    assert (scaled.width, scaled.height) == (200, 40) and scaled.boxes[0].tolist() == [20, 10, 60, 30]


def test_clipped_cuts_at_the_edges_and_drops_what_lies_outside() -> None:
    found = detections(boxes=[[-5, 0, 50, 120], [100, 10, 130, 40], [90, 10, 130, 40]]).clipped()
    assert found.boxes.tolist() == [[0, 0, 50, 80], [90, 10, 100, 40]] and found.classes.tolist() == [0, 0]


def test_keep_takes_masks_and_indices_and_none() -> None:
    assert detections().keep([2, 0]).boxes[:, 0].tolist() == [90, 10]
    assert len(detections().keep([])) == 0 and len(detections().keep(np.zeros(3, bool))) == 0
    with pytest.raises(ValueError, match=r"mask of shape \(2,\): expected \(3,\)"):
        detections().keep([True, False])


def test_nothing_found_is_a_value_too() -> None:
    none = Detections.none(NAMES, "tiny", 100, 80)
    assert len(none) == 0 and none == detections(boxes=[], scores=[], classes=[])
    assert len(none.above(0.5).of("car").scaled(10, 10).clipped()) == 0 and "none" in repr(none)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": np.zeros((3, 5))}, r"boxes of shape \(3, 5\): expected \(N, 4\)"),
        ({"scores": [0.5]}, r"scores of shape \(1,\) beside 3 boxes: expected \(3,\)"),
        ({"classes": [[0, 1, 2]]}, r"classes of shape \(1, 3\) beside 3 boxes"),
        ({"scores": [0.5, 1.5, 0.1]}, "score 1.5: expected 0 to 1"),
        ({"scores": [0.5, float("nan"), 0.1]}, "score nan: expected 0 to 1"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1, float("inf")], [0, 0, 1, 1]]}, "box 1 is .*finite"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1, 1e60], [0, 0, 1, 1]]}, "box 1 is .*finite"),
        ({"classes": [0, 1, 3]}, "class id 3: expected 0 to 2"),
        ({"classes": [0, -1, 0]}, "class id -1: expected 0 to 2"),
        ({"classes": [0.0, 1.0, 2.0]}, "classes of dtype float64: expected integers"),
        ({"width": 0}, "width=0: expected a frame size of 1 to 16384"),
        ({"height": 2.5}, "height=2.5"),
        ({"names": "person"}, "names='person': expected a tuple of texts"),
        ({"model": None}, "model=None: expected a text"),
    ],
)
def test_what_does_not_agree_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detections(**change)


FLOATS = st.floats(-1e6, 1e6, width=32)
OBJECTS = st.lists(st.tuples(FLOATS, FLOATS, FLOATS, FLOATS, st.floats(0, 1, width=32), st.integers(0, 2)), max_size=9)


@given(OBJECTS)
def test_json_gives_back_the_same_value_bit_for_bit(objects: list[tuple[float, ...]]) -> None:
    found = detections(boxes=[item[:4] for item in objects], scores=[item[4] for item in objects],
                       classes=np.array([item[5] for item in objects], int), model="zwölf \"Augen\"")
    text = found.to_json()
    assert Detections.from_json(text) == found and "\n" not in text


def test_json_names_the_classes_and_keeps_numbers_short() -> None:
    content = json.loads(detections(scores=[0.9, 0.5, 0.1]).to_json())
    assert content["objects"][0] == {"box": [10, 20, 30, 60], "score": 0.9, "class": 0, "name": "person"}
    assert (content["model"], content["width"], content["height"]) == ("tiny", 100, 80)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "'model' is None"),
        ({"objects": 3}, "'objects' is 3"),
        ({"width": "100"}, "'width' is '100'"),
        ({"objects": [7]}, "object 0 is int"),
        ({"objects": [{"box": [1, 2, 3], "score": 1, "class": 0}]}, r"box \[1, 2, 3\], expected four numbers"),
        ({"objects": [{"box": [1, 2, 3, 4], "score": 1}]}, "object 0: 'class' is missing"),
        ({"objects": [{"box": [1, 2, 3, 4], "score": 2, "class": 0}]}, "score 2.0: expected 0 to 1"),
        ({"objects": [{"box": [1, 2, 3, 10**400], "score": 1, "class": 0}]}, "detections in JSON: "),
        ({"objects": [{"box": [1, 2, 3, 4], "score": 1, "class": 10**30}]}, "detections in JSON: "),
    ],
)
def test_foreign_json_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    content = json.loads(detections().to_json()) | change
    with pytest.raises(ValueError, match=message):
        Detections.from_json(json.dumps(content))
    with pytest.raises(ValueError, match="expected an object, found list"):
        Detections.from_json("[]")


def test_the_facade_has_it() -> None:
    assert duoview.Detections is Detections and duoview.Detection is Detection


def test_track_ids_belong_to_objects_and_go_where_they_go() -> None:
    found = detections(track_ids=[7, 0, 2])
    assert found.track_ids is not None and found.track_ids.dtype == np.int64
    assert [item.track_id for item in found] == [7, None, 2] and detections()[0].track_id is None
    for changed in (found.keep([2, 0]), found.keep([True, False, True]), found.scaled(10, 10), found.above(0.2)):
        assert changed.track_ids is not None and 7 in changed.track_ids.tolist()
    assert found.keep([2, 0]).track_ids.tolist() == [2, 7]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="read-only"):
        found.track_ids[0] = 1


def test_track_ids_are_part_of_the_value() -> None:
    assert detections(track_ids=[1, 2, 3]) == detections(track_ids=[1, 2, 3]) != detections(track_ids=[1, 2, 4])
    assert detections(track_ids=[0, 0, 0]) != detections()


@pytest.mark.parametrize(("ids", "message"), [
    ([1, 2], r"track_ids of shape \(2,\) beside 3 boxes: expected \(3,\)"),
    ([1, 2, 2], "track id 2 twice: expected each from 1 on once, or 0 for no track"),
    ([1, -2, 0], "track id -2: expected each from 1 on once"),
    ([1.0, 2.0, 3.0], "track_ids of dtype float64: expected integers"),
])
def test_track_ids_that_cannot_be_are_refused(ids: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detections(track_ids=ids)


@given(st.sets(st.integers(1, 1 << 62), max_size=3), st.booleans())
def test_json_gives_track_ids_back_and_tells_none_from_no_tracker(ids: set[int], tracked: bool) -> None:
    found = detections(track_ids=[*ids, 0, 0, 0][:3] if tracked else None)
    assert Detections.from_json(found.to_json()) == found
    nothing = Detections.none(NAMES, "tiny", 9, 9)
    empty = dataclasses.replace(nothing, track_ids=np.zeros(0, np.int64)) if tracked else nothing
    assert Detections.from_json(empty.to_json()) == empty


def test_json_of_a_tracker_must_tell_every_track() -> None:
    content = json.loads(detections(track_ids=[1, 2, 3]).to_json())
    del content["objects"][1]["track"]
    with pytest.raises(ValueError, match="object 1: 'track' is missing"):
        Detections.from_json(json.dumps(content))
    with pytest.raises(ValueError, match="'tracked' is 1"):
        Detections.from_json(json.dumps(content | {"tracked": 1}))
