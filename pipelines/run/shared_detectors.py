"""One detector for many cameras: networks are loaded once, and what waits at the same moment is detected in one batch.

There is no thread here: of the cameras' threads that wait for detections one runs the network, for itself and for all
that came in the meantime.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import av

from duoview.detections import Detections
from duoview.errors import LimitError
from duoview.plugins.filters.dv_detect import Detect, Finder
from duoview.plugins.filters.dv_guard import Guard
from duoview.plugins.stage import Stage

LARGEST_BATCH = 64


@dataclass
class _Request:
    frames: list[av.VideoFrame]
    found: list[Detections] = field(default_factory=list)
    error: Exception | None = None
    done: bool = False


class DetectionBatcher:
    """Puts frames of several threads through one detector; each thread gets the detections of its own frames.

    Attributes:
        clients: how many threads call; nobody is waited for when all of them wait already.
        batches, frames: how many went through.
        largest: frames of the largest batch.
    """

    def __init__(
        self,
        detector: Finder,
        *,
        batch: int = 8,
        window: float = 0.02,
        observe: Callable[[int, float], None] | None = None,
    ) -> None:
        """Batch at most `batch` frames, waiting at most `window` seconds for them.

        `observe` is told of each batch: its frames, and the seconds it took. Raises LimitError.
        """
        if not 1 <= batch <= LARGEST_BATCH:
            raise LimitError(f"detection: batch={batch}: expected 1 to {LARGEST_BATCH} frames")
        if not 0 <= window <= 10:
            raise LimitError(f"detection: window={window:g}: expected 0 to 10 seconds")
        self._detector, self._batch, self._window = detector, batch, window
        self._observe = observe or (lambda frames, seconds: None)
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
        self._led = False
        self.clients = 1
        self.batches = self.frames = self.largest = 0

    def __call__(self, frames: Sequence[av.VideoFrame]) -> list[Detections]:
        """The detections of these frames, in their order. Raises what the detector raises for them."""
        request = _Request(list(frames))
        with self._changed:
            self._waiting.append(request)
            self._changed.notify_all()
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
        if request.error is not None:
            raise request.error
        return request.found

    def _lead(self) -> None:
        """Run what waits, once; the caller's own frames may be left for the next turn."""
        with self._changed:
            # Who has asked already cannot ask again: with as many requests as clients nobody is left to wait for.
            self._changed.wait_for(
                lambda: self._count() >= self._batch or len(self._waiting) >= self.clients, self._window
            )
            taken = [self._waiting.pop(0)]
            while self._waiting and sum(len(one.frames) for one in (*taken, self._waiting[0])) <= self._batch:
                taken.append(self._waiting.pop(0))
        try:
            self._run(taken)
        finally:
            with self._changed:
                for request in taken:
                    request.done = True
                self._changed.notify_all()

    def _count(self) -> int:
        return sum(len(one.frames) for one in self._waiting)

    def _run(self, taken: Sequence[_Request]) -> None:
        frames = [frame for request in taken for frame in request.frames]
        try:
            found = (one for at in range(0, len(frames), self._batch)
                     for one in self._detect(frames[at : at + self._batch]))
            for request in taken:
                request.found = [next(found) for _ in request.frames]
        except Exception as error:  # noqa: BLE001 - raised again by the thread whose frames caused it
            if len(taken) == 1:
                taken[0].error = error
                return
            # One camera's bad frame is not the others' error.
            for request in taken:
                self._run([request])

    def _detect(self, frames: Sequence[av.VideoFrame]) -> list[Detections]:
        """One run of the network; one thread may ask for more frames than a run may have, as both views of a guard."""
        began = time.perf_counter()
        found = self._detector(frames)
        self.batches += 1
        self.frames += len(frames)
        self.largest = max(self.largest, len(frames))
        self._observe(len(frames), time.perf_counter() - began)
        return found


class DetectorPool:
    """The detectors of a process: those with the same options are one.

    ``Graph.parse(text, stages=pool.stages)`` makes the graph's dv_detect use it.
    """

    def __init__(
        self, *, batch: int = 8, window: float = 0.02, observe: Callable[[int, float], None] | None = None
    ) -> None:
        """As DetectionBatcher, for all of them."""
        self._settings: dict[str, Any] = {"batch": batch, "window": window, "observe": observe}
        self._lock = threading.RLock()  # the garbage collector may give back what the same thread is taking
        self._users: dict[Hashable, tuple[DetectionBatcher, int]] = {}
        pool = self

        class SharedDetect(Detect):
            """Find objects in frames with a detector that other graphs of the process use too."""

            def load_detector(self) -> Finder:
                finder = pool.take(self.options, super().load_detector)
                self._lease = pool.lease(self, self.options)
                return finder

            def close(self) -> None:
                if self.detector is not None:
                    self._lease()
                super().close()

        class SharedGuard(Guard):
            """Compare the human view with the machine view by a detector that other graphs of the process use too."""

            def load_detector(self) -> Finder:
                finder = pool.take(self.options, super().load_detector)
                self._lease = pool.lease(self, self.options)
                return finder

            def close(self) -> None:
                if self.detector is not None:
                    self._lease()
                super().close()

        self.stages: dict[str, type[Stage]] = {"dv_detect": SharedDetect, "dv_guard": SharedGuard}

    @property
    def batchers(self) -> tuple[DetectionBatcher, ...]:
        """Those in use."""
        with self._lock:
            return tuple(batcher for batcher, _ in self._users.values())

    def take(self, options: Hashable, load: Callable[[], Finder]) -> DetectionBatcher:
        """The detector for these options, loaded by the first who asks. Raises what loading raises."""
        with self._lock:
            batcher, users = self._users.get(options) or (DetectionBatcher(load(), **self._settings), 0)
            self._users[options] = batcher, users + 1
            batcher.clients = users + 1
            return batcher

    def lease(self, holder: object, options: Hashable) -> Callable[[], object]:
        """What gives a detector back, once; the end of `holder` does too: a graph that is wrong is only forgotten."""
        lease = weakref.finalize(holder, self.give_back, options)
        lease.atexit = False
        return lease

    def give_back(self, options: Hashable) -> None:
        """One user less; the detector of the last one is dropped."""
        with self._lock:
            batcher, users = self._users.pop(options)
            if users > 1:
                self._users[options] = batcher, users - 1
                batcher.clients = users - 1
