"""The demo, on a few frames: files, report and picture are there and agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

DEMO = Path(__file__).resolve().parent.parent / "examples" / "demo.py"
FRAMES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo wrote for four frames."""
    target = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(DEMO), "--output", str(target), "--frames", str(FRAMES)]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


def test_the_demo_writes_what_the_readme_says(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"bikes.nut", "machine.mp4", "human.mp4", "compare.png",
                                                         "report.json"}


@pytest.mark.parametrize("name", ["machine.mp4", "human.mp4"])
def test_both_views_have_all_frames_at_their_size(folder: Path, name: str) -> None:
    with av.open(str(folder / name)) as video:
        sizes = [(frame.width, frame.height) for frame in video.decode(video=0)]
    assert sizes == [(640, 272)] * FRAMES


def test_the_report_counts_every_byte_of_the_access_units(folder: Path, report: dict[str, Any]) -> None:
    stream = report["stream"]
    assert stream["access_units"] == FRAMES
    assert sum(stream["bytes_by_layer"].values()) == stream["bytes"] < stream["file_bytes"]
    assert stream["file_bytes"] == (folder / "bikes.nut").stat().st_size
    assert stream["bits_per_pixel"] == pytest.approx(8 * stream["bytes"] / (640 * 272 * FRAMES))


def test_the_machine_view_resembles_the_source(report: dict[str, Any]) -> None:
    assert report["machine_view"]["concealed_frames"] == 0
    assert report["machine_view"]["psnr_rgb_worst_db"] > 24


def test_the_report_names_the_symbols_the_profile_and_the_speed(report: dict[str, Any]) -> None:
    assert len(report["symbols_sha256"]) == 2 * len(report["profile"]["hash"]) == 64
    assert all(value > 0 for value in report["fps"].values())


def test_the_views_keep_the_colours_of_the_source(folder: Path) -> None:
    sheet = np.asarray(Image.open(folder / "compare.png").convert("RGB")).astype(float)
    left, top, width, height, gap = 120, 44, 640, 272, 6
    columns = [sheet[top:top + height, left + n * (width + gap):left + n * (width + gap) + width] for n in range(3)]
    for view in columns[1:]:
        assert np.abs(view.mean(axis=(0, 1)) - columns[0].mean(axis=(0, 1))).max() < 4
        assert psnr(view, columns[0]) > 22


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))
