"""Where in a picture machines look."""

from __future__ import annotations

import numpy as np
import pytest

from duoview.models.machine_material import Look, RegionWeights
from duoview.models.regions import edge_weights, motion_weights

NOTHING = np.zeros((0, 4), np.float32)


def flat(height: int = 70, width: int = 101, value: int = 90) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_outlines_weigh_and_flat_parts_do_not() -> None:
    picture = flat()
    picture[:, 48:] = 200
    weight = edge_weights(picture)
    assert weight.shape == (70, 101)
    assert (weight[:, 40:48] == 1).all() and not weight[:, :40].any() and not weight[:, 56:].any()


def test_a_dim_picture_has_outlines_too() -> None:
    picture = flat(value=20)
    picture[32:, :] = 32
    assert edge_weights(picture)[24:32].min() > 0.4


def test_a_flat_picture_has_none() -> None:
    assert not edge_weights(flat()).any()


def test_what_moves_weighs_and_noise_does_not() -> None:
    before = flat()
    now = (before + np.random.default_rng(1).integers(-6, 7, before.shape)).astype(np.uint8)
    now[16:24, 40:56] += 60
    weight = motion_weights(now, before)
    assert weight[16:24, 40:56].all() and weight.sum() == 8 * 16


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one size"):
        motion_weights(flat(), flat(64))


def test_the_background_has_a_floor_and_objects_count_in_full() -> None:
    picture = flat()
    look = Look("street", picture, picture, np.array([[40, 30, 60, 50]], np.float32))
    weight = RegionWeights(outside=0.2).of(look)
    assert (weight[30:50, 40:60] == 1).all() and weight.min() == np.float32(0.2)
    assert (weight[:15] == np.float32(0.2)).all()


def test_outlines_and_motion_add_to_the_floor() -> None:
    picture = flat()
    picture[:, 48:] = 200
    moved = picture.copy()
    moved[:16, :16] = 160
    weight = RegionWeights(outside=0.1, edges=0.2, motion=0.3).of(Look("clip", moved, picture, NOTHING))
    assert weight[40, 20] == np.float32(0.1)
    assert weight[40, 44] == pytest.approx(0.3)
    assert weight[4, 4] == pytest.approx(0.4)
    assert not RegionWeights(outside=0, edges=0, motion=0).of(Look("clip", moved, picture, NOTHING)).any()


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected shares of 0 to 1"):
        RegionWeights(outside=1.5)
