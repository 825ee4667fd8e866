"""Many cameras in one process: started, watched, changed while they run, and stopped."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from logging import Logger
from pathlib import Path
from typing import Any

from duoview.errors import Error, LimitError
from duoview.pipelines.errors import MediaError
from duoview.pipelines.observability.health import HealthServer
from duoview.pipelines.observability.metrics import Metrics
from duoview.pipelines.retention.archive import Archive, Tier
from duoview.pipelines.retention.retention import DiskFullError, Limit, Removed, Retention
from duoview.pipelines.retention.steady_clock import SteadyClock
from duoview.pipelines.segment_index import HeldError
from duoview.plugins.stage import Stage
from duoview.plugins.stream_batch import StreamBatch

from .camera import Camera, CameraError, CameraStatus, Surroundings
from .configuration import Configuration, RetentionSection, Storage
from .live_encode import live_stages
from .shared_detectors import DetectorPool

RESTART_AFTER = 5.0  # seconds after which a camera whose thread died is started again
_WATCH = 0.2  # seconds between two looks at the cameras
_FINISH = 30.0  # seconds for all cameras together to finish their files at the end
_STOPPED = "recording stopped"  # begins a problem of the storage for which all recordings pause
_BREATH = 0.05  # seconds between two passes of retention of which the first left something to do


@dataclass(frozen=True)
class Snapshot:
    """A moment of all cameras. removed: segments by (tier, why); free_bytes: of the recordings' disk.

    device_bytes: of the GPU that codecs have, None where none is used; device_limit: that they may have at most.
    """

    cameras: tuple[CameraStatus, ...]
    removed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    free_bytes: int | None = None
    storage_problem: str = ""
    device_bytes: int | None = None
    device_limit: int | None = None

    @property
    def healthy(self) -> bool:
        """Whether all cameras run, all recordings record, and the disk has its reserve."""
        return not self.storage_problem and not any(camera.problem for camera in self.cameras)

    def to_dict(self) -> dict[str, Any]:
        """What /health tells."""
        return {
            "healthy": self.healthy,
            **({} if self.device_bytes is None else {
                "device": {"bytes": self.device_bytes, "limit_bytes": self.device_limit}}),
            "storage": {"problem": self.storage_problem, "free_bytes": self.free_bytes},
            "cameras": {
                camera.name: {
                    "problem": camera.problem,
                    "sources": {one.name: {"state": one.state.value, "seconds": round(one.seconds, 3),
                                           "frames": one.frames, "packets": one.packets, "reconnects": one.reconnects,
                                           "dropped": {cause.value: n for cause, n in one.dropped.items() if n}}
                                for one in camera.sources},
                    "outputs": {one.name: {"items": one.items, "bytes": one.bytes, "lost": one.lost,
                                           "problem": one.failure} for one in camera.outputs},
                    "recordings": {one.name: {"segments": one.segments, "bytes": one.bytes, "lost": one.lost,
                                              "overflowed": one.overflowed, "problem": one.failure}
                                   for one in camera.recordings},
                    "events": camera.events,
                }
                for camera in self.cameras
            },
        }


@dataclass
class _Kept:
    camera: Camera
    archives: list[Archive]
    retry_at: float | None = None  # when a camera that could not be started, or died, is started again


class Supervisor:
    """The cameras of a configuration. `start`, `reload`, `stop` are for one thread; `snapshot` for any.

    All that it opens is closed by `stop`, whatever fails.
    """

    def __init__(
        self,
        configuration: Configuration,
        log: Logger,
        *,
        free: Callable[[Path], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make all graphs, so that what is wrong with one is told before a camera is opened.

        `free`, `clock`: for tests. Raises duoview.Error naming the camera.
        """
        self._log, self._free, self._clock = log, free, clock
        self._configuration = configuration
        self._metrics = Metrics() if configuration.http is not None else None
        self._pool, self._shared = self._make_pool(configuration), configuration.networks.shared
        self._lock = threading.Lock()  # guards the table of cameras
        self._pass = threading.Lock()  # held by a pass of retention, and by who closes archives
        self._cameras: dict[str, _Kept] = {}
        self._removed: Counter[tuple[str, str]] = Counter()
        self._ages = SteadyClock()
        self._clock_told = False
        self._storage_problem = ""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self._server: HealthServer | None = None
        self._made = self._make_cameras(configuration, set(configuration.cameras))

    @property
    def address(self) -> tuple[str, int] | None:
        """Where /health and /metrics are, if anywhere."""
        return (self._server.host, self._server.port) if self._server is not None else None

    def start(self, until: Callable[[], bool] = lambda: False) -> None:
        """Start all cameras; one that cannot be is logged and tried again. Raises MediaError for storage and HTTP.

        `until`: asked before each camera; where it says so, the others are not started.
        """
        storage, http = self._configuration.storage, self._configuration.http
        if storage is not None:
            _check_folder(storage)
        if http is not None and self._metrics is not None:
            self._metrics.watch(self.snapshot)
            self._server = HealthServer(http.host, http.port, self._metrics, self.snapshot)
            self._server.start()
            self._tell("http", f"http://{self._server.host}:{self._server.port}/health and /metrics")
        while self._made and not until():
            name = next(iter(self._made))
            self._launch(name, self._made.pop(name))
        self._keeper = threading.Thread(target=self._keep, name="retention", daemon=True)
        self._keeper.start()

    def watch(self) -> None:
        """One look at the cameras: those whose thread died are started again. To be called now and then."""
        with self._lock:
            kept = dict(self._cameras)
        for name, one in kept.items():
            one.camera.log_changes()
            error = one.camera.error
            if one.retry_at is None and error is not None:
                self._complain("camera_failed", name, error)
                one.camera.stop()
                one.retry_at = self._clock() + RESTART_AFTER
            if one.retry_at is not None and self._clock() >= one.retry_at:
                try:
                    self._launch(name, self._make_camera(name, self._configuration))
                except (Error, OSError) as failure:
                    self._complain("camera_failed", name, failure)
                    one.retry_at = self._clock() + RESTART_AFTER

    @property
    def finished(self) -> bool:
        """Whether no camera has anything to do any more: all were files, and came to their ends."""
        with self._lock:
            return all(one.retry_at is None and one.camera.finished and one.camera.error is None
                       for one in self._cameras.values())

    def wait(self, until: Callable[[], bool]) -> None:
        """Watch over the cameras until all have finished or `until` says so."""
        while not until() and not self.finished:
            self.watch()
            self._stopping.wait(_WATCH)

    def reload(
        self, configuration: Configuration, *, loading: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Run another configuration: cameras whose section is the same go on undisturbed.

        Raises duoview.Error for graphs that are wrong, before anything was changed. What concerns all cameras (the
        storage folder, how networks are shared) starts all of them again. `loading`: entered while networks are
        loaded; what it raises then changes nothing either.
        """
        before = self._configuration
        if configuration.http != before.http:
            raise LimitError("http: cannot be changed while it runs; restart for it")
        if configuration.storage is not None:
            _check_folder(configuration.storage)
        folders = [one.storage.folder if one.storage is not None else None for one in (before, configuration)]
        everything = folders[0] != folders[1] or (configuration.detection, configuration.networks) != (
            before.detection, before.networks)
        changed = {name for name, section in configuration.cameras.items()
                   if everything or before.cameras.get(name) != section}
        gone = {name for name in before.cameras if name not in configuration.cameras}
        pool, shared = self._pool, self._shared
        if everything:
            pool, shared = self._make_pool(configuration), configuration.networks.shared
        with loading():
            made = self._make_cameras(configuration, changed, pool, shared)
        with self._lock:
            stopped = [self._cameras.pop(name) for name in sorted(changed | gone) if name in self._cameras]
        for one in stopped:
            one.camera.request_stop()
        end = self._clock() + _FINISH
        for one in stopped:
            self._stop_camera(one, end)
        self._configuration, self._pool, self._shared = configuration, pool, shared
        for name, camera in made.items():
            self._launch(name, camera)
        self._wake.set()
        untouched = len(configuration.cameras) - len(changed)
        self._tell("reloaded", f"reloaded: {len(changed)} cameras started, {len(stopped)} stopped, {untouched} went on")

    def stop(self) -> None:
        """Finish all files and let go of everything."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            kept = list(self._cameras.values())
        for one in kept:
            one.camera.request_stop()
        end = self._clock() + _FINISH
        if self._keeper is not None:
            self._keeper.join()
        for one in kept:
            self._stop_camera(one, end)
        for camera in self._made.values():
            camera.stop()
        if self._server is not None:
            self._server.close()
            self._server = None

    def snapshot(self) -> Snapshot:
        """The present state of everything."""
        with self._lock:
            cameras = [one.camera for one in self._cameras.values()]
        storage = self._configuration.storage
        free = self._free_bytes(storage.folder) if storage is not None else None
        devices = self._shared.devices if self._shared.hwaccel != "none" else None
        return Snapshot(tuple(camera.status() for camera in cameras), dict(self._removed), free, self._storage_problem,
                        *((devices.memory_taken, devices.memory_limit) if devices is not None else (None, None)))

    def _make_pool(self, configuration: Configuration) -> DetectorPool:
        observe = self._metrics.observe_batch if self._metrics is not None else None
        return DetectorPool(batch=configuration.detection.batch, window=configuration.detection.window, observe=observe)

    def _make_cameras(
        self, configuration: Configuration, names: set[str], pool: DetectorPool | None = None,
        shared: StreamBatch | None = None,
    ) -> dict[str, Camera]:
        made: dict[str, Camera] = {}
        try:
            for name in configuration.cameras:
                if name in names:
                    made[name] = self._make_camera(name, configuration, pool, shared)
        except BaseException:
            for camera in made.values():
                camera.stop()
            raise
        return made

    def _make_camera(self, name: str, configuration: Configuration, pool: DetectorPool | None = None,
                     shared: StreamBatch | None = None) -> Camera:
        storage = configuration.storage
        stages: dict[str, type[Stage]] = {**(pool or self._pool).stages, **live_stages(shared or self._shared)}
        around = Surroundings(stages, storage.folder if storage is not None else None, self._log,
                              full=self._wake.set)
        if self._metrics is not None:
            around = Surroundings(around.stages, around.folder, around.log, self._metrics.observe_step,
                                  self._metrics.observe_delay, around.full)
        try:
            return Camera(name, configuration.cameras[name], around)
        except Error as error:
            raise CameraError(name, error) from error

    def _launch(self, name: str, camera: Camera) -> None:
        kept, before = _Kept(camera, camera.archives()), self._cameras.get(name)
        try:
            camera.start()
        except (Error, OSError) as error:
            self._complain("camera_failed", name, error)
            kept.retry_at = self._clock() + RESTART_AFTER
            if isinstance(error, HeldError) and not (before is not None and before.archives):
                kept.archives = []  # another process records, and sees to what is old
        with self._lock:
            self._cameras[name] = kept
        if before is not None:
            self._close_archives(before)

    def _stop_camera(self, one: _Kept, end: float) -> None:
        if not one.camera.stop(max(0.0, end - self._clock())):
            self._log.warning(f"{one.camera.name}: a thread of it did not end in time; the system holds it")
        self._close_archives(one)

    def _close_archives(self, one: _Kept) -> None:
        with self._pass:
            one.archives, archives = [], one.archives
            for archive in archives:
                archive.close()

    # What follows runs in the thread of retention.

    def _keep(self) -> None:
        while not self._stopping.is_set():
            storage = self._configuration.storage
            unfinished = False
            if storage is None:
                self._storage_problem = ""  # of the configuration before this one
            else:
                with self._pass:
                    unfinished = self._keep_once(storage)
            pause = storage.check_every if storage is not None else 10.0
            self._wake.wait(_BREATH if unfinished else pause)
            self._wake.clear()

    def _keep_once(self, storage: Storage) -> bool:
        """One pass; whether it left something to do."""
        retention = Retention(storage.folder, limits_of(storage.retention), reserve=storage.reserve, free=self._free,
                              now=self._ages)
        with self._lock:
            kept = list(self._cameras.values())
            archives = [archive for one in kept for archive in one.archives]
        try:
            removed = retention.run(archives, delete_for_room=storage.when_full == "delete_oldest",
                                    stop=self._stopping.is_set)
            problem = "; ".join(f"retention failed: {error}" for error in removed.failures)
            if removed.unfinished and self._storage_problem.startswith(_STOPPED):
                problem = self._storage_problem  # whether there is room is known when a pass came to its end
        except DiskFullError as error:
            removed, problem = error.removed, f"{_STOPPED}: {error}"
        except Exception as error:  # noqa: BLE001 - the next pass tries again; without this thread the disk fills
            removed, problem = Removed(), f"retention failed: {type(error).__name__}: {error}"
        self._count(removed)
        self._tell_of_clock()
        for failure in self._compact_events(kept):
            problem = problem or f"retention failed: {failure}"
        recordings = [recording for one in kept for recording in one.camera.recordings]
        if problem and problem.partition(":")[0] != self._storage_problem.partition(":")[0]:
            self._log.error(problem, extra={"fields": {"event": "storage", "reason": problem}})
        elif self._storage_problem and not problem:
            self._tell("storage", "the storage is well again: recording goes on")
        self._storage_problem = problem
        for recording in recordings:
            if problem.startswith(_STOPPED):
                recording.pause(problem)
            else:
                recording.resume()
        return removed.unfinished

    def _compact_events(self, kept: Sequence[_Kept]) -> list[str]:
        """Shorten journals of events that have grown large; what went wrong with some of them."""
        failures = []
        for one in kept:
            if self._stopping.is_set():
                break
            try:
                one.camera.compact_events(one.archives)
            except Exception as error:  # noqa: BLE001 - of one camera; the others are seen to all the same
                failures.append(f"events of {one.camera.name}: {type(error).__name__}: {error}")
        return failures

    def _tell_of_clock(self) -> None:
        ahead = self._ages.ahead
        if ahead and not self._clock_told:
            self._log.error(f"the clock of this machine was set ahead by {ahead:.0f} s: ages are counted without that "
                            "for a day", extra={"fields": {"event": "clock_ahead", "seconds": round(ahead)}})
        self._clock_told = ahead > 0

    def _count(self, removed: Removed) -> None:
        for (tier, why), count in removed.segments.items():
            self._removed[tier.value, why] += count
            self._tell("retention", f"{count} segments of {tier.value} removed: {why}", tier=tier.value, why=why,
                       segments=count)

    def _free_bytes(self, folder: Path) -> int | None:
        try:
            return self._free(folder) if self._free is not None else shutil.disk_usage(folder).free
        except OSError:
            return None  # the folder is gone: retention and recordings tell so themselves

    def _tell(self, event: str, words: str, **fields: Any) -> None:
        self._log.info(words, extra={"fields": {"event": event, **fields}})

    def _complain(self, event: str, camera: str, error: BaseException) -> None:
        words = f"{type(error).__name__}: {error}"
        self._log.error(f"{camera}: {words}", extra={"fields": {"event": event, "camera": camera, "reason": words}})


def limits_of(section: RetentionSection) -> dict[Tier, Limit]:
    """The limits of a configuration by tier."""
    return {tier: Limit(getattr(section, tier.value).age, getattr(section, tier.value).size) for tier in Tier}


def _check_folder(storage: Storage) -> None:
    if not storage.folder.is_dir():
        raise MediaError(f"storage.folder {storage.folder}: no such folder; make it, and see that it is the right disk")
    if not os.access(storage.folder, os.W_OK | os.X_OK):
        raise MediaError(f"storage.folder {storage.folder}: cannot be written to; it needs other permissions")
