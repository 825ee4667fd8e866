"""``duoview run -c pipelines.yaml``: the cameras of a configuration, until a signal; SIGHUP reads it again."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from duoview.errors import Error
from duoview.pipelines.console import LEVELS, Console
from duoview.pipelines.interrupt import EXIT_CODE, Interrupt
from duoview.pipelines.observability.log import open_log
from duoview.pipelines.options import CommandLine
from duoview.pipelines.progress import INTERVAL

from .camera import CameraError
from .command import stats_wanted
from .configuration_file import fault_at, read_configuration
from .supervisor import Supervisor


def run_configuration(line: CommandLine) -> int:
    """Run, or only check, a configuration."""
    path = Path(line.globals["c"])
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    level = {"quiet": logging.CRITICAL + 1, "error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
    chosen = next((level[name] for name in level if LEVELS[name] >= console.level), logging.INFO)
    log = open_log(line.globals.get("log", "text"), chosen, console)
    configuration = read_configuration(path)
    supervisor = _supervisor(configuration, path, log)
    if line.globals.get("check"):
        supervisor.stop()
        console.info(f"{path}: {len(configuration.cameras)} cameras; nothing is wrong with it")
        return 0
    duration = line.globals.get("t")
    with Interrupt() as interrupt, Hangup() as hangup:
        status = _StatusLine(console, supervisor, stats_wanted(line))
        try:
            supervisor.start()
            end = None if duration is None else time.monotonic() + float(duration)

            def over() -> bool:
                if hangup.taken():
                    _reload(supervisor, path, log)
                status.show()
                return interrupt.requested or (end is not None and time.monotonic() >= end)

            supervisor.wait(over)
        finally:
            supervisor.stop()
            status.show(last=True)
        return EXIT_CODE if interrupt.requested else 0


def _supervisor(configuration: Any, path: Path, log: logging.Logger) -> Supervisor:
    try:
        return Supervisor(configuration, log)
    except CameraError as error:
        raise fault_at(path, ("cameras", error.camera, "graph"), error.reason) from error


def _reload(supervisor: Supervisor, path: Path, log: logging.Logger) -> None:
    """Read the configuration again; one that is wrong changes nothing."""
    try:
        supervisor.reload(read_configuration(path))
    except (Error, OSError) as error:
        log.error(f"not reloaded, all goes on as it was: {error}",
                  extra={"fields": {"event": "reload_failed", "reason": str(error)}})


class Hangup:
    """While entered, SIGHUP is noted instead of ending the process."""

    def __init__(self) -> None:
        self._came = False
        self._before: Any = None

    def __enter__(self) -> Hangup:
        self._before = signal.signal(signal.SIGHUP, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGHUP, self._before)

    def taken(self) -> bool:
        """Whether it came since the last call."""
        came, self._came = self._came, False
        return came

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True


class _StatusLine:
    """``-stats``: one line about all cameras, twice a second."""

    def __init__(self, console: Console, supervisor: Supervisor, wanted: bool | None) -> None:
        self._console, self._supervisor = console, supervisor
        self._wanted = (console.is_terminal if wanted is None else wanted) and console.shows("info")
        self._begun = time.monotonic()
        self._shown = 0.0
        self._frames = 0

    def show(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if not self._wanted or (now - self._shown < INTERVAL and not last):
            return
        snapshot = self._supervisor.snapshot()
        sources = [source for camera in snapshot.cameras for source in camera.sources]
        frames = sum(source.frames for source in sources)
        rate = max(0, frames - self._frames) / max(now - max(self._shown, self._begun), 1e-6)
        self._shown, self._frames = now, frames
        well = sum(not camera.problem for camera in snapshot.cameras)
        recorded = sum(one.bytes for camera in snapshot.cameras for one in camera.recordings)
        layers = sum(one.bytes for camera in snapshot.cameras for one in camera.outputs)
        dropped = sum(sum(source.dropped.values()) for source in sources)
        reconnects = sum(source.reconnects for source in sources)
        events = sum(camera.events for camera in snapshot.cameras)
        self._console.status(
            f"cameras={well}/{len(snapshot.cameras)} fps={rate:5.1f} drop={dropped} reconnects={reconnects} "
            f"events={events} recorded={recorded / (1 << 20):.1f}MiB layers={layers / 1024:.1f}KiB", last=last)
