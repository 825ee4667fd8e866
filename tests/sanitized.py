"""First in ``make sanitize``: proves that the run is what it claims to be. Not collected by a plain pytest run.

The tests after it mean nothing if the interpreter had loaded another module, or one that was built without the
sanitizers, or if a finding did not end the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from duoview.kernels import _native, rans

SITE = Path(os.environ["DUOVIEW_SANITIZED"])
MODULE = Path(_native.__file__)


def mapped() -> str:
    """Files mapped into this process."""
    return Path("/proc/self/maps").read_text()


def test_the_loaded_module_is_the_one_of_this_build() -> None:
    assert MODULE.is_relative_to(SITE)
    assert str(MODULE) in mapped()
    assert len({line.split()[-1] for line in mapped().splitlines() if "kernels/_native" in line}) == 1


def test_the_sanitizers_run_time_is_loaded() -> None:
    assert "libasan.so" in mapped()
    assert "libubsan.so" in mapped()


@pytest.mark.parametrize("symbol", [
    "__asan_report_load1", "__asan_report_store2", "__asan_report_load4",
    "__ubsan_handle_shift_out_of_bounds_abort", "__ubsan_handle_pointer_overflow_abort",
])
def test_the_module_calls_the_sanitizers_and_aborts_at_a_finding(symbol: str) -> None:
    assert symbol.encode() + b"\0" in MODULE.read_bytes()


def test_the_module_has_no_check_that_only_reports() -> None:
    # Without _abort a handler prints and goes on; those that cannot go on (builtin_unreachable) have no such name.
    names = {name for name in MODULE.read_bytes().split(b"\0") if name.startswith(b"__ubsan_handle_")}
    assert {name for name in names if not name.endswith(b"_abort")} <= {
        b"__ubsan_handle_builtin_unreachable", b"__ubsan_handle_missing_return"}


@pytest.mark.parametrize("path", rans.paths())
def test_a_read_behind_an_array_ends_the_process(path: str) -> None:
    # An array that claims more elements than its memory has: the kernel believes it, the sanitizer must not.
    code = (
        "import numpy as np; from duoview.kernels import rans;"
        "memory = np.ones(1000, np.uint8);"
        "classes = np.lib.stride_tricks.as_strided(memory, (1064,), (1,));"
        f"rans.encode(np.zeros(1064, np.int16), classes, path={path!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "heap-buffer-overflow" in run.stderr


def test_every_path_of_the_plain_build_is_there() -> None:
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    assert ("avx2" in rans.paths()) == ("avx2" in flags)
