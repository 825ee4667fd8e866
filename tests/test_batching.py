"""Batches of what several threads ask for: what goes together, who waits how long, and whose error an error is."""

from __future__ import annotations

import runpy
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from duoview.backends import CpuBackend, Signature, TensorSpec
from duoview.backends.batching import BatchingBackend, batched_inputs
from duoview.batching import Batcher, Request
from duoview.errors import BackendUnavailableError, Error, LimitError

Array = NDArray[Any]
#: Longer than any test may take on a busy machine.
LONG = 8.0

AT_ONCE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("at_once.py"))))


class Doubling:
    """A network of pictures and a level that belongs to the batch; remembers its batches, and fails for level 13."""

    signature = Signature((TensorSpec("x", (None, 1, None, None), "float"), TensorSpec("q", (1,), "int64")),
                          (TensorSpec("y", (None, 1, None, None), "float"),))

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []

    def __call__(self, **inputs: Array) -> list[Array]:
        time.sleep(self.seconds)
        if (inputs["x"] == 13).any():
            raise ValueError(f"{len(inputs['x'])} with a 13")
        self.batches.append(len(inputs["x"]))
        return [inputs["x"] * 2 + inputs["q"][0]]


def value(number: float, side: int = 2) -> NDArray[np.float32]:
    return np.full((1, 1, side, side), number, np.float32)


def level(q: int = 0) -> NDArray[np.int64]:
    return np.array([q], np.int64)


def seats(network: Doubling, count: int, **options: Any) -> list[tuple[BatchingBackend, Any]]:
    """Streams that share a network."""
    made = [BatchingBackend(CpuBackend(1), **options) for _ in range(count)]
    return [(seat, seat.take("network", lambda: network)) for seat in made]


def call(network: Any, number: float, q: int = 0, side: int = 2) -> Callable[[], float]:
    return lambda: float(network(x=value(number, side), q=level(q))[0].mean())


def test_calls_that_come_within_the_window_are_one_batch_and_each_gets_its_own() -> None:
    network = Doubling()
    streams = seats(network, 4, batch=8, window=LONG)
    assert AT_ONCE.together(*(call(stream, number) for number, (_, stream) in enumerate(streams))) == [0, 2, 4, 6]
    assert network.batches == [4]


def test_a_batch_is_not_larger_than_asked_for() -> None:
    network = Doubling(0.05)
    streams = seats(network, 5, batch=2, window=0.2)
    assert AT_ONCE.together(*(call(stream, number) for number, (_, stream) in enumerate(streams))) == [0, 2, 4, 6, 8]
    assert max(network.batches) == 2 and sum(network.batches) == 5


def test_calls_of_other_qualities_or_sizes_are_never_in_one_batch() -> None:
    network = Doubling()
    streams = seats(network, 4, batch=8, window=0.2)
    asked = ((0, 2), (5, 2), (0, 3), (0, 2))
    found = AT_ONCE.together(*(call(stream, 1, q, side) for (q, side), (_, stream) in zip(asked, streams, strict=True)))
    assert found == [2, 7, 2, 2]
    assert sorted(network.batches) in ([1, 1, 2], [1, 1, 1, 1])  # the equal ones, where none came too late


def test_a_failing_call_is_the_error_of_its_own_stream_only() -> None:
    network = Doubling()
    streams = seats(network, 3, batch=8, window=LONG)
    found = AT_ONCE.together(*(call(stream, number) for number, (_, stream) in zip((1, 13, 2), streams, strict=True)))
    assert found[0] == 2 and found[2] == 4
    assert isinstance(found[1], ValueError) and str(found[1]) == "1 with a 13"
    assert streams[0][1].batcher.split == 1


def test_a_stream_alone_waits_for_nobody() -> None:
    ((_, network),) = seats(Doubling(), 1, batch=8, window=LONG)
    began = time.monotonic()
    network(x=value(1), q=level())
    assert time.monotonic() - began < LONG / 2


def test_all_calls_of_a_frame_wait_no_longer_than_one_window() -> None:
    (seat, network), _ = seats(Doubling(), 2, batch=8, window=0.2)  # the other one never calls
    for _frame in range(2):
        seat.begin()
        began = time.monotonic()
        network(x=value(1), q=level())
        first = time.monotonic() - began
        assert first >= 0.19 and seat.patience < 0.02
        patience = seat.patience
        for _call in range(20):
            network(x=value(1), q=level())
        assert seat.patience <= patience


def test_nobody_waits_for_a_stream_that_has_ended_until_it_begins_again() -> None:
    (first, network), (second, other) = seats(Doubling(), 2, batch=8, window=LONG)
    second.leave()
    began = time.monotonic()
    network(x=value(1), q=level())
    assert time.monotonic() - began < LONG / 2
    for seat in (first, second):
        seat.begin()
    assert AT_ONCE.together(call(network, 1), call(other, 2)) == [2, 4]
    assert other.batcher.largest == 2


