"""bench/gpu: a script that trains hands a profile to a command, and keeps what the command changed in it."""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "bench" / "gpu"

#: A command that trains: it changes a file of the profile, adds one, and counts its runs in a checkpoint.
COMMAND = """
import argparse, pathlib, sys
p = argparse.ArgumentParser()
for name in ("--profile", "--out"):
    p.add_argument(name, type=pathlib.Path)
p.add_argument("--hold", nargs="+"), p.add_argument("--device"), p.add_argument("--code", type=int, default=0)
given = p.parse_args()
checkpoint = given.out / "net.pt"
runs = int(checkpoint.read_text()) + 1 if checkpoint.exists() else 1
checkpoint.write_text(str(runs))
with (given.out / "net.jsonl").open("a") as log:
    log.write('{"step": %d, "device": "%s"}\\n' % (runs, given.device))
(given.profile / "profile.json").write_text("trained")
(given.profile / "new.onnx").write_text("network of run %d" % runs)
raise SystemExit(given.code)
"""


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("_training")
    monkeypatch.setattr(module, "describe", lambda environment: {"gpu": "none: a stand-in"})
    (tmp_path / "stand_in_of_training.py").write_text(COMMAND)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return module


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    folder = tmp_path / "profile"
    folder.mkdir()
    (folder / "profile.json").write_text("as it was")
    (folder / "same.onnx").write_text("a network")
    return folder


def train(training: Any, out: Path, profile: Path, code: int = 0, **more: Any) -> int:
    given = argparse.Namespace(**{"out": out, "profile": profile, "over": [], "wheels": None, "installed": True,
                                  "resume": None, "hold": ["a", "b"], "device": "cpu", "minutes": 1.0, **more})
    found: int = training.train("train_it", given, "stand_in_of_training", lambda at: ["--profile", at, "--code", code])
    return found


def test_what_training_changed_comes_back_and_the_profile_stays_as_it_was(training: Any, profile: Path, tmp_path: Path
                                                                         ) -> None:
    assert train(training, tmp_path / "out", profile) == 0
    result = json.loads((tmp_path / "out" / "train_it.json").read_text())
    assert result["changed"] == ["new.onnx", "profile.json"] and result["machine"] == {"gpu": "none: a stand-in"}
    assert result["last"] == {"net.jsonl": {"step": 1, "device": "cpu"}} and result["checkpoints"] == {"net.pt": 1}
    assert sorted(path.name for path in (tmp_path / "out" / "profile").iterdir()) == result["changed"]
    assert (profile / "profile.json").read_text() == "as it was" and not (profile / "new.onnx").exists()


def test_what_only_an_earlier_training_changed_does_not_come_back(training: Any, profile: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "profile").mkdir(parents=True)
    (tmp_path / "out" / "profile" / "same.onnx").write_text("of an earlier call")
    assert train(training, tmp_path / "out", profile) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "profile").iterdir()) == ["new.onnx", "profile.json"]


def test_training_goes_on_where_it_lies_and_from_what_is_brought(training: Any, profile: Path, tmp_path: Path) -> None:
    for _ in range(2):
        train(training, tmp_path / "out", profile)
    assert (tmp_path / "out" / "run" / "net.pt").read_text() == "2"
    train(training, tmp_path / "folder", profile, resume=tmp_path / "out" / "run")
    train(training, tmp_path / "file", profile, resume=tmp_path / "out" / "run" / "net.pt")
    assert [(tmp_path / name / "run" / "net.pt").read_text() for name in ("folder", "file")] == ["3", "3"]
    with pytest.raises(SystemExit, match=r"--resume .*nowhere: not there"):
        train(training, tmp_path / "out", profile, resume=tmp_path / "nowhere")


def test_a_training_that_fails_changes_no_profile(training: Any, profile: Path, tmp_path: Path) -> None:
    assert train(training, tmp_path / "out", profile, code=3) == 3
    result = json.loads((tmp_path / "out" / "train_it.json").read_text())
    assert (result["exit"], result["changed"]) == (3, []) and not (tmp_path / "out" / "profile").exists()


def test_one_training_is_laid_over_another(training: Any, profile: Path, tmp_path: Path) -> None:
    train(training, tmp_path / "first", profile)
    archive = shutil.make_archive(str(tmp_path / "packed"), "gztar", profile)
    for number, start in enumerate((profile, Path(archive))):
        target = tmp_path / f"laid_{number}"
        training.lay(start, [tmp_path / "first" / "profile"], target)
        assert {path.name: path.read_text() for path in target.iterdir()} == {
            "profile.json": "trained", "same.onnx": "a network", "new.onnx": "network of run 1"}


def test_what_is_no_profile_and_a_network_that_is_not_there_are_named(training: Any, profile: Path, tmp_path: Path
                                                                      ) -> None:
    with pytest.raises(SystemExit, match=r"--profile .*out: no profile.json in it"):
        train(training, tmp_path / "out", tmp_path / "out")
    with pytest.raises(SystemExit, match=r"--over .*: no profile.json in it; expected OUT/profile of a training"):
        training.lay(profile, [tmp_path], tmp_path / "laid")
    with pytest.raises(SystemExit, match=r"no yolox_nano_416.onnx in it or below"):
        training.network(profile, training.YOLOX)
