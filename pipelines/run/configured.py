"""``duoview run -c pipelines.yaml``: the cameras of a configuration, until a signal; SIGHUP reads it again."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from duoview.errors import Error
from duoview.pipelines.console import LEVELS, Console
from duoview.pipelines.interrupt import EXIT_CODE, Hangup, Interrupt, Interrupted
from duoview.pipelines.observability.log import open_log
from duoview.pipelines.options import CommandLine, stats_wanted
from duoview.pipelines.progress import INTERVAL

from .camera import CameraError
from .configuration_file import fault_at, read_configuration
from .service_manager import notify
from .supervisor import Supervisor


def run_configuration(line: CommandLine, interrupt: Interrupt, hangup: Hangup) -> int:
    """Run, or only check, a configuration; both signals are the caller's, and entered.

    A signal while networks are loaded raises Interrupted: nothing is open then. A SIGHUP that comes so early has the
    file read again as soon as all runs.
    """
    path = Path(line.globals["c"])
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    level = {"quiet": logging.CRITICAL + 1, "error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
    chosen = next((level[name] for name in level if LEVELS[name] >= console.level), logging.INFO)
    log = open_log(line.globals.get("log", "text"), chosen, console)
    with interrupt.raising():
        configuration = read_configuration(path)
        supervisor = _supervisor(configuration, path, log)
    if line.globals.get("check"):
        supervisor.stop()
        console.info(f"{path}: {len(configuration.cameras)} cameras; nothing is wrong with it")
        return EXIT_CODE if interrupt.requested else 0
    duration = line.globals.get("t")
    status = _StatusLine(console, supervisor, stats_wanted(line))
    try:
        supervisor.start(until=lambda: interrupt.requested)
        if not interrupt.requested:  # else cameras were left out
            _notify("READY=1", log)
        end = None if duration is None else time.monotonic() + float(duration)

        def over() -> bool:
            if hangup.taken():
                _reload(supervisor, path, log, interrupt)
            status.show()
            return interrupt.requested or (end is not None and time.monotonic() >= end)

        supervisor.wait(over)
    finally:
        try:
            _notify("STOPPING=1", log)
        finally:
            supervisor.stop()
        status.show(last=True)
    return EXIT_CODE if interrupt.requested else 0


def _notify(state: str, log: logging.Logger) -> None:
    """Tell the service manager; that it cannot be told ends nothing."""
    try:
        notify(state)
    except OSError as error:
        log.error(f"the service manager cannot be told {state}: {error}",
                  extra={"fields": {"event": "not_notified", "reason": str(error)}})


def _supervisor(configuration: Any, path: Path, log: logging.Logger) -> Supervisor:
    try:
        return Supervisor(configuration, log)
    except CameraError as error:
        raise fault_at(path, ("cameras", error.camera, "graph"), error.reason) from error


def _reload(supervisor: Supervisor, path: Path, log: logging.Logger, interrupt: Interrupt) -> None:
    """Read the configuration again; one that is wrong changes nothing, nor does one that a signal comes into."""
    try:
        supervisor.reload(read_configuration(path), loading=interrupt.raising)
    except Interrupted:
        return  # `interrupt.requested` ends all of it
    except (Error, OSError) as error:
        log.error(f"not reloaded, all goes on as it was: {error}",
                  extra={"fields": {"event": "reload_failed", "reason": str(error)}})


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
