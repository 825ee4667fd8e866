"""What the commands that train parts of a profile have in common: options, exit codes, and what the profile is told."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duoview.errors import LimitError
from duoview.models import (
    human_command,
    human_decoder_command,
    key_command,
    restoration_command,
    texture_command,
    train_saliency,
)
from duoview.models.training_command import begin, command_parser, run, tell_profile
from duoview.profile import BUNDLED

PARSERS = {module.__name__.split(".")[-1]: module.parser
           for module in (human_command, human_decoder_command, key_command, restoration_command, texture_command,
                          train_saliency)}


def failing(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def work(given: argparse.Namespace) -> None:
        raise error

    return work


@pytest.mark.parametrize(("error", "code"), [
    (ValueError("--crop 100"), 2), (LimitError("too large"), 2), (FileNotFoundError("no such file"), 2),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1), (KeyboardInterrupt(), 255)])
def test_exit_codes_tell_usage_failure_and_a_stop_apart(
        error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("some_command", command_parser("some_command", "what it does"), failing(error), []) == code
    told = capsys.readouterr().err
    assert told.startswith("some_command: ") and (str(error) in told)


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run("some_command", command_parser("some_command", "what it does"), failing(ZeroDivisionError()), [])


@pytest.mark.parametrize("name", PARSERS)
def test_all_commands_take_the_options_of_a_run(name: str) -> None:
    options = {action.dest: action for action in PARSERS[name]()._actions}
    assert {"profile", "out", "sources", "hold", "threads", "device", "minutes"} <= options.keys()
    assert options["out"].default == Path("runs") and options["hold"].nargs == "*"
    assert PARSERS[name]().prog == f"python -m duoview.models.{name}"


def test_a_profile_that_cannot_be_read_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none"):
        begin(argparse.Namespace(threads=1, device="cpu", profile=tmp_path / "none", sources=None))


@pytest.mark.parametrize(("name", "value"), [("threads", -1), ("device", "gpu0")])
def test_threads_and_devices_that_cannot_be_had_are_named_before_the_work(name: str, value: Any) -> None:
    given = {"threads": 1, "device": "cpu", "profile": None, "sources": None, name: value}
    with pytest.raises(ValueError, match=f"--{name} {value}: "):
        begin(argparse.Namespace(**given))


def test_a_section_of_the_card_takes_the_place_of_its_former_self(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(BUNDLED / "s", tmp_path / "s")
    for text in ("first", "second"):
        tell_profile(tmp_path / "s", f"## Some part\n{text}\n", "ab" * 32)
    card = (tmp_path / "s" / "MODEL_CARD.md").read_text()
    assert card.count("## Some part") == 1 and "second" in card and "first\n" not in card[card.index("## Some part"):]
    assert f"sha256 {'ab' * 32}" in capsys.readouterr().out
