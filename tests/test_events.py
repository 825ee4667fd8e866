"""Events and findings as values: nothing changes, everything is checked, JSON gives an event back."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.detections import Detections
from duoview.events import KINDS, Event
from duoview.findings import FrameFindings, detections_of, events_of, utc_of
from duoview.frame_origin import FrameOrigin

INTEGER = st.integers(-(1 << 62), 1 << 62)
EVENTS = st.builds(
    lambda start, length, **rest: Event(start_pts=start, end_pts=start + length, **rest),
    start=INTEGER, length=st.integers(0, 1 << 40), trigger=st.text(max_size=9), number=st.integers(1, 99),
    kind=st.sampled_from((*KINDS, "tamper")), time_base=st.fractions(min_value=Fraction(1, 10**9), max_value=10),
    ongoing=st.booleans(),
    zone=st.text(max_size=9), direction=st.sampled_from(("", "left", "right")),
    track_ids=st.lists(st.integers(1, 9), max_size=3).map(tuple), labels=st.lists(st.text(), max_size=3).map(tuple),
    start_utc_us=st.none() | INTEGER, end_utc_us=st.none() | INTEGER)
EVENT = Event("dv_trigger", 1, "dwell", 10, 25, Fraction(1, 10), zone="gate", track_ids=(3,), labels=("person",))


@given(EVENTS)
def test_json_gives_back_the_same_event(event: Event) -> None:
    text = event.to_json()
    assert Event.from_json(text) == event and "\n" not in text


def test_what_is_empty_or_unknown_is_left_out_of_the_json() -> None:
    assert json.loads(EVENT.to_json()) == {
        "trigger": "dv_trigger", "number": 1, "kind": "dwell", "start_pts": 10, "end_pts": 25, "time_base": "1/10",
        "ongoing": True, "zone": "gate", "track_ids": [3], "labels": ["person"]}


def test_start_and_end_are_seconds() -> None:
    assert (EVENT.start, EVENT.end) == (Fraction(1), Fraction(5, 2))


@pytest.mark.parametrize(("change", "message"), [
    ({"kind": "Enter it"}, "event kind 'Enter it': expected present, cross, dwell, motion or another word"),
    ({"time_base": Fraction(0)}, "event time base 0: expected seconds above 0"),
    ({"end_pts": 9}, "event from pts 10 to 9: expected no end before its start"),
])
def test_an_event_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(EVENT, **change)


@pytest.mark.parametrize(("change", "message"), [
    ({"number": None}, "'number' is None"), ({"number": True}, "'number' is True"), ({"ongoing": 1}, "'ongoing' is 1"),
    ({"time_base": "x"}, "'time_base' is 'x', expected n/d seconds"), ({"track_ids": ["a"]}, "'track_ids' holds 'a'"),
    ({"time_base": "1/0"}, "'time_base' is '1/0'"), ({"labels": [1]}, "'labels' holds 1"), ({"zone": 3}, "'zone' is 3"),
])
def test_json_that_is_no_event_says_why(change: dict[str, Any], message: str) -> None:
    content = json.loads(EVENT.to_json()) | change
    with pytest.raises(ValueError, match=message):
        Event.from_json(json.dumps(content))
    with pytest.raises(ValueError, match="expected an object, found list"):
        Event.from_json("[]")
    with pytest.raises(ValueError, match="'trigger' is missing"):
        Event.from_json("{}")


def none_found(model: str) -> Detections:
    return Detections.none(("a",), model, 8, 8)


def test_findings_keep_what_was_there_whoever_comes_next() -> None:
    marker = object()
    found = FrameFindings.over(marker, none_found("one")).with_events(EVENT)
    more = FrameFindings.over(found, none_found("two")).with_events(EVENT)
    assert more.carried is marker and [item.model for item in more.detections] == ["one", "two"]
    assert more.events == (EVENT, EVENT) and found.events == (EVENT,)


def test_detections_are_replaced_where_they_stand() -> None:
    found = FrameFindings.over(FrameFindings.over(None, none_found("one")), none_found("two"))
    changed = found.with_detections(0, none_found("other"))
    assert [item.model for item in changed.detections] == ["other", "two"] and found.index_of("one") == 0
    assert found.index_of() == 1 and found.index_of("three") is None and FrameFindings().index_of() is None


def test_utc_is_told_by_findings_or_by_whoever_has_it() -> None:
    class Captured(FrameOrigin):
        utc_us = 1_700_000_000_000_000

    frame = av.VideoFrame(8, 8, "gray")
    assert utc_of(frame) is None
    frame.opaque = Captured(concealed=False)
    assert utc_of(frame) == 1_700_000_000_000_000
    found = FrameFindings.over(Captured(concealed=True), none_found("one"))
    assert (found.utc_us, found.concealed) == (1_700_000_000_000_000, True)
    assert FrameFindings.over(object(), none_found("one")).utc_us is None


def test_a_frame_that_nobody_looked_at_has_no_events() -> None:
    frame = av.VideoFrame(8, 8, "gray")
    assert events_of(frame) == () and detections_of(frame) is None
    frame.opaque = FrameFindings().with_events(EVENT)
    assert events_of(frame) == (EVENT,) and detections_of(frame) is None