def test_who_waits_goes_on_when_the_others_leave_or_are_forgotten() -> None:
    network = Doubling()
    streams = seats(network, 3, batch=8, window=LONG)
    gone, kept = streams.pop(), streams[0]
    began = time.monotonic()

    def leave() -> None:
        time.sleep(0.1)
        streams[1][0].leave()

    batcher = kept[1].batcher
    assert batcher.expected() == 3
    del gone
    assert batcher.expected() == 2
    assert AT_ONCE.together(call(kept[1], 3), leave)[0] == 6
    assert time.monotonic() - began < LONG / 2


def test_streams_of_other_options_have_batches_of_their_own() -> None:
    network = Doubling()
    (_, first), = seats(network, 1, batch=8, window=LONG)
    (_, second), = seats(network, 1, batch=4, window=LONG)
    assert first.batcher is not second.batcher
    assert AT_ONCE.together(call(first, 1), call(second, 2)) == [2, 4]
    assert network.batches == [1, 1]


def test_a_network_that_a_stream_let_go_of_waits_for_it_no_more() -> None:
    (_, network), (seat, other) = seats(Doubling(), 2, batch=8, window=LONG)
    batcher = network.batcher
    found = [(batcher.expected(), len(seat.batchers))]
    del other  # as a decoder does whose stream goes on with another profile
    found.append((batcher.expected(), len(seat.batchers)))
    assert found == [(2, 1), (1, 0)]
    seat.leave()
    seat.begin()
    assert batcher.expected() == 1


def test_a_network_that_stays_while_its_stream_is_gone_still_answers() -> None:
    ((seat, network),) = seats(Doubling(), 1, batch=8, window=LONG)
    del seat
    assert call(network, 1)() == 2


def test_results_do_not_share_memory_with_those_of_other_streams() -> None:
    streams = seats(Doubling(), 2, batch=8, window=LONG)
    first, second = AT_ONCE.together(*(lambda one=one: one(x=value(1), q=level())[0] for _, one in streams))
    assert first.base is None and second.base is None


class Stopped(BaseException):
    """As KeyboardInterrupt is: no error, and not to be caught."""


def test_who_is_stopped_while_it_works_for_others_leaves_them_an_error() -> None:
    inside, go = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        if len(items) == 2:
            inside.set()
            assert go.wait(20)
            raise Stopped
        return list(items)

    batcher = Batcher[int, int](work, batch=2)
    batcher.clients = 2

    def ask() -> object:
        try:
            return batcher.run(Request([1], patience=LONG))
        except (Error, Stopped) as error:
            return error

    go.set()
    found = AT_ONCE.together(ask, ask)
    assert inside.is_set()
    assert sorted(type(one).__name__ for one in found) == ["Error", "Stopped"]
    assert "was stopped by Stopped" in str(next(one for one in found if isinstance(one, Error)))
    batcher.clients = 1
    assert batcher.run(Request([5], patience=0)) == [5]


def test_one_kind_that_always_comes_does_not_keep_others_waiting() -> None:
    batcher = Batcher[int, int](lambda items: list(items), batch=2)
    batcher.clients = 4
    kinds: list[Hashable] = [0, 0, 1, 0]
    work = [lambda kind=kind: [batcher.run(Request([kind], patience=0.01, kind=kind)) for _ in range(20)]
            for kind in kinds]
    assert [found[-1] for found in AT_ONCE.together(*work)] == [[0], [0], [1], [0]]
    assert batcher.items == 80


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": 65}, {"batch": 2, "window": -1},
                                     {"batch": 2, "window": 11}])
def test_values_outside_their_limits_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises(LimitError, match=r"networks: .*expected"):
        BatchingBackend(CpuBackend(1), **options)


def test_a_backend_that_cannot_say_what_it_shares_takes_no_batches() -> None:
    class Other(CpuBackend):
        name = "other"

    with pytest.raises(BackendUnavailableError, match="'other' has no identity"):
        BatchingBackend(Other(1), batch=2)


@pytest.mark.parametrize(("inputs", "output", "expected"), [
    ([(None, 3, None, None), (1,)], (None, 8, None, None), ("0",)),
    ([(1, 3, None, None)], (1, 8, None, None), ()),
    ([(None, 3, None, None)], (1, 8), ()),
    ([(None, 77)], (None, 8), ()),  # a list of words, not of streams
    ([(1,)], (1,), ()),
])
def test_batches_are_made_along_inputs_with_a_free_batch_size(inputs: list[Any], output: Any, expected: Any) -> None:
    signature = Signature(tuple(TensorSpec(str(n), shape, "float") for n, shape in enumerate(inputs)),
                          (TensorSpec("y", output, "float"),))
    assert batched_inputs(signature) == expected
