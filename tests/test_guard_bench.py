"""bench.guard: whatever the guard tells of in a picture that something was done to is counted, and as what it is."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from duoview.detections import Detections
from duoview.verdict import Change, Kind, Tolerance

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
BENCH: Any = ACCURACY.module("bench.guard")

Box = tuple[float, float, float, float]
REMOVED: Box = (100, 100, 140, 180)
BESIDE: Box = (130, 100, 170, 180)  # overlaps it by a seventh
FAR: Box = (400, 100, 440, 180)
SMALL: Box = (110, 120, 130, 140)  # within it


def seen(*boxes: Box) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9), np.zeros(len(boxes), int),
                      ("person",), "test", 640, 360)


def trial_of(kind: Kind, machine: Sequence[Box], before: Sequence[Box], after: Sequence[Box]) -> Any:
    """Something done at REMOVED, in pictures that are not compared."""
    same = Change(np.zeros((22, 40), np.float32), 640, 360)
    return BENCH.Trial(kind, "person", 0.9, 80, (seen(*machine), seen(*before), same),
                       (seen(*machine), seen(*after), same), REMOVED)


def counted(kind: Kind, machine: Sequence[Box], before: Sequence[Box], after: Sequence[Box]) -> tuple[int, ...]:
    """found, touching, wrong_kind, elsewhere of one trial at REMOVED."""
    rates = BENCH.rates([trial_of(kind, machine, before, after)], Tolerance())
    return rates.found, rates.touching, rates.wrong_kind, rates.elsewhere


@pytest.mark.parametrize(("after", "expected"), [
    ((BESIDE, FAR), (1, 0, 0, 0)),
    ((REMOVED, BESIDE, FAR), (0, 0, 0, 0)),
    ((FAR,), (1, 1, 0, 0)),
    ((BESIDE,), (1, 0, 0, 1)),
    ((BESIDE, FAR, SMALL), (1, 0, 1, 0)),
    ((BESIDE, FAR, (10, 10, 50, 50)), (1, 0, 0, 1)),
])
def test_alarms_in_a_picture_that_an_object_was_removed_from(after: Sequence[Box], expected: tuple[int, ...]) -> None:
    whole = (REMOVED, BESIDE, FAR)
    assert counted(Kind.LOST, whole, whole, after) == expected


def test_what_is_invented_where_an_object_was_removed_is_a_false_alarm() -> None:
    assert counted(Kind.LOST, (REMOVED,), (REMOVED,), (SMALL,)) == (1, 0, 1, 0)


def test_what_is_lost_where_an_object_was_planted_is_a_false_alarm() -> None:
    assert counted(Kind.INVENTED, (BESIDE,), (BESIDE,), (REMOVED,)) == (1, 0, 1, 0)


def test_a_part_of_a_planted_object_touches_it_and_is_no_finding() -> None:
    assert counted(Kind.INVENTED, (), (), (SMALL,)) == (0, 1, 0, 0)


def test_what_was_told_of_before_is_no_new_alarm() -> None:
    assert counted(Kind.LOST, (REMOVED, FAR), (REMOVED, SMALL), (SMALL,)) == (1, 0, 0, 0)


def test_false_alarms_are_a_share_of_the_objects_that_were_looked_for() -> None:
    whole = (REMOVED, BESIDE, FAR)
    trial = trial_of(Kind.LOST, whole, whole, (BESIDE, (10, 10, 50, 50)))
    rates = BENCH.rates([trial, trial], Tolerance())
    # FAR is lost too, and something is invented: two alarms for three objects of the machine view and two shown
    assert (rates.elsewhere, rates.judged, rates.false_share) == (4, 10, 0.4)
