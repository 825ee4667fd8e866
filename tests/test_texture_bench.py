"""bench.texture: what it compares with is counted right."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
BENCH: Any = ACCURACY.module("bench.texture")
load, spectral_distance, static_bytes = BENCH.load, BENCH.spectral_distance, BENCH.static_bytes


def test_the_static_model_costs_the_entropy_of_every_nodes_decisions() -> None:
    leaves = np.zeros((1, 16, 16), np.uint8)
    leaves[:, :8] = 3  # half of the positions take the second child, then all of those the second again
    assert static_bytes([leaves], 2) == (32, 0)
    even = np.arange(256, dtype=np.uint8).reshape(1, 16, 16) % 4
    assert static_bytes([even, even], 2) == (64, 64)


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
