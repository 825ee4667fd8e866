"""Detectors that several graphs share: each gets its own detections, whatever was in the batch."""

from __future__ import annotations

import gc
import runpy
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from duoview.detections import Detections
from duoview.errors import LimitError
from duoview.findings import detections_of
from duoview.pipelines.run.shared_detectors import DetectionBatcher, DetectorPool
from duoview.plugins.errors import OptionError
from duoview.plugins.graph import Graph

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))


def picture(red: int, size: int = 32) -> av.VideoFrame:
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[..., 0] = red
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts, frame.time_base = red, Fraction(1)
    return frame


class Slow:
    """A detector that takes a moment, remembers its batches, and fails for pictures of a given time."""

    def __init__(self, seconds: float = 0.05, bad: int = -1) -> None:
        self.seconds, self.bad = seconds, bad
        self.batches: list[int] = []
        self.inside = 0

    def __call__(self, frames: Sequence[av.VideoFrame]) -> list[Detections]:
        assert self.inside == 0, "two threads at once"
        self.inside += 1
        time.sleep(self.seconds)
        self.inside -= 1
        if any(frame.pts == self.bad for frame in frames):
            raise ValueError(f"picture {self.bad}")
        self.batches.append(len(frames))
        return [Detections([[0, 0, 1, 1]], [frame.pts / 256], [0], ("a",), "slow", 32, 32)  # type: ignore[arg-type, operator]
                for frame in frames]


def ask(batcher: DetectionBatcher, clients: int, times: int) -> tuple[dict[int, list[float]], list[BaseException]]:
    scores: dict[int, list[float]] = {}
    errors: list[BaseException] = []

    def work(client: int) -> None:
        for turn in range(times):
            try:
                (found,) = batcher([picture(client * 10 + turn)])
                scores.setdefault(client, []).append(round(float(found.scores[0]) * 256))
            except ValueError as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return scores, errors


def test_each_thread_gets_the_detections_of_its_own_frames() -> None:
    detector = Slow(0.01)
    batcher = DetectionBatcher(detector, batch=3, window=0.05)
    batcher.clients = 5
    scores, errors = ask(batcher, 5, 8)
    assert not errors
    assert scores == {client: [client * 10 + turn for turn in range(8)] for client in range(5)}
    assert sum(detector.batches) == 40 == batcher.frames


def test_what_waits_goes_through_in_batches_up_to_the_limit() -> None:
    detector = Slow(0.05)
    batcher = DetectionBatcher(detector, batch=4, window=1.0)
    batcher.clients = 6
    ask(batcher, 6, 2)
    assert max(detector.batches) == 4 == batcher.largest
    assert len(detector.batches) < 12


def test_nobody_is_waited_for_when_all_clients_wait() -> None:
    batcher = DetectionBatcher(Slow(0.0), batch=8, window=5.0)
    began = time.monotonic()
    batcher([picture(1)])
    assert time.monotonic() - began < 1


def test_a_frame_that_fails_is_the_error_of_its_own_thread_only() -> None:
    batcher = DetectionBatcher(Slow(0.02, bad=10), batch=4, window=0.2)
    batcher.clients = 4
    scores, errors = ask(batcher, 4, 1)
    assert [str(error) for error in errors] == ["picture 10"]
    assert scores == {0: [0], 2: [20], 3: [30]}


@pytest.mark.parametrize("values", [{"batch": 0}, {"batch": 65}, {"window": -1}, {"window": 11}])
def test_values_outside_their_limits_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LimitError, match="expected"):
        DetectionBatcher(Slow(), **values)


def test_graphs_with_equal_options_share_one_network_and_others_have_their_own(tmp_path: Path) -> None:
    model = FILES.looking_detector(tmp_path / "looking.onnx")
    pool = DetectorPool()
    graphs = [Graph.parse(f"dv_detect={model}:confidence={share}", stages=pool.stages) for share in (0.1, 0.1, 0.9)]
    assert [batcher.clients for batcher in pool.batchers] == [2, 1]
    for graph, expected in zip(graphs, (1, 1, 0), strict=True):
        (seen,) = graph.process([picture(128)])
        found = detections_of(seen)
        assert found is not None and len(found) == expected
    for graph in graphs:
        graph.close()
        graph.close()
    assert pool.batchers == ()


def test_a_graph_that_is_wrong_behind_its_detector_leaves_nothing_in_the_pool(tmp_path: Path) -> None:
    model = FILES.looking_detector(tmp_path / "looking.onnx")
    pool = DetectorPool()
    with pytest.raises(OptionError, match="q=99"):
        Graph.parse(f"dv_detect={model}, dv_encode=q=99", stages=pool.stages)
    gc.collect()
    assert pool.batchers == ()


def test_a_network_with_a_batch_of_one_is_shared_one_frame_after_the_other(tmp_path: Path) -> None:
    points = sum((64 // stride) ** 2 for stride in (8, 16, 32))
    model = FILES.constant_detector(tmp_path / "one.onnx", {"output0": np.zeros((6, points), np.float32)}, batch=1)
    pool = DetectorPool(batch=8, window=0.5)
    graphs = [Graph.parse(f"dv_detect={model}", stages=pool.stages) for _ in range(3)]
    seen: list[int] = []

    def look(graph: Graph) -> None:
        seen.extend(frame.pts for frame in graph.process([picture(1), picture(2)]))

    threads = [threading.Thread(target=look, args=(graph,)) for graph in graphs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(seen) == [1, 1, 1, 2, 2, 2]
    assert pool.batchers[0].frames == 6 and pool.batchers[0].largest > 1


@pytest.mark.parametrize(("batch", "expected"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (8, [5])])
def test_a_thread_that_asks_for_more_than_a_batch_gets_it_in_several(batch: int, expected: list[int]) -> None:
    detector = Slow(0.0)
    told: list[int] = []
    batcher = DetectionBatcher(detector, batch=batch, observe=lambda frames, seconds: told.append(frames))
    found = batcher([picture(number) for number in range(5)])
    assert [round(float(one.scores[0]) * 256) for one in found] == [0, 1, 2, 3, 4]
    assert detector.batches == told == expected
    assert (batcher.batches, batcher.frames, batcher.largest) == (len(expected), 5, expected[0])


@pytest.mark.parametrize(("batch", "largest"), [(1, 1), (8, 2)])
def test_a_guard_of_two_views_keeps_within_the_batch(tmp_path: Path, batch: int, largest: int) -> None:
    model = FILES.looking_detector(tmp_path / "looking.onnx")
    pool = DetectorPool(batch=batch, window=0)
    views = {pad: [picture(number) for number in range(3)] for pad in ("m", "h")}
    with Graph.parse(f"[m][h] dv_guard={model} [out]", stages=pool.stages) as graph:
        assert [frame.pts for _, frame in graph.run(views)] == [0, 1, 2]
        assert (pool.batchers[0].largest, pool.batchers[0].frames) == (largest, 6)
