"""bench/gpu: files travel in pieces, in several calls, and what is damaged on the way is refused."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "bench" / "gpu"


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("_pieces")


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, Path]]:
    found = []
    for name, size in (("wheels/a.whl", 10), ("empty", 0), ("b.tar", 2500), ("c", 1000)):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        found.append((name, path))
    return found


def test_files_come_together_from_loads_of_several_calls(pieces: Any, files: list[tuple[str, Path]], tmp_path: Path
                                                         ) -> None:
    wholes = pieces.cut(files, tmp_path / "loads", piece=400, load=900)
    folders = sorted((tmp_path / "loads").iterdir(), key=lambda folder: int(folder.name.removeprefix("load_")))
    assert [sum(path.stat().st_size for path in folder.iterdir()) for folder in folders] == [900, 900, 900, 810]
    assert max(path.stat().st_size for folder in folders for path in folder.iterdir()) <= 400
    seen = [len(pieces.join(wholes, [folder], tmp_path / "there")[0]) for folder in folders]
    assert seen == [2, 2, 3, 4]
    for name, path in files:
        assert (tmp_path / "there" / name).read_bytes() == path.read_bytes()
    assert list((tmp_path / "there" / ".pieces").iterdir()) == []


def test_a_damaged_piece_is_refused_by_name(pieces: Any, files: list[tuple[str, Path]], tmp_path: Path) -> None:
    wholes = pieces.cut(files, tmp_path, piece=400, load=10_000)
    damaged = tmp_path / "load_1" / wholes[2].pieces[3].file
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(ValueError, match=rf"{damaged.name}: differs from piece {damaged.name} of b.tar"):
        pieces.join(wholes, [tmp_path / "load_1"], tmp_path / "there")
    assert not (tmp_path / "there" / "b.tar").exists()


def test_a_file_of_an_earlier_call_that_changed_is_put_together_anew(pieces: Any, files: list[tuple[str, Path]],
                                                                     tmp_path: Path) -> None:
    wholes = pieces.cut(files, tmp_path, piece=400, load=10_000)
    pieces.join(wholes, [tmp_path / "load_1"], tmp_path / "there")
    (tmp_path / "there" / "c").write_bytes(b"another")
    pieces.join(wholes, [tmp_path / "load_1"], tmp_path / "there")
    assert (tmp_path / "there" / "c").read_bytes() == files[3][1].read_bytes()


def test_pieces_that_were_kept_and_are_of_another_size_now_come_again(pieces: Any, files: list[tuple[str, Path]],
                                                                      tmp_path: Path) -> None:
    first = pieces.cut(files, tmp_path / "first", piece=400, load=900)
    pieces.join(first, [tmp_path / "first" / "load_1"], tmp_path / "there")
    assert any((tmp_path / "there" / ".pieces").iterdir())
    second = pieces.cut(files, tmp_path / "second", piece=300, load=10_000)
    _, lacking = pieces.join(second, [tmp_path / "second" / "load_1"], tmp_path / "there")
    assert lacking == []
    for name, path in files:
        assert (tmp_path / "there" / name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["../out", "/etc/passwd"])
def test_a_manifest_whose_names_lead_out_of_the_folder_is_refused(pieces: Any, name: str, tmp_path: Path) -> None:
    pieces.write_manifest([pieces.Whole(name, 0, "", ())], tmp_path)
    with pytest.raises(ValueError, match="leads out of its folder"):
        pieces.read_manifest(tmp_path)


def test_carried_data_is_unpacked_where_all_of_it_has_come(pieces: Any, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    carry = importlib.import_module("carry")
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "one.png").write_bytes(os.urandom(3_000_000))

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["carry.py", *words])
        code: int = carry.main()
        return code

    out, to = tmp_path / "carry", tmp_path / "carried"
    monkeypatch.setattr(carry, "travelling", lambda: 10 << 20)
    monkeypatch.setattr(carry, "DOWNLOADED", ())
    without = ["--without", "duoview", "pycuda"]
    assert call("--out", str(out), *without, "--data", f"photographs={photographs}", "--travels-mib", "13") == 0
    assert call("--join", str(out / "load_1"), "--to", str(to)) == 3
    assert json.loads((to / "carried.json").read_text())["lacking"] == ["photographs.tar"]
    assert call("--join", str(out / "load_2"), "--to", str(to)) == 0
    assert (to / "photographs" / "one.png").read_bytes() == (photographs / "one.png").read_bytes()
    (photographs / "one.png").write_bytes(b"another")
    assert call("--out", str(out), *without, "--data", f"photographs={photographs}") == 0
    assert call("--join", str(out / "load_1"), "--to", str(to)) == 0
    assert (to / "photographs" / "one.png").read_bytes() == b"another"


def test_wheels_for_another_python_stay_at_home(pieces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry = importlib.import_module("carry")
    fit = ["av-18.0-cp311-abi3-manylinux_2_28_x86_64.whl", "numpy-2.0-cp312-cp312-manylinux_2_28_x86_64.whl",
           "pytools-1-py2.py3-none-any.whl"]
    others = ["numpy-2.0-cp311-cp311-manylinux_2_28_x86_64.whl", "pycuda-1-cp313-cp313-linux_x86_64.whl",
              "x-1-cp313-abi3-linux_x86_64.whl", "pytools-1-py2-none-any.whl"]
    (tmp_path / "wheels").mkdir()
    for name in fit + others:
        (tmp_path / "wheels" / name).write_bytes(b"a wheel")
    assert [path.name for path in carry.fitting(tmp_path / "wheels", "", "3.12")] == fit
    assert [path.name for path in carry.fitting(tmp_path / "wheels", "numpy", "3.12")] == fit[1:2]
    monkeypatch.setattr(carry, "travelling", lambda: 0)
    monkeypatch.setattr(carry, "DOWNLOADED", ())
    monkeypatch.setattr(sys, "argv", ["carry.py", "--out", str(tmp_path), "--without", "duoview", "pycuda"])
    assert carry.main() == 0
    files = json.loads((tmp_path / "pieces.json").read_text())["files"]
    assert sorted(one["name"] for one in files) == [f"wheels/{name}" for name in fit]
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--data", f"wheels={tmp_path / 'wheels'}"])
    with pytest.raises(SystemExit, match="expected NAME=FOLDER, a plain name other than wheels"):
        carry.main()  # what is unpacked under a name replaces what lies there


def test_what_cannot_be_had_is_listed_and_the_rest_is_there(pieces: Any, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    carry = importlib.import_module("carry")
    monkeypatch.setattr(carry, "travelling", lambda: 0)
    monkeypatch.setattr(carry, "DOWNLOADED", ())
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "duoview-0.1.0-cp312-abi3-linux_x86_64.whl").write_bytes(b"a wheel")
    (tmp_path / "wheels" / "onnxruntime_gpu-1.0-cp312-cp312-linux_x86_64.whl").write_bytes(b"another")
    monkeypatch.setattr(sys, "argv", ["carry.py", "--out", str(tmp_path), "--without", "duoview", "pycuda"])
    assert carry.main() == 0
    assert [one["name"] for one in json.loads((tmp_path / "pieces.json").read_text())["files"]] == [
        "wheels/onnxruntime_gpu-1.0-cp312-cp312-linux_x86_64.whl"]
    monkeypatch.setattr(sys, "argv", ["carry.py", "--out", str(tmp_path), "--python", "python9.9"])
    assert carry.main() == 1
    made = json.loads((tmp_path / "pieces.json").read_text())
    missing = made["missing"]
    assert [one["name"] for one in made["files"]] == ["wheels/onnxruntime_gpu-1.0-cp312-cp312-linux_x86_64.whl"]
    assert set(missing) == {"duoview", "pycuda"} and "python9.9: no such interpreter" in missing["pycuda"]
    assert "missing: duoview, pycuda" in capsys.readouterr().out
