"""What a service manager is told, by sd_notify's protocol."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from duoview.pipelines.interrupt import Hangup, Interrupt
from duoview.pipelines.options import split
from duoview.pipelines.run import configured, service_manager
from duoview.pipelines.run.command import CONFIGURED
from duoview.pipelines.run.service_manager import notify

WITHIN = 120.0  # seconds; only ever waited for in full where something is wrong


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(WITHIN)
        yield listener


def test_without_a_service_manager_nobody_is_told() -> None:
    assert not notify("READY=1", {})


def test_a_state_goes_to_the_socket_of_the_environment(manager: socket.socket) -> None:
    assert notify("READY=1", {"NOTIFY_SOCKET": manager.getsockname()})
    assert manager.recv(100) == b"READY=1"


def test_a_socket_without_a_file_is_told_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0duoview test {os.getpid()}")
        listener.settimeout(WITHIN)
        assert notify("STOPPING=1", {"NOTIFY_SOCKET": f"@duoview test {os.getpid()}"})
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["vsock:2:1234", "/nowhere/at/all"])
def test_a_socket_that_cannot_be_told_is_an_error(address: str) -> None:
    with pytest.raises(OSError, match=r"NOTIFY_SOCKET|No such file"):
        notify("READY=1", {"NOTIFY_SOCKET": address})


def test_a_manager_that_takes_nothing_is_waited_for_so_long_and_no_longer(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_manager, "_PATIENCE", 0.01)
    failed: list[OSError] = []

    def tell() -> None:
        try:
            while True:  # until its queue is full
                notify("READY=1", {"NOTIFY_SOCKET": manager.getsockname()})
        except OSError as error:
            failed.append(error)

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(WITHIN)
    assert not telling.is_alive() and isinstance(failed[0], TimeoutError)


class _Cameras:
    """Stands for all that runs: what is asked of it."""

    def __init__(self) -> None:
        self.stopped, self.code = 0, -1

    def start(self, until: Callable[[], bool]) -> None:
        pass

    def wait(self, until: Callable[[], bool]) -> None:
        pass

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Cameras]:
    """Runs a configuration with stand-ins for its cameras and for `notify`."""
    path = tmp_path / "p.yaml"
    camera = {"url": "http://127.0.0.1:9/live.ts", "record": {}}
    path.write_text(json.dumps({"storage": {"folder": str(tmp_path)}, "cameras": {"gate": camera}}))

    def run(notify: Callable[[str], object], *words: str, interrupted: bool = False) -> _Cameras:
        interrupt, cameras = Interrupt(), _Cameras()

        def make(*_: Any) -> _Cameras:
            interrupt.requested = interrupted  # a signal came, and somebody took the exception
            return cameras

        monkeypatch.setattr(configured, "_supervisor", make)
        monkeypatch.setattr(configured, "notify", notify)
        with contextlib.suppress(KeyboardInterrupt):
            line = split(["-c", str(path), *words], CONFIGURED)
            cameras.code = configured.run_configuration(line, interrupt, Hangup())
        return cameras

    return run


def test_a_signal_while_the_manager_is_told_of_the_end_still_ends_all_cameras(ran: Callable[..., _Cameras]) -> None:
    def notify(state: str) -> None:
        if state == "STOPPING=1":
            raise KeyboardInterrupt

    assert ran(notify).stopped == 1


@pytest.mark.parametrize(("interrupted", "told"), [(True, ["STOPPING=1"]), (False, ["READY=1", "STOPPING=1"])])
def test_a_start_that_a_signal_cut_short_is_not_told_of_as_ready(
    ran: Callable[..., _Cameras], interrupted: bool, told: list[str]
) -> None:
    states: list[str] = []
    ran(states.append, interrupted=interrupted)
    assert states == told


def test_a_check_that_a_signal_came_into_did_not_end_well(ran: Callable[..., _Cameras]) -> None:
    assert ran(print, "-check", interrupted=True).code == 255 and ran(print, "-check").code == 0


def test_cameras_are_told_of_when_they_run_and_when_they_end(manager: socket.socket, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    camera = {"url": "http://127.0.0.1:9/live.ts", "record": {}}
    path.write_text(json.dumps({"storage": {"folder": str(tmp_path), "reserve": 0}, "cameras": {"gate": camera}}))
    process = subprocess.Popen([sys.executable, "-m", "duoview.pipelines", "run", "-c", str(path), "-log", "json"],
                               env={**os.environ, "NOTIFY_SOCKET": manager.getsockname()})
    try:
        assert manager.recv(100) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        assert process.wait(WITHIN) == 255
    finally:
        process.kill()
        process.wait(WITHIN)
