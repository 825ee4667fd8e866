"""Every palette kernel gives the committed bytes, on every path."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from duoview.kernels import noise

GOLDEN = Path(__file__).with_name("golden")
CALLS = runpy.run_path(str(GOLDEN / "make_palette.py"))["CALLS"]


@pytest.mark.parametrize("path", noise.paths())
@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_committed_bytes(name: str, path: str) -> None:
    assert CALLS[name](path) == (GOLDEN / f"{name}.bin").read_bytes()
