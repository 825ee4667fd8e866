"""bench.texture_peers: curves are read at equal rates, over the same pictures for all coders."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from skimage import data

ACCURACY = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
BENCH: Any = ACCURACY.module("bench.texture_peers")
CODERS: Any = ACCURACY.module("bench.still_coders")
Point = BENCH.Point


def curve(*points: tuple[float, float]) -> list[Any]:
    """Points of (bits per pixel, distance), with a PSNR of 10 times the rate."""
    return [Point(bpp, 10 * bpp, distance) for bpp, distance in points]


def test_a_curve_is_read_between_its_points_and_nowhere_else() -> None:
    points = curve((0.1, 3.0), (0.4, 1.0))
    assert BENCH.read_at(points, 0.2) == pytest.approx((2.5, 2.0))
    assert BENCH.read_at(points, 0.05) is None and BENCH.read_at(points, 0.5) is None


def test_the_best_setting_counts_on_pictures_that_all_coders_reach() -> None:
    curves = {
        ("ours", "q 0"): [curve((0.05, 4), (0.4, 2)), curve((0.05, 4), (0.4, 2)), curve((0.3, 9), (0.4, 8))],
        ("ours", "q 8"): [curve((0.1, 3), (0.4, 1)), curve((0.1, 3), (0.4, 1)), curve((0.3, 9), (0.4, 8))],
        ("theirs", ""): [curve((0.01, 5), (0.4, 3)), curve((0.01, 5), (0.4, 3)), curve((0.01, 5), (0.4, 3))],
    }
    found = {(one.coder, one.bpp): one for one in BENCH.readings(curves, (0.05, 0.2))}
    assert found["ours", 0.2].setting == "q 8" and found["ours", 0.05].setting == "q 0"
    assert {one.pictures for one in found.values()} == {2}, "ours does not reach the third picture at these rates"
    assert found["ours", 0.2].perceptual == pytest.approx(2.0)


def test_a_coder_whose_settings_reach_different_pictures_is_shown_on_those_of_the_widest() -> None:
    near, far, both = curve((0.05, 4), (0.2, 2)), curve((0.3, 9), (0.4, 8)), curve((0.05, 5), (0.4, 3))
    curves = {("ours", "q 0"): [near, near, near, far], ("ours", "q 8"): [far, far, near, far],
              ("theirs", ""): [both] * 4, ("few", ""): [far, far, far, near]}
    found = BENCH.readings(curves, (0.1,))
    assert [(one.coder, one.setting, one.pictures) for one in found] == [("ours", "q 0", 3), ("theirs", "", 3)]


def test_each_picture_may_have_the_highest_machine_layer_that_fits() -> None:
    low, high = curve((0.05, 4), (0.4, 2)), curve((0.1, 3), (0.4, 1))
    dear_low, dear_high = curve((0.1, 4), (0.4, 2)), curve((0.3, 3), (0.4, 1))
    curves = {("ours", "q 0"): [low, dear_low], ("ours", "q 8"): [high, dear_high], ("theirs", ""): [low, low]}
    found = {one.coder: one for one in BENCH.readings(curves, (0.2,))}
    assert found["ours"].setting == BENCH.FITTING
    assert found["ours"].perceptual == pytest.approx((2 + 3) / 2), "q 8 of the one, q 0 of the other"


def test_what_fits_goes_by_the_machine_layers_rate_alone() -> None:
    cheap, dear = curve((0.05, 1), (0.4, 0.5)), curve((0.15, 9), (0.4, 8))
    assert BENCH.fitting([dear, cheap], 0.2) is dear
    assert BENCH.fitting([dear, cheap], 0.1) is cheap and BENCH.fitting([dear, cheap], 0.01) is cheap


def test_svt_av1_codes_a_still_within_its_bytes() -> None:
    picture = np.ascontiguousarray(data.astronaut()[:128, :160])
    coder = CODERS.SvtAv1Still()
    sizes = []
    for quality in (30, 55):
        size, decoded = coder.code(picture, quality)
        assert decoded.shape == picture.shape
        sizes.append((size, float(np.square(decoded.astype(float) - picture).mean())))
    assert sizes[0][0] > 2 * sizes[1][0] and sizes[0][1] < sizes[1][1] < 1500
