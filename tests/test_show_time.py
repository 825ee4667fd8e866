"""Over time, on real coder and real bytes: still scenes cost next to nothing, new objects are there at once, and long
runs of P frames stay put. (bench/time.py does the same over 2,000 P frames.)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import av
import numpy as np
import pytest
from skimage import data

from duoview import Decoder, Encoder, Profile

Q = 24
SIGMA = 2.0
SCENE = np.ascontiguousarray(data.coffee()[40:296, 120:504])  # 384 x 256
OBJECT = np.ascontiguousarray(data.astronaut()[30:126, 166:262])  # a face, 96 x 96
TOP, LEFT = 85, 155  # on no grid of the codec
REGION = np.s_[TOP:TOP + 96, LEFT:LEFT + 96]


@dataclass(frozen=True)
class Coded:
    """One frame's bytes and its machine view."""

    bytes: int
    shown: np.ndarray


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def code(profile: Profile, pictures: Iterable[np.ndarray], *, q: int = Q) -> list[Coded]:
    """Encode all but the first as P frames; decode the bytes."""
    encoder = decoder = None
    coded = []
    for picture in pictures:
        if encoder is None or decoder is None:
            encoder = Encoder(picture.shape[1], picture.shape[0], q=q, gop=1 << 20, profile=profile)
            decoder = Decoder(profile=profile, strict=True)
        (packet,) = encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        unit = bytes(packet)
        (frame,) = decoder.decode(unit)
        coded.append(Coded(len(unit), frame.to_ndarray()))
    return coded


def camera(clean: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The scene with the noise of a camera."""
    return np.clip(np.rint(clean + generator.normal(0, SIGMA, clean.shape)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def still(profile: Profile) -> list[Coded]:
    """A key frame and 60 P frames of a still scene with fresh noise in each."""
    generator = np.random.default_rng(1)
    return code(profile, (camera(SCENE, generator) for _ in range(61)))


@pytest.fixture(scope="module")
def entering(profile: Profile) -> list[Coded]:
    """Eight frames of the scene, then eight with an object in it."""
    generator = np.random.default_rng(2)
    with_object = SCENE.copy()
    with_object[REGION] = OBJECT
    return code(profile, [camera(SCENE if number < 8 else with_object, generator) for number in range(16)])


def test_each_p_frame_of_a_still_scene_costs_at_most_a_tenth_of_its_key_frame(still: list[Coded]) -> None:
    assert max(unit.bytes for unit in still[1:]) <= still[0].bytes / 10


def test_a_still_scene_stays_as_good_as_its_key_frame(still: list[Coded]) -> None:
    quality = [psnr(SCENE, unit.shown) for unit in still]
    assert quality[0] > 24
    assert min(quality) > quality[0] - 0.5


def test_sixty_p_frames_grow_neither_in_rate_nor_in_error(still: list[Coded]) -> None:
    first, last = still[1:21], still[41:61]
    assert sum(unit.bytes for unit in last) < 1.25 * sum(unit.bytes for unit in first)
    assert np.mean([psnr(SCENE, unit.shown) for unit in last]) > np.mean([psnr(SCENE, u.shown) for u in first]) - 0.25


def test_an_entering_object_is_there_in_its_first_frame(entering: list[Coded]) -> None:
    before = psnr(OBJECT, entering[7].shown[REGION])
    first = psnr(OBJECT, entering[8].shown[REGION])
    eventual = float(np.mean([psnr(OBJECT, unit.shown[REGION]) for unit in entering[-4:]]))
    assert before < 15
    assert eventual > 22
    assert first > eventual - 2.0


def test_an_entering_object_is_paid_for_in_its_first_frame(entering: list[Coded]) -> None:
    before = float(np.mean([unit.bytes for unit in entering[1:8]]))
    assert entering[8].bytes > 3 * before
    assert entering[8].bytes < entering[0].bytes


def test_an_entering_object_leaves_the_rest_of_the_scene_alone(entering: list[Coded]) -> None:
    rest = np.ones(SCENE.shape[:2], bool)
    rest[max(0, TOP - 32):TOP + 96 + 32, LEFT - 32:LEFT + 96 + 32] = False
    before, after = (psnr(SCENE[rest], entering[number].shown[rest]) for number in (7, 8))
    assert abs(before - after) < 0.3


def test_an_object_that_leaves_uncovers_the_scene_in_the_next_frame(profile: Profile) -> None:
    with_object = SCENE.copy()
    with_object[REGION] = OBJECT
    generator = np.random.default_rng(4)
    pictures = [camera(with_object if number < 4 else SCENE, generator) for number in range(8)]
    coded = code(profile, pictures)
    left = psnr(SCENE[REGION], coded[4].shown[REGION])
    assert left > psnr(SCENE[REGION], coded[7].shown[REGION]) - 2.0
    assert left > psnr(SCENE[REGION], OBJECT) + 8


def test_a_panning_scene_is_followed(profile: Profile) -> None:
    photograph = data.astronaut()
    pictures = [np.ascontiguousarray(photograph[60:252, 40 + 4 * n:296 + 4 * n]) for n in range(12)]
    coded = code(profile, pictures, q=32)
    quality = [psnr(picture, unit.shown) for picture, unit in zip(pictures, coded, strict=True)]
    held = psnr(pictures[-1], coded[0].shown)  # what a view would give that stood still
    assert min(quality[1:]) > held + 5
    # Moving by half pixels blurs a little, until symbols are worth what they bring; no error piles up beyond that.
    assert quality[-1] > quality[1] - 1.3
    assert max(unit.bytes for unit in coded[1:]) < 1.1 * coded[0].bytes
