"""One group of pictures on its way through an encoder of its own, beside others or not."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import av
from av.video.frame import PictureType

from .background import Background
from .settings import InnerSettings
from .standard import InnerPacket, StandardEncoder

#: Groups that are encoded at once, where there are threads for it.
BESIDE = 2


def groups_at_once(settings: InnerSettings) -> int:
    """How many groups are encoded at once: one where there is one thread, and where no frame may wait for another.

    Without wavefronts, which cost bits, one picture of 640x360 keeps little more than one thread busy.
    """
    threads = settings.threads or len(os.sched_getaffinity(0))
    return BESIDE if threads > 1 and settings.latency == "full" else 1


def of_one_group(settings: InnerSettings) -> InnerSettings:
    """The settings of the encoder of one group, which has its share of the threads."""
    share = settings.threads // groups_at_once(settings)
    return dataclasses.replace(settings, threads=max(1, share) if settings.threads else 0)


class Group:
    """An open encoder, the ticket of the group's first picture, and what the encoder gave, in order.

    Args:
        fresh: whether the background is a new one. beside: encode in a thread of its own; pictures then wait for it.

    Attributes:
        pictures: how many were put in. background: what its key unit refers to, None until the encoder gave it.
    """

    def __init__(self, encoder: StandardEncoder, first: int, *, fresh: bool, beside: bool) -> None:
        self.first, self.fresh, self.pictures = first, fresh, 0
        self.background: Background | None = None
        self.ended = False
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(1, "inner group") if beside else None
        self._given: deque[Future[list[InnerPacket]]] = deque()

    def __len__(self) -> int:
        """Pictures that wait, or whose packets were not taken."""
        return len(self._given)

    def start(self, background: av.VideoFrame) -> None:
        """Encode the background, which the caller may go on to use when this returns."""
        self._put(functools.partial(self._encoder.encode, background, PictureType.I)).exception()

    def put(self, picture: av.VideoFrame, kind: PictureType) -> None:
        """Encode a picture, which is the group's from then on."""
        self.pictures += 1
        self._put(functools.partial(self._encoder.encode, picture, kind))

    def end(self) -> None:
        """Have the encoder give all it holds; no picture comes after that."""
        self.ended = True
        self._put(self._encoder.flush)
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def take(self, *, wait: bool) -> list[InnerPacket] | None:
        """What came of the oldest picture that nobody asked for, with `wait` as soon as it is there; else None.

        Raises what the encoder raised.
        """
        if not self._given or not (wait or self._given[0].done()):
            return None
        return self._given.popleft().result()

    def abandon(self) -> None:
        """Encode nothing more: a picture that is being encoded is the last. Nothing is taken from it after that."""
        self.ended = True
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _put(self, work: Callable[[], list[InnerPacket]]) -> Future[list[InnerPacket]]:
        if self._thread is not None:
            future = self._thread.submit(work)
        else:
            future = Future()
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - as a thread would keep it: `take` raises it
                future.set_exception(error)
        self._given.append(future)
        return future
