"""Networks that several streams share: their calls that come at the same moment are run as one batch.

A network of a profile has a free batch size, so pictures of one size, from as many streams, go through it at once. What
a network takes for the whole batch, as the quality index, has to be equal. Every stream has a backend of its own, which
is its seat: batches are made of the calls of those who have one.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from duoview.backends.onnxruntime_cpu import Backend, IdentifiedBackend, Network, open_backend
from duoview.backends.signature import DescribedNetwork, Signature
from duoview.batching import Batcher, Request, check_batch
from duoview.errors import BackendUnavailableError, ProfileError

Array = NDArray[Any]
Inputs = Mapping[str, Array]
#: Axes of what has a batch size: pictures, latents, symbols.
_RANK = 4
#: Seconds that a stream waits for others, by frame.
DEFAULT_WINDOW = 0.002


def batched_inputs(signature: Signature) -> tuple[str, ...]:
    """Names of the inputs that batches are made along; none for a network whose batch size is fixed, or that has none.

    The others belong to the whole batch.
    """
    free = [spec for spec in signature.inputs if spec.shape and spec.shape[0] is None]
    if any(len(spec.shape) != _RANK or spec.shape[0] is not None for spec in (*free, *signature.outputs)):
        return ()
    return tuple(spec.name for spec in free)


def open_stream_backend(device: str | Backend, threads: int, batch: int, window: float) -> Backend:
    """The backend of one stream: for a batch of 1 that of its device, else a seat in front of it.

    Raises as ``open_backend`` and BatchingBackend do.
    """
    check_batch(batch, window, what="networks", items="streams")
    backend = open_backend(device, threads)
    return BatchingBackend(backend, batch=batch, window=window) if batch > 1 else backend


class NetworkBatcher(Batcher[Inputs, list[Array]]):
    """One network, and the calls of several streams that wait for it."""

    def __init__(self, network: Network, joined: tuple[str, ...], batch: int) -> None:
        super().__init__(self._together, batch=batch)
        self.network, self.joined = network, joined
        self._streams: weakref.WeakSet[BatchedNetwork] = weakref.WeakSet()

    def expected(self) -> int:
        """How many streams may call."""
        return len(self._streams)

    def join(self, stream: BatchedNetwork) -> None:
        """From now on this stream may call, for as long as it has the network. May be called again."""
        with self._changed:
            self._streams.add(stream)

    def leave(self, stream: BatchedNetwork) -> None:
        """Nobody waits for this stream any more."""
        with self._changed:
            self._streams.discard(stream)
            self._changed.notify_all()

    def kind(self, inputs: Inputs) -> Hashable:
        """Calls of equal kinds go into one batch: the same sizes, and the same values of what the batch has once."""
        return tuple((name, value.dtype.str, value.shape[1:]) if name in self.joined
                     else (name, value.dtype.str, value.shape, value.tobytes())
                     for name, value in sorted(inputs.items()))

    def _together(self, calls: Sequence[Inputs]) -> list[list[Array]]:
        """The outputs of calls of one kind."""
        if len(calls) == 1:
            return [self.network(**calls[0])]
        given = {name: np.concatenate([call[name] for call in calls]) if name in self.joined else value
                 for name, value in calls[0].items()}
        ends = np.cumsum([len(call[self.joined[0]]) for call in calls])
        outputs = self.network(**given)
        if any(len(output) != ends[-1] for output in outputs):
            raise ProfileError(f"a network that is given a batch of {ends[-1]} gives {[len(one) for one in outputs]}")
        # Copies: what one stream keeps must not hold on to what the others have long forgotten.
        return [[output[end - len(call[self.joined[0]]):end].copy() for output in outputs]
                for call, end in zip(calls, ends, strict=True)]


class BatchedNetwork:
    """A network as one stream has it."""

    def __init__(self, batcher: NetworkBatcher, seat: BatchingBackend) -> None:
        self.batcher, self._seat = batcher, weakref.ref(seat)

    def __call__(self, **inputs: Array) -> list[Array]:
        """Raises what the network raises for these inputs."""
        seat = self._seat()
        request = Request[Inputs, list[Array]](
            [inputs], kind=self.batcher.kind(inputs), patience=seat.patience if seat is not None else 0.0)
        try:
            (outputs,) = self.batcher.run(request)
        finally:
            if seat is not None:
                seat.patience = max(0.0, seat.patience - request.waited)
        return outputs

    @property
    def signature(self) -> Signature:
        """Of the network."""
        assert isinstance(self.batcher.network, DescribedNetwork)
        return self.batcher.network.signature


class BatchingBackend:
    """One stream's seat at the networks of a backend that it shares with the streams of this process.

    Streams share where their backends are equal, and batch and window too. A network that cannot take a batch is run
    for each stream by itself.

    Args:
        batch: calls of one run of a network, at most. window: seconds that a stream waits for others in a frame, at
            most: ``begin`` tells of each.

    Raises LimitError for values that cannot be, BackendUnavailableError for a backend that takes no batches.
    """

    _shared: ClassVar[weakref.WeakValueDictionary[Hashable, NetworkBatcher]] = weakref.WeakValueDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, inner: Backend, *, batch: int, window: float = DEFAULT_WINDOW) -> None:
        check_batch(batch, window, what="networks", items="streams")
        if inner.name == "tensorrt":
            raise BackendUnavailableError(f"device 'tensorrt': batch={batch}: engines are built for one picture at a "
                                          "time; expected batch=1, which shares them too, or device 'cuda' or 'cpu'")
        if not isinstance(inner, IdentifiedBackend) or inner.identity is None:
            raise BackendUnavailableError(f"batch={batch}: backend {inner.name!r} has no identity, which says what "
                                              "other backends load the same networks; expected batch=1")
        self.inner, self.name, self.batch, self.window = inner, inner.name, batch, window
        #: Seconds that this stream may still wait in the present frame.
        self.patience = window
        #: As long as the stream has them: at another profile it lets go of those of the one before.
        self._networks: weakref.WeakValueDictionary[Hashable, BatchedNetwork] = weakref.WeakValueDictionary()
        self._left = False

    def load(self, path: Path) -> Network:
        """The network of a file, by itself: only those of profiles have a hash to know them by."""
        return self.inner.load(path)

    def begin(self) -> None:
        """A frame begins, which may wait for others again, and others for it where its stream had ended."""
        self.patience = self.window
        if self._left:
            self._left = False
            for network in self._networks.values():
                network.batcher.join(network)

    def leave(self) -> None:
        """The stream has ended: the others wait for it no more, until it begins again."""
        self._left = True
        for network in self._networks.values():
            network.batcher.leave(network)

    @property
    def batchers(self) -> tuple[NetworkBatcher, ...]:
        """Of the networks that this stream shares in batches."""
        return tuple(network.batcher for network in self._networks.values())

    def take(self, key: Hashable, load: Callable[[], Network]) -> Network:
        """The network of this key, shared with the other streams; the first one loads it."""
        mine = self._networks.get(key)
        if mine is not None:
            return mine
        network = load()
        joined = batched_inputs(network.signature) if isinstance(network, DescribedNetwork) else ()
        if not joined:
            return network
        with self._lock:
            # The loaded network itself, which its batcher keeps, stands for profile, device and options.
            shared = (os.getpid(), id(network), self.batch, self.window)
            batcher = self._shared.get(shared)
            if batcher is None:
                batcher = self._shared[shared] = NetworkBatcher(network, joined, self.batch)
        mine = self._networks[key] = BatchedNetwork(batcher, self)
        batcher.join(mine)
        return mine
