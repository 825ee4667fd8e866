"""What a service manager is told, by sd_notify's protocol."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
