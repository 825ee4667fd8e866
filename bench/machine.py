"""What a measurement ran on: machine, versions and commit, written beside every result."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import av
import numpy
import onnxruntime

import duoview
from duoview import kernels

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Versions:
    """Versions of what decides results. ffmpeg: the libraries inside PyAV, not the command line's."""

    python: str
    duoview: str
    numpy: str
    onnxruntime: str
    av: str
    ffmpeg: str
    libavcodec: str
    libswscale: str


@dataclass(frozen=True)
class Machine:
    """The machine at one moment.

    load_average: processes over 1, 5 and 15 minutes when this was taken; timings on a busy machine are worth little.
    commit: of the checkout, ``+`` at its end when files differ from it, empty outside of one.
    """

    cpu: str
    cores: int
    memory_gib: float
    load_average: tuple[float, float, float]
    system: str
    entropy_coder_paths: tuple[str, ...]
    versions: Versions
    commit: str


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # Results are written by the benchmarks themselves: they do not make a commit "changed".
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!bench/results")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or not a checkout
        return ""


def _dotted(name: str) -> str:
    return ".".join(str(part) for part in av.library_versions[name])


def this_machine() -> Machine:
    """Facts of this machine, now."""
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        load_average=tuple(round(value, 2) for value in os.getloadavg()),  # type: ignore[arg-type]
        system=platform.platform(),
        entropy_coder_paths=kernels.paths(),
        versions=Versions(
            python=platform.python_version(), duoview=duoview.__version__, numpy=numpy.__version__,
            onnxruntime=onnxruntime.__version__, av=av.__version__, ffmpeg=av.ffmpeg_version_info,
            libavcodec=_dotted("libavcodec"), libswscale=_dotted("libswscale")),
        commit=_commit(),
    )
