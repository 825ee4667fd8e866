"""The heaps that threads of a process share."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from duoview.pipelines import command
from duoview.pipelines.run.allocator import ARENAS, share_arenas

#: Says whether heaps are shared, and how many of them there are once twelve threads have asked for memory.
COUNT = """
import ctypes, sys, tempfile, threading
from duoview.pipelines.run.allocator import share_arenas

shared = share_arenas() if sys.argv[1] == "share" else None
library = ctypes.CDLL(None)
library.malloc.restype = library.fopen.restype = ctypes.c_void_p
library.malloc_info.argtypes, library.fclose.argtypes = (ctypes.c_int, ctypes.c_void_p), (ctypes.c_void_p,)
meet = threading.Barrier(12)

def take():
    meet.wait()
    library.malloc(1000)
    meet.wait()

threads = [threading.Thread(target=take) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with tempfile.NamedTemporaryFile() as file:
    stream = library.fopen(file.name.encode(), b"w")
    library.malloc_info(0, stream)
    library.fclose(stream)
    print(shared, file.read().count(b"<heap nr="))
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


def counted(how: str, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    return subprocess.run([sys.executable, "-c", COUNT, how], env=kept | environment, check=True, capture_output=True,
                          text=True, timeout=120).stdout.split()


@glibc
def test_all_threads_share_two_heaps() -> None:
    assert counted("share") == ["True", str(ARENAS)]
    assert int(counted("leave")[1]) > ARENAS  # else this would show nothing


@glibc
def test_who_has_set_the_number_of_heaps_has_decided() -> None:
    assert counted("share", MALLOC_ARENA_MAX="4") == ["False", "4"]


def test_a_c_library_without_such_heaps_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not share_arenas({})


@pytest.mark.parametrize(("words", "expected"), [
    (["run", "-h"], ["shared", "duoview.pipelines.run.command"]),
    (["filters", "-h"], ["duoview.pipelines.filters"]),
])  # fmt: skip
def test_a_command_that_lasts_shares_heaps_before_its_module_is_imported(
    words: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def imported(name: str) -> SimpleNamespace:
        done.append(name)
        return SimpleNamespace(main=lambda words: 0)

    monkeypatch.setattr(command, "share_arenas", lambda: done.append("shared"))
    monkeypatch.setattr(command, "importlib", SimpleNamespace(import_module=imported))
    assert command.main(words) == 0 and done == expected
