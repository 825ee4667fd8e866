"""Shift operators: what they make of z_m, to the bit, and files that hold none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duoview.errors import ProfileError
from duoview.motion_compensation import PIXELS, REACH, SHIFTS, ShiftOperators
from duoview.motion_field import LIMIT, MotionField
from duoview.profile import Profile

LATENT = 3


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Some that are like those of an encoder: the place that a shift looks at, and a little of others."""
    random = np.random.default_rng(4)
    weights = random.integers(-20, 21, (SHIFTS, SHIFTS, LATENT * 9, LATENT))
    places = np.arange(LATENT)
    weights[:, :, places * 9 + 4, places] += 400
    weights[REACH, REACH] = 0
    weights[REACH, REACH, places * 9 + 4, places] = 512  # no shift is the identity
    return weights.astype(np.int16)


@pytest.fixture(scope="module")
def operators(weights: np.ndarray) -> ShiftOperators:
    return ShiftOperators(weights)


def state(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """A z_m, on its grid."""
    values = np.random.default_rng(seed).integers(-1024, 1025, (1, LATENT, rows, columns))
    return (values / 64).astype(np.float32)


def by_definition(weights: np.ndarray, z_m: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Position by position, in Python's integers."""
    whole = np.rint(z_m[0] * 64).astype(int)
    out = whole.copy()
    _, height, width = whole.shape
    weights = weights.astype(int)
    for y, x in np.ndindex(height, width):
        v = vectors[y // 2, x // 2].astype(int)
        if not v.any():
            continue
        w = (v + 2 * REACH) // (2 * PIXELS)
        r = v - 2 * PIXELS * w
        rows = np.clip(np.arange(-1, 2) + y + w[0], 0, height - 1)
        columns = np.clip(np.arange(-1, 2) + x + w[1], 0, width - 1)
        near = whole[:, rows][:, :, columns].reshape(-1)
        total = np.zeros(LATENT, int)
        for dy in (r[0] // 2, (r[0] + 1) // 2):
            for dx in (r[1] // 2, (r[1] + 1) // 2):
                total += near @ weights[dy + REACH, dx + REACH]
        out[:, y, x] = np.clip((total + 1024) // 2048, -1024, 1024)
    return (out / 64).astype(np.float32)[None]


@given(st.integers(0, 10**6), st.integers(1, 2), st.integers(1, 2))
@settings(max_examples=30, deadline=None)
def test_compensation_is_what_the_format_says(weights: np.ndarray, seed: int, rows: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-LIMIT, LIMIT + 1, (4 * rows, 4 * columns, 2)).astype(np.int8)
    vectors[random.random(vectors.shape[:2]) < 0.4] = 0
    z_m = state(8 * rows, 8 * columns, seed)
    found = ShiftOperators(weights).compensate(z_m, MotionField(vectors))
    assert np.array_equal(found, by_definition(weights, z_m, vectors))


def test_cells_that_do_not_move_are_kept_and_the_state_before_too(operators: ShiftOperators) -> None:
    z_m = state(8, 16)
    before = z_m.copy()
    field = MotionField.still(4, 8)
    assert operators.compensate(z_m, field) is z_m
    vectors = field.vectors.copy()
    vectors[1, 2] = [3, -5]
    found = operators.compensate(z_m, MotionField(vectors))
    changed = (found != z_m).any((0, 1))
    assert changed[2:4, 4:6].all() and changed.sum() == 4
    assert np.array_equal(z_m, before)


def test_whole_positions_come_as_they_are(operators: ShiftOperators) -> None:
    z_m = state(16, 16)
    vectors = np.zeros((8, 8, 2), np.int8)
    vectors[2:4, 2:4] = [2 * PIXELS, -4 * PIXELS]  # one position down, two to the left
    found = operators.compensate(z_m, MotionField(vectors))
    assert np.array_equal(found[0, :, 4:8, 4:8], z_m[0, :, 5:9, 2:6])


def test_the_bundled_operators_move_a_picture_nearly_as_well_as_moving_its_pixels(
        moved_pictures: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    shown, pixels, source = moved_pictures
    inside = (slice(None), slice(32, -32), slice(32, -32))

    def error(picture: np.ndarray) -> float:
        return float(np.square(picture[inside].astype(float) - source[inside]).mean())

    assert error(shown) < 1.7 * error(pixels)


@pytest.fixture(scope="module")
def moved_pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photograph moved by (3, -5) pixels: by operators in the latent, as pixels before E, and itself."""
    data = pytest.importorskip("skimage.data")
    from duoview.backends import CpuBackend

    profile, backend = Profile("s"), CpuBackend(1)
    encoder, decoder = profile.load("encoder", backend), profile.load("decoder", backend)
    photograph = np.ascontiguousarray(data.astronaut()[16:16 + 256 + 8, 100:100 + 256 + 8].transpose(2, 0, 1))
    before = photograph[:, 0:256, 5:261]
    source = photograph[:, 3:259, 0:256]
    (z,) = encoder(picture=np.ascontiguousarray(before[None]))
    z = (np.floor(np.clip(z, -16, 16) * 64 + 0.5) / 64).astype(np.float32)
    vectors = np.broadcast_to(np.array([6, -10], np.int8), (16, 16, 2)).copy()
    (shown,) = decoder(z=profile.motion().compensate(z, MotionField(vectors)))
    (again,) = encoder(picture=np.ascontiguousarray(source[None]))
    (pixels,) = decoder(z=again)
    return shown[0], pixels[0], source


def test_a_field_of_another_size_is_refused(operators: ShiftOperators) -> None:
    with pytest.raises(ValueError, match="expected half its sides"):
        operators.compensate(state(16, 16), MotionField.still(4, 4))


@pytest.mark.parametrize("wrong", [np.zeros((9, 9, 27, 3), np.float32), np.zeros((8, 9, 27, 3), np.int16)])
def test_arrays_that_are_no_operators_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises((TypeError, ValueError), match="weights"):
        ShiftOperators(wrong)


def test_streams_of_a_process_share_the_operators_of_a_profile() -> None:
    first = Profile("s").motion()
    assert Profile("s").motion() is first


def test_operators_in_use_are_refused_for_a_profile_of_another_latent() -> None:
    profile = Profile("s")
    used = profile.motion()
    profile.sizes = replace(profile.sizes, latent=24)
    with pytest.raises(ProfileError, match=f"of {used.latent} channels, the latent has 24"):
        profile.motion()


def test_files_that_hold_no_operators_are_refused_by_name(weights: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "right.npz", weights=weights)
    assert ShiftOperators.read(tmp_path / "right.npz", LATENT).latent == LATENT
    with pytest.raises(ProfileError, match="of 3 channels, the latent has 48"):
        ShiftOperators.read(tmp_path / "right.npz", 48)
    np.savez(tmp_path / "wrong.npz", other=weights)
    (tmp_path / "text.npz").write_bytes(b"no archive at all")
    for name in ("wrong.npz", "text.npz", "absent.npz"):
        with pytest.raises(ProfileError, match=f"{name}: not the shift operators"):
            ShiftOperators.read(tmp_path / name, LATENT)
