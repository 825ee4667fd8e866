"""What several threads ask for at the same moment, done as one batch.

There is no thread here: of the threads that wait one does the work, for itself and for all that came in the meantime.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from duoview.errors import Error, LimitError

LARGEST_BATCH = 64
LONGEST_WINDOW = 10.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_batch(batch: int, window: float, *, what: str, items: str) -> None:
    """Raises LimitError for a batch or a window, in seconds, that cannot be. what: is batched; items: of a batch."""
    if not 1 <= batch <= LARGEST_BATCH:
        raise LimitError(f"{what}: batch={batch}: expected 1 to {LARGEST_BATCH} {items}")
    if not 0 <= window <= LONGEST_WINDOW:
        raise LimitError(f"{what}: window={window:g}: expected 0 to {LONGEST_WINDOW:g} seconds")


class Request(Generic[Item, Result]):
    """One thread's items, and what became of them.

    Args:
        kind: only items of equal kinds go into one batch.
        patience: seconds that it may wait for others to come; those behind a batch that runs do not count.

    Attributes:
        waited: of these seconds, how many it did wait.
    """

    def __init__(self, items: Sequence[Item], *, patience: float, kind: Hashable = None) -> None:
        self.items, self.kind, self.patience = list(items), kind, patience
        self.waited = 0.0
        self.came = 0.0
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.done = False


class Batcher(Generic[Item, Result]):
    """Puts items of several threads through one function; each thread gets the results of its own.

    Args:
        run: gives a result for each of at most `batch` items; never called by two threads at once.
        batch: items of one batch, at most.
        observe: is told of each batch: its items, and the seconds it took.

    Attributes:
        clients: how many threads may ask; nobody is waited for when all of them wait already.
        batches, items: how many went through. largest: items of the largest batch. split: batches that failed and were
            run again, request by request.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result]], *, batch: int,
                 observe: Callable[[int, float], None] | None = None) -> None:
        self._function, self._batch = run, batch
        self._observe = observe
        self._changed = threading.Condition()
        self._waiting: list[Request[Item, Result]] = []
        self._led = False
        self.clients = 1
        self.batches = self.items = self.largest = self.split = 0

    def expected(self) -> int:
        """How many requests there can be at once."""
        return self.clients

    def wake(self) -> None:
        """Look again at how many are expected: somebody left."""
        with self._changed:
            self._changed.notify_all()

    def run(self, request: Request[Item, Result]) -> list[Result]:
        """The results of the request's items, in their order. Raises what the function raises for them."""
        with self._changed:
            request.came = time.monotonic()
            self._waiting.append(request)
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: request.done or not self._led)
                    if request.done:
                        break
                    self._led = True
                try:
                    self._lead()
                finally:
                    with self._changed:
                        self._led = False
                        self._changed.notify_all()
        finally:
            with self._changed:
                if request in self._waiting:  # this thread was interrupted; nobody is to work for it
                    self._waiting.remove(request)
        if request.error is not None:
            raise request.error
        return request.results

    def _lead(self) -> None:
        """Run what waits, once; the caller's own items may be left for the next turn."""
        with self._changed:
            taken = self._take()
        try:
            self._run(taken)
        except BaseException as error:
            for request in taken:
                if not request.results and request.error is None:
                    request.error = Error(f"the thread that ran this batch was stopped by {type(error).__name__}")
            raise
        finally:
            with self._changed:
                for request in taken:
                    request.done = True
                self._changed.notify_all()

    def _take(self) -> list[Request[Item, Result]]:
        """Wait for others as long as all who wait have the patience; then what goes into one batch."""
        began = time.monotonic()
        while (left := began - time.monotonic() + self._patience(began)) > 0 and not self._is_enough():
            self._changed.wait(left)
        now = time.monotonic()
        for request in self._waiting:
            request.waited += now - max(began, request.came)
        first = self._waiting[0]
        taken, count = [first], len(first.items)
        for request in self._waiting[1:]:
            if request.kind != first.kind:
                continue
            if count + len(request.items) > self._batch:
                break
            taken.append(request)
            count += len(request.items)
        for request in taken:
            self._waiting.remove(request)
        return taken

    def _patience(self, began: float) -> float:
        """Seconds from when the leader began until the first one's patience ends."""
        return min(max(began, one.came) - began + one.patience - one.waited for one in self._waiting)

    def _is_enough(self) -> bool:
        """True where waiting would bring nothing: a batch is full, or nobody is left to come.

        Who has asked already cannot ask again: with as many requests as clients all are here.
        """
        kind = self._waiting[0].kind
        return (len(self._waiting) >= self.expected()
                or sum(len(one.items) for one in self._waiting if one.kind == kind) >= self._batch)

    def _run(self, taken: Sequence[Request[Item, Result]]) -> None:
        items = [item for request in taken for item in request.items]
        try:
            results = (one for at in range(0, len(items), self._batch)
                       for one in self._timed(items[at : at + self._batch]))
            for request in taken:
                request.results = [next(results) for _ in request.items]
        except Exception as error:  # noqa: BLE001 - raised again by the thread whose items caused it
            if len(taken) == 1:
                taken[0].error = error
                return
            # What is wrong with one thread's items is not the others' error.
            self.split += 1
            for request in taken:
                self._run([request])

    def _timed(self, items: Sequence[Item]) -> Sequence[Result]:
        """One call; one thread may ask for more items than a call may have, as both views of a guard."""
        began = time.perf_counter()
        results = self._function(items)
        self.batches += 1
        self.items += len(items)
        self.largest = max(self.largest, len(items))
        if self._observe is not None:
            self._observe(len(items), time.perf_counter() - began)
        return results
