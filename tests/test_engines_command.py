"""``duoview engines``: build, list, prune, verify, on a machine with a GPU of the tests and on one without."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from duoview.backends import nvidia
from duoview.export import engines as building
from duoview.pipelines import engines
from duoview.pipelines.command import main

SCRIPT = Path(__file__).with_name("engine_toolkit.py")
FAKE = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda index=0: nvidia.Driver(0, "", "present, but there is no GPU"))


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = engines.TensorRtBackend
    monkeypatch.setattr(engines, "TensorRt", FAKE.CpuToolkit)
    monkeypatch.setattr(engines, "TensorRtBackend", lambda index, cache: backend(
        index, cache=cache, toolkit=FAKE.CpuToolkit(index)))
    monkeypatch.setattr(building, "CHILD", (sys.executable, str(SCRIPT)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def test_build_makes_what_the_cache_lacks(with_gpu: None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks = ["-network", "key_hyper", "-network", "colour"]
    words = ["engines", "build", "-size", "100x60", *networks, "-cache", str(folder)]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert "key_hyper for 100x60: built in" in first and "colour for 100x60: built in" in first
    assert main(words) == 0
    assert capsys.readouterr().out.count("was there") == 2


def test_list_tells_of_every_engine_as_text_and_json(with_gpu: None, folder: Path, capsys: pytest.CaptureFixture[str]
                                                     ) -> None:
    assert main(["engines", "list", "-cache", str(folder)]) == 0
    assert "key_hyper fp32 for 128x64, a GPU of the tests, TensorRT 10.0.0" in capsys.readouterr().out
    assert main(["engines", "list", "-of", "json", "-cache", str(folder)]) == 0
    rows = json.loads(capsys.readouterr().out)["engines"]
    assert [row["network"] for row in rows] == ["colour", "key_hyper"]
    assert all(row["usable"] for row in rows) and rows[1]["shapes"][0] == ["hyper 1x32x1x2", "q 1"]


def test_verify_runs_every_engine_against_the_cpu(with_gpu: None, folder: Path, capsys: pytest.CaptureFixture[str]
                                                  ) -> None:
    assert main(["engines", "verify", "-cache", str(folder)]) == 0
    assert capsys.readouterr().out.count(": good") == 2


def test_without_a_gpu_engines_are_listed_and_not_called_good(without_gpu: None, folder: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "list", "-cache", str(folder)]) == 0
    assert "not usable here: device 'tensorrt': NVIDIA driver: present, but there is no GPU" in capsys.readouterr().out
    assert main(["engines", "verify", "-cache", str(folder)]) == 1
    said = capsys.readouterr()
    assert "not run: device 'tensorrt'" in said.err
    assert said.out.count("intact, not run") == 2 and "good" not in said.out


def test_verify_fails_for_a_damaged_engine(with_gpu: None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "zz.engine"
    path.write_bytes(b"DUOVENG1")
    assert main(["engines", "verify", "-cache", str(folder)]) == 1
    assert "not an engine of duoview" in capsys.readouterr().out
    assert main(["engines", "prune", "-cache", str(folder)]) == 0
    assert "removed zz.engine" in capsys.readouterr().out
    assert len(list(folder.glob("*.engine"))) == 2


def test_prune_names_files_of_others_and_leaves_them(without_gpu: None, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "yolo.engine").write_bytes(b"ftrt")
    assert main(["engines", "prune", "-all", "-cache", str(tmp_path)]) == 0
    assert "left yolo.engine alone: " in capsys.readouterr().out and (tmp_path / "yolo.engine").exists()


def test_prune_all_needs_no_gpu(without_gpu: None, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
                                ) -> None:
    for path in folder.glob("*.engine"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert main(["engines", "prune", "-cache", str(tmp_path)]) == 1
    assert "NVIDIA driver" in capsys.readouterr().err
    assert main(["engines", "prune", "-all", "-cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("removed") == 2 and not list(tmp_path.glob("*.engine"))


@pytest.mark.parametrize(("words", "said"), [
    (["build"], "expected -size WxH"),
    (["build", "-size", "big"], "-size big: expected a size like 640x360"),
    (["build", "-size", "64x64", "-network", "saliency"], "-network saliency: expected one of colour, decoder"),
    (["make"], "engines make: expected build, list, prune, verify"),
])
def test_wrong_words_are_named(with_gpu: None, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", *words]) == 2
    assert said in capsys.readouterr().err


def test_an_empty_folder_says_how_engines_are_made(without_gpu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                   ) -> None:
    assert main(["engines", "list", "-cache", str(tmp_path / "none")]) == 0
    assert "no engines; duoview engines build" in capsys.readouterr().out
