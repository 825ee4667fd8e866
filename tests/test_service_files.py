"""What examples/ holds for those who run cameras as a service fits the command."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from duoview.pipelines.options import split
from duoview.pipelines.run import supervisor as supervisor_module
from duoview.pipelines.run.command import CONFIGURED
from duoview.pipelines.run.configuration_file import parse_configuration

ROOT = Path(__file__).resolve().parent.parent
UNIT = (ROOT / "examples" / "duoview.service").read_text(encoding="utf-8")
CONTAINER = (ROOT / "examples" / "Containerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: The parts of systemd.unit(5), systemd.service(5) and systemd.exec(5) that are used, spelt as there.
KEYS = {
    "Unit": {"Description", "Wants", "After", "RequiresMountsFor"},
    "Service": {
        "Type", "User", "Environment", "EnvironmentFile", "WorkingDirectory", "ExecStartPre", "ExecStart", "ExecReload",
        "TimeoutStartSec", "TimeoutStopSec", "SuccessExitStatus", "Restart", "RestartSec", "LimitNOFILE",
        "NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "ReadWritePaths",
    },
    "Install": {"WantedBy"},
}  # fmt: skip


def sections() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in UNIT.splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals and key not in section, line
            section[key] = value
    return found


def instructions() -> list[tuple[str, str]]:
    """Of the container's file: the words and what follows them."""
    text = "\n".join(line for line in CONTAINER.splitlines() if not line.startswith("#"))
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def one(name: str) -> str:
    """The last instruction of a name, which is the one that counts."""
    return [value for word, value in instructions() if word == name][-1]


def configuration_of(words: list[str]) -> str:
    """The configuration that a command line of `duoview run` names; it has to be one that we take."""
    assert words[0] == "run"
    line = split(words[1:], CONFIGURED)
    assert not line.outputs
    return str(line.globals["c"])


def test_the_unit_has_the_keys_of_systemd_and_no_others() -> None:
    assert {name: set(section) <= KEYS[name] for name, section in sections().items()} == dict.fromkeys(KEYS, True)


def test_the_command_lines_of_the_unit_are_taken_by_the_command() -> None:
    service = sections()["Service"]
    start, check = shlex.split(service["ExecStart"]), shlex.split(service["ExecStartPre"])
    assert start[0] == check[0] and start[0].startswith("/")
    assert configuration_of(start[1:]) == configuration_of(check[1:]) == "/etc/duoview/pipelines.yaml"
    assert split(check[2:], CONFIGURED).globals["check"]


def test_the_unit_waits_for_as_long_as_the_command_may_take() -> None:
    service = sections()["Service"]
    assert int(service["TimeoutStopSec"]) >= supervisor_module._FINISH + 15
    assert service["SuccessExitStatus"] == "255" and service["Type"] == "notify"
    assert shlex.split(service["ExecReload"])[1:] == ["-HUP", "$MAINPID"]


def test_the_unit_may_write_where_recordings_lie() -> None:
    unit, service = sections()["Unit"], sections()["Service"]
    assert unit["RequiresMountsFor"] == service["ReadWritePaths"] == service["WorkingDirectory"] == "/recordings"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "duoview.service"
    path.write_text(UNIT.replace(shlex.split(sections()["Service"]["ExecStart"])[0], sys.executable))
    told = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0 and "duoview.service" not in told.stderr, told.stderr


def test_the_container_starts_what_it_installs() -> None:
    names = [value.split(" AS ")[1] for word, value in instructions() if word == "FROM" and " AS " in value]
    copied = re.fullmatch(r"--from=(\w+) (\S+) (\S+)", one("COPY"))
    assert copied is not None and copied[1] in names and copied[2] == copied[3]
    installed = next(value for word, value in instructions() if word == "RUN" and "pip install" in value)
    assert f"python -m venv {copied[2]} " in installed
    entry: list[str] = json.loads(one("ENTRYPOINT"))
    assert entry == [f"{copied[2]}/bin/duoview"] and "duoview" in PROJECT["scripts"]
    assert configuration_of(json.loads(one("CMD"))) in CONTAINER.partition("FROM")[0]  # where the comment mounts it


def test_the_container_installs_extras_that_exist_on_a_python_that_is_supported() -> None:
    (extras,) = re.findall(r"/source\[([\w,]+)\]", CONTAINER)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]) and "live" in extras.split(",")
    least = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    images = {value.split(" AS ")[0] for word, value in instructions() if word == "FROM"}
    (version,) = (re.fullmatch(r"python:(\d+)\.(\d+)-slim", image) for image in images)
    assert version is not None and (int(version[1]), int(version[2])) >= least


def test_the_container_ends_by_the_signal_that_finishes_files_and_is_not_run_by_root() -> None:
    assert one("STOPSIGNAL") == "SIGTERM" and one("USER") == "duoview"
    assert f"-d -o duoview {one('VOLUME')}" in CONTAINER and one("WORKDIR") == one("VOLUME") == "/recordings"


def test_the_health_of_the_container_is_asked_for_where_its_comment_has_it_served() -> None:
    command: list[Any] = json.loads(one("HEALTHCHECK").removeprefix("CMD "))
    ast.parse(command[2])
    said = re.search(r"http: (\{[^}]*\})", CONTAINER)
    assert said is not None
    gate = "{url: 'rtsp://camera/', record: {}}"
    text = f"http: {said[1]}\ncameras:\n  gate: {gate}\nstorage: {{folder: /recordings}}"
    http = parse_configuration(text).http
    assert http is not None and f":{http.port}/health" in command[2] and f":{http.port} " in CONTAINER
