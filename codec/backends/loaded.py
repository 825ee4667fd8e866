"""The networks that are in use in this process. One that several streams need is there once.

A network is shared where profile, backend, device and options are the same; it goes when the last one lets go of it.
What a stream computes does not depend on it: networks have no state, and may be called by several threads at once.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable

from duoview.backends.batching import BatchingBackend
from duoview.backends.onnxruntime_cpu import Backend, IdentifiedBackend, Network


class _Gate:
    """Those who want the same network wait here for the first one to load it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class LoadedNetworks:
    """Networks by what they are, as long as somebody has them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._networks: weakref.WeakValueDictionary[Hashable, Network] = weakref.WeakValueDictionary()
        self._gates: weakref.WeakValueDictionary[Hashable, _Gate] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        """How many networks there are."""
        return len(self._networks)

    def take(self, backend: Backend, network: Hashable, load: Callable[[Backend], Network]) -> Network:
        """The network of a backend: what `load` gives for it, or gave before. Raises what `load` raises.

        network: what it is, with the hash of its profile.
        """
        if isinstance(backend, BatchingBackend):
            return backend.take(network, lambda: self.take(backend.inner, network, load))
        identity = backend.identity if isinstance(backend, IdentifiedBackend) else None
        if identity is None:
            return load(backend)
        # A child of fork has none of its parent's threads, which sessions wait for.
        key = (os.getpid(), identity, network)
        with self._lock:
            gate = self._gates.get(key)
            if gate is None:
                gate = self._gates[key] = _Gate()
        with gate.lock:
            found = self._networks.get(key)
            if found is None:
                found = self._networks[key] = load(backend)
            return found


#: Of this process. It holds nothing: what nobody uses is not there.
LOADED = LoadedNetworks()
