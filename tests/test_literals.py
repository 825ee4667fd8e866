"""Literals in files: several threads read profiles and detectors at once."""

from __future__ import annotations

import io
import os
import runpy
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from duoview import Profile, literals
from duoview.literals import literal, stored_arrays

AT_ONCE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("at_once.py"))))


def test_arrays_come_back_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(3), two=np.eye(2))
    found = stored_arrays(tmp_path / "a.npz")
    assert sorted(found) == ["one", "two"] and found["one"].tolist() == [0, 1, 2]


def test_a_file_of_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        stored_arrays(tmp_path / "a.npz")


def damaged(whole: bytes) -> list[bytes]:
    """A text, nothing, a part, one array alone, and files with some wrong bits."""
    alone = io.BytesIO()
    np.save(alone, np.arange(3))
    random, found = np.random.default_rng(4), [b"text", b"", whole[:60], whole[:-50], alone.getvalue()]
    for _ in range(200):
        bits = bytearray(whole)
        for at in random.integers(len(bits), size=3):
            bits[at] ^= 1 << int(random.integers(8))
        found.append(bytes(bits))
    return found


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_whatever_else_a_file_holds_is_one_error_that_names_it(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, one=np.random.default_rng(1).random(300), two=np.arange(40))
    refused = 0
    for content in damaged(path.read_bytes()):
        (tmp_path / "b.npz").write_bytes(content)
        try:
            stored_arrays(tmp_path / "b.npz")
        except ValueError as error:
            assert "b.npz: no .npz file of arrays, or a damaged one" in str(error)
            refused += 1
    assert refused > 100


def test_an_array_whose_head_tells_of_fewer_numbers_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, one=np.arange(3000.0))
    path.write_bytes(path.read_bytes().replace(b"(3000,)", b"(2000,)"))
    with pytest.raises(ValueError, match=r"a\.npz: .* \(one\.npy: bytes behind an array of shape \(2000,\)\)"):
        stored_arrays(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_that_are_compressed_as_numpy_never_does_are_refused(method: int, tmp_path: Path) -> None:
    array, path = io.BytesIO(), tmp_path / "a.npz"
    np.save(array, np.arange(300))
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("one.npy", array.getvalue())
    content = bytearray(path.read_bytes())
    content[90] ^= 0x55  # within what is compressed
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.npz: .* \(one\.npy: compressed by method {method}; expected 0 or 8\)"):
        stored_arrays(path)


def test_profiles_are_read_by_several_threads_at_once() -> None:
    folder = Profile("s").folder

    def read() -> bool:
        return all(Profile(folder).sha256 and literal("[" * 40 + "]" * 40) for _ in range(6))

    assert AT_ONCE.together(*[read] * 6) == [True] * 6


def test_one_thread_parses_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, seen = threading.Lock(), []

    def parse(text: str) -> str:
        seen.append(inside.acquire(blocking=False))
        threading.Event().wait(0.01)
        inside.release()
        return text

    monkeypatch.setattr(literals.ast, "literal_eval", parse)
    assert AT_ONCE.together(*[lambda: literal("1")] * 4) == ["1"] * 4
    assert seen == [True] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_forked_while_another_thread_parses_does_not_wait_for_it() -> None:
    with literals._parsing:
        child = os.fork()
        if not child:
            os._exit(0 if literal("7") == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
