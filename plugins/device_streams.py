"""Networks on devices that stages of several streams share: one of each profile, and a fork of it for each stream."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable
from pathlib import Path

from duoview.backends.batching import DEFAULT_WINDOW
from duoview.device import DeviceNetworks
from duoview.device.lane import MemoryLimit
from duoview.device.networks import DEFAULT_RUNS
from duoview.errors import BackendUnavailableError
from duoview.profile import Profile


class DeviceStreams:
    """Opens networks for streams: weights, kernels, memory limit and pool are shared, CUDA streams are not.

    They go with the last stream that has any of them.

    Args:
        memory_limit: bytes of a device that codecs of all streams of one profile may have, None for as many as there
            are. runs: networks of all of them that run at the same moment, at most.
    """

    def __init__(self, *, memory_limit: int | None = None, runs: int = DEFAULT_RUNS) -> None:
        self.memory_limit, self.runs = memory_limit, runs
        self._lock = threading.Lock()
        #: Of networks that have memory, or may have taken the most of it; that of those that are gone is in `_most`.
        self._counts: list[MemoryLimit] = []
        self._most = 0
        self._networks: weakref.WeakValueDictionary[Hashable, DeviceNetworks] = weakref.WeakValueDictionary()

    def open(self, profile: str | Path | Profile, device: str, *, threads: int = 0, batch: int = 1,
             window: float = DEFAULT_WINDOW) -> DeviceNetworks:
        """Networks of a profile for one stream. device: ``cuda``, or ``cpu`` to test with.

        Raises ProfileError, LimitError for a batch or window that cannot be, and BackendUnavailableError or DeviceError
        naming what is missing.
        """
        given = profile if isinstance(profile, Profile) else Profile(profile)
        with self._lock:  # a child of fork has no device of its parent's
            key = os.getpid(), given.sha256, device, threads
            networks = self._networks.get(key)
            if networks is None:
                try:
                    networks = DeviceNetworks(given, device, threads=threads, memory_limit=self.memory_limit,
                                              runs=self.runs)
                except BackendUnavailableError as error:
                    raise BackendUnavailableError(f"hwaccel={device}: {error}; without hwaccel frames stay on the "
                                                  "host") from error
                self._networks[key] = networks
                self._most = self._greatest()
                self._counts = [*(one for one in self._counts if one.taken), networks.memory]
            return networks.fork(batch=batch, window=window)

    @property
    def memory_taken(self) -> int:
        """Bytes of devices that codecs of all streams have now, what networks need not counted."""
        with self._lock:
            return sum(one.taken for one in self._counts)

    @property
    def memory_most(self) -> int:
        """The most that codecs of one profile ever had, which is what ``memory_limit`` bounds."""
        with self._lock:
            return self._greatest()

    def _greatest(self) -> int:
        return max((self._most, *(one.most for one in self._counts)))
