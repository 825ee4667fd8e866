"""A package of somebody else, as docs/stages.md says how to write one: installed by pip, found, used, and checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "stages.md"
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "acme-stages"
version = "1.0"

[tool.setuptools]
py-modules = ["acme"]

"""
RULES = """
from acme import Brighten
from duoview.testing import StageConformance


class TestBrighten(StageConformance):
    pixel_formats = ("yuv420p", "gray")

    def make(self):
        return Brighten(by=20)
"""
USE = """
import av
import numpy as np
import duoview

frame = av.VideoFrame.from_ndarray(np.full((16, 16), 100, np.uint8), "gray")
frame.pts = 0
(out,) = duoview.Graph.parse("null, acme_brighten=by=7, null").process([frame])
assert (out.to_ndarray() == 107).all()
"""


def from_the_page(language: str, word: str) -> str:
    """The block of a language that holds a word."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if word in block]
    return str(block)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs a Python in which the package is installed, and gives what it printed."""
    pytest.importorskip("setuptools")
    source, target = tmp_path_factory.mktemp("acme"), tmp_path_factory.mktemp("site")
    (source / "acme.py").write_text(from_the_page("python", "class Brighten(Stage)"))
    (source / "pyproject.toml").write_text(PROJECT + from_the_page("toml", "duoview.stages"))

    def run(*words: str) -> str:
        paths = (str(target), os.environ.get("PYTHONPATH"))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=source,
                              check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target),
        str(source))
    (source / "acme.py").unlink()  # what is imported from now on is what was installed
    return run


def test_its_stage_is_listed_and_its_options_are_explained(python: Callable[..., str]) -> None:
    listed = python("-m", "duoview.pipelines", "filters")
    assert re.search(r"^ *V->V +acme_brighten +Raise the luma", listed, re.MULTILINE)
    told = python("-m", "duoview.pipelines", "-h", "filter=acme_brighten")
    assert "grey levels to add (an integer, 0 to 255; default 10)" in told


def test_its_stage_works_between_native_filters(python: Callable[..., str]) -> None:
    python("-c", USE)


def test_its_own_tests_are_the_conformance_suite(python: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "test_acme.py").write_text(RULES)
    told = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
                  str(tmp_path / "test_acme.py"))
    assert re.search(r"\b20 passed\b", told), told
