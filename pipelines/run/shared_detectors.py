"""One detector for many cameras: networks are loaded once, and what waits at the same moment is detected in one batch.

There is no thread here: of the cameras' threads that wait for detections one runs the network, for itself and for all
that came in the meantime.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import av

from duoview.batching import Batcher, Request, check_batch
from duoview.detections import Detections
from duoview.plugins.filters.dv_detect import Detect, Finder
from duoview.plugins.filters.dv_guard import Guard
from duoview.plugins.stage import Stage


class DetectionBatcher(Batcher[av.VideoFrame, Detections]):
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
        check_batch(batch, window, what="detection", items="frames")
        super().__init__(detector, batch=batch, observe=observe)
        self._window = window

    @property
    def frames(self) -> int:
        """How many frames went through."""
        return self.items

    def __call__(self, frames: Sequence[av.VideoFrame]) -> list[Detections]:
        """The detections of these frames, in their order. Raises what the detector raises for them."""
        return self.run(Request(frames, patience=self._window))


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
