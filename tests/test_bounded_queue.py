"""Queues between a reader and its consumer."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.errors import LimitError
from duoview.pipelines.bounded_queue import BoundedQueue, Overflow


def test_the_oldest_gives_way_and_is_reported() -> None:
    out: list[int] = []
    queue = BoundedQueue(2, Overflow.DROP_OLDEST, dropped=out.append)
    assert all(queue.put(n) for n in range(5))
    assert (out, [queue.get(0), queue.get(0), queue.get(0)]) == ([0, 1, 2], [3, 4, None])


def test_a_full_queue_refuses_and_says_so() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, Overflow.REFUSE)
    assert (queue.put(1), queue.put(2), queue.get(0), queue.put(3)) == (True, False, 1, True)


def test_a_producer_waits_until_there_is_room() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, Overflow.WAIT)
    queue.put(0)
    thread = threading.Thread(target=queue.put, args=(1,), daemon=True)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive() and len(queue) == 1
    assert (queue.get(1), queue.get(10)) == (0, 1)
    thread.join(10)
    assert not thread.is_alive()


def test_closing_frees_a_waiting_producer_and_takes_nothing_more() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, Overflow.WAIT)
    queue.put(0)
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: taken.append(queue.put(1)), daemon=True)
    thread.start()
    queue.close()
    thread.join(10)
    assert taken == [False] and not queue.put(2)


def test_what_was_in_the_queue_comes_before_the_error_it_was_closed_with() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2, Overflow.WAIT)
    queue.put(7)
    queue.close(OSError("gone"))
    assert queue.get() == 7
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            queue.get()


def test_discarding_empties_the_queue() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2, Overflow.WAIT)
    queue.put(7)
    queue.close(discard=True)
    assert queue.finished and queue.get() is None


def test_an_item_larger_than_all_bytes_is_refused_or_waits_to_be_alone() -> None:
    refusing = BoundedQueue(9, Overflow.REFUSE, bytes=10, size=len)
    assert not refusing.put(b"x" * 11)
    waiting = BoundedQueue(9, Overflow.WAIT, bytes=10, size=len)
    assert waiting.put(b"x" * 11)


@given(st.lists(st.integers(0, 12) | st.none()), st.sampled_from((Overflow.DROP_OLDEST, Overflow.REFUSE)))
def test_neither_limit_is_ever_exceeded_and_order_is_kept(steps: list[int | None], overflow: Overflow) -> None:
    dropped: list[bytes] = []
    queue = BoundedQueue(3, overflow, bytes=20, size=len, dropped=dropped.append)
    held: list[bytes] = []
    for number, step in enumerate(steps):
        if step is None:
            got = queue.get(0)
            assert got == (held.pop(0) if held else None)
            continue
        item = bytes([number % 256]) * step
        before = len(dropped)
        if queue.put(item):
            held = [*held[len(dropped) - before :], item]
        assert len(queue) == len(held) <= 3 and sum(map(len, held)) <= 20


def test_a_queue_for_nothing_is_refused() -> None:
    with pytest.raises(LimitError, match="queue of 0 items: expected 1 or more"):
        BoundedQueue(0, Overflow.WAIT)


def test_an_error_that_every_call_raises_does_not_grow() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1, Overflow.WAIT)
    queue.close(ValueError("gone"))
    lengths = set()
    for _ in range(3):
        with pytest.raises(ValueError, match="gone") as raised:
            queue.get()
        lengths.add(len(raised.traceback))
    assert len(lengths) == 1
