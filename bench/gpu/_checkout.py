"""What the scripts of this folder have in common: they install the checkout they lie in, and name its commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def install(site: Path, wheels: Path | None, *, cuda: bool = False, bench: bool = False) -> dict[str, str]:
    """Install wheels and this checkout below `site`; returns the environment to run with.

    cuda: build the CUDA kernels too, or fail. bench: let the package `bench` be found.
    """
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    if wheels is not None:
        subprocess.run([*pip, "--no-index", *map(str, sorted(wheels.glob("*.whl")))], check=True)
    environment = os.environ | ({"DUOVIEW_CMAKE_ARGS": "-DDUOVIEW_CUDA=ON"} if cuda else {})
    subprocess.run([*pip, "--no-build-isolation", "--no-index", str(ROOT)], check=True, env=environment)
    # The checkout behind the site, so that bench is found and nothing else of it is taken for what was installed.
    path = os.pathsep.join((str(site), str(ROOT)) if bench else (str(site),))
    return environment | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def commit() -> str:
    """What is checked out; empty where there is no git, or no repository but its files alone."""
    if shutil.which("git") is None:
        return ""
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()
