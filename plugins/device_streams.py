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
        memory_limit: bytes of a device that codecs of all streams may have, whatever their profiles, None for as many
            as there are. runs: networks of one profile that run at the same moment, at most.
    """

    def __init__(self, *, memory_limit: int | None = None, runs: int = DEFAULT_RUNS) -> None:
        self.memory_limit, self.runs = memory_limit, runs
        self._lock = threading.Lock()
        #: Of each process and device.
        self._limits: dict[tuple[int, str], MemoryLimit] = {}
        self._networks: weakref.WeakValueDictionary[Hashable, DeviceNetworks] = weakref.WeakValueDictionary()

    def open(self, profile: str | Path | Profile, device: str, *, threads: int = 0, batch: int = 1,
             window: float = DEFAULT_WINDOW) -> DeviceNetworks:
        """Networks of a profile for one stream. device: ``cuda``, or ``cpu`` to test with.

        Raises ProfileError, LimitError for a batch or window that cannot be, and BackendUnavailableError or DeviceError
        naming what is missing.
        """
        given = profile if isinstance(profile, Profile) else Profile(profile)
        with self._lock:  # a child of fork has no device of its parent's
            # Threads are those of networks on the CPU: others would be loaded twice for nothing.
            key = os.getpid(), given.sha256, device, threads if device == "cpu" else 0
            networks = self._networks.get(key)
            if networks is None:
                limit = self._limits.get((os.getpid(), device)) or MemoryLimit(self.memory_limit, device)
                try:
                    networks = DeviceNetworks(given, device, threads=threads, memory_limit=limit, runs=self.runs)
                except BackendUnavailableError as error:
                    raise BackendUnavailableError(f"hwaccel={device}: {error}; without hwaccel frames stay on the "
                                                  "host") from error
                self._networks[key], self._limits[os.getpid(), device] = networks, limit
            return networks.fork(batch=batch, window=window)

    @property
    def memory_taken(self) -> int:
        """Bytes of devices that codecs of all streams have now, what networks need not counted.

        It waits for no networks that are being loaded.
        """
        return sum(one.taken for one in self._own())

    @property
    def memory_most(self) -> int:
        """The most that codecs of one device ever had, which is what ``memory_limit`` bounds."""
        return max((one.most for one in self._own()), default=0)

    def _own(self) -> list[MemoryLimit]:
        return [one for (process, _), one in list(self._limits.items()) if process == os.getpid()]
