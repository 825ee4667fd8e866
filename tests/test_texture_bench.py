"""bench.texture: what it compares with is counted right."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from duoview import Profile
from duoview.export.calibration import Clip, pixels

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
BENCH: Any = ACCURACY.module("bench.texture")
MEDIA: Any = ACCURACY.module("bench.media")
CLIPS: Any = ACCURACY.module("bench.texture_clips")
load, spectral_distance, static_bytes = BENCH.load, BENCH.spectral_distance, BENCH.static_bytes


def test_the_static_model_costs_the_entropy_of_every_nodes_decisions() -> None:
    leaves = np.zeros((1, 16, 16), np.uint8)
    leaves[:, :8] = 3  # half of the positions take the second child, then all of those the second again
    assert static_bytes([leaves], 2) == (32, 0)
    even = np.arange(256, dtype=np.uint8).reshape(1, 16, 16) % 4
    assert static_bytes([even, even], 2) == (64, 64)


def test_the_static_model_of_changes_costs_the_first_frame_the_flags_and_the_leaves_that_changed() -> None:
    first = np.zeros((1, 16, 16), np.uint8)
    first[:, :8] = 3  # 32 bytes, see above
    after = first.copy()
    after[:, :, 0] = 1  # of 16 of 256 leaves, all of which are one
    found, unchanged = CLIPS.static_changes([[first], [after], [after]], 2)
    assert unchanged == 1 - 16 / 512
    share = 16 / 512
    flags = -512 * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    assert found == 32 + round(flags)


def test_nodes_of_a_clip_are_those_of_its_frames_and_cost_what_its_sections_do() -> None:
    frames_ = tuple(MEDIA.frames(MEDIA.clip("bikes.mp4"), limit=3, width=128, height=80))
    clip, profile = Clip("bikes.mp4", frames_, tuple(map(pixels, frames_))), Profile("s")
    sizes, machine, frames = CLIPS.coded(profile, clip, 28)
    one = CLIPS.reading(profile, clip, 28)
    assert (one.ours, one.key, one.machine, one.frames) == (sum(sizes), sizes[0], machine, 3) and sizes[0] > 100
    groups = {(tile.shape[0], tile.dtype) for tiles in frames for tile in tiles}
    assert groups == {(profile.texture().groups, np.dtype(np.uint8))}
    assert one.zstd_clip < one.zstd_frames and 0 < one.unchanged <= 1


def test_the_spectral_distance_sees_texture_that_is_missing_and_no_other_place() -> None:
    random = np.random.default_rng(1)
    grain = np.clip(random.normal(128, 20, (96, 96, 3)), 0, 255).astype(np.uint8)
    flat = np.full_like(grain, 128)
    other = np.clip(random.normal(128, 20, (96, 96, 3)), 0, 255).astype(np.uint8)
    assert spectral_distance(grain, grain) == 0
    assert spectral_distance(grain, other) < spectral_distance(grain, flat)


def test_pictures_are_thinned_out_evenly_and_label_maps_left_out(tmp_path: Path) -> None:
    for number in range(6):
        Image.new("RGB", (130, 130), (40 * number, 0, 0)).save(tmp_path / f"{number}.jpg")
    Image.new("RGB", (130, 130)).save(tmp_path / "0.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "9.png")
    assert [picture.name for picture in load(tmp_path, held=False, limit=None)] == list("012345")
    assert [picture.name for picture in load(tmp_path, held=False, limit=2)] == ["0", "3"]
    with pytest.raises(FileNotFoundError):
        load(tmp_path, held=False, limit=None, least=500)
