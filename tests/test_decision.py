"""What an encoder codes and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from skimage import data

from duoview import Decoder, Encoder, Profile, kernels
from duoview.access_unit import SectionType, parse, serialize
from duoview.backends import open_backend
from duoview.decision import (
    SymbolDecision,
    extra_bits,
    neighbourhood_mean,
    symbol_bits,
    worth_coding,
)
from duoview.errors import BitstreamError

SIDE = 128
SCENE = data.chelsea()[60:60 + SIDE, 120:120 + SIDE]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


def run(profile: Profile, scenes: list[np.ndarray], q: int, decision: SymbolDecision | None = None
        ) -> tuple[list[int], list[np.ndarray]]:
    """Bytes of the units and the decoded pictures of scenes seen by a camera with noise of sigma 2."""
    generator = np.random.default_rng(1)
    encoder = Encoder(SIDE, SIDE, rate=Fraction(25), q=q, gop=1000, profile=profile, threads=1, decision=decision)
    decoder = Decoder(profile=profile, threads=1, strict=True)
    sizes, shown = [], []
    for scene in scenes:
        noisy = np.clip(scene + generator.normal(0, 2, scene.shape), 0, 255).astype(np.uint8)
        (packet,) = encoder.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24"))
        sizes.append(packet.size)
        shown += [frame.to_ndarray(format="rgb24") for frame in decoder.decode(packet)]
    return sizes, shown


def psnr(shown: np.ndarray, clean: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((shown.astype(float) - clean) ** 2)))


@pytest.mark.parametrize("number", [8, 20, 30, 50, 63])
def test_the_bits_of_symbols_are_what_the_coder_needs_for_them(number: int) -> None:
    sigma = 0.11 * (32 / 0.11) ** ((number - 1) / 62)
    symbols = np.round(np.random.default_rng(2).normal(0, sigma, 200_000)).astype(np.int16)
    classes = np.full(symbols.size, number, np.uint8)
    expected = float(symbol_bits(symbols, classes).sum()) / 8
    assert len(kernels.encode(symbols, classes)) == pytest.approx(expected, rel=0.02)


def test_class_0_costs_nothing() -> None:
    assert symbol_bits(np.zeros(4, np.int16), np.zeros(4, np.uint8)).sum() == 0


def test_a_neighbourhood_at_the_border_is_the_mean_of_what_lies_inside() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    means = neighbourhood_mean(x)
    assert means[0, 0] == pytest.approx(x[:2, :2].mean())
    assert means[1, 1] == pytest.approx(x[:3, :3].mean())
    assert means[2, 3] == pytest.approx(x[1:, 2:].mean())


def test_a_zero_costs_nothing_extra() -> None:
    classes = np.array([1, 20, 63], np.uint8)
    assert extra_bits(np.zeros(3, np.int16), classes).tolist() == [0, 0, 0]
    assert (extra_bits(np.ones(3, np.int16), classes) > 0).all()


def test_only_positions_around_a_gain_that_outweighs_its_bits_are_coded() -> None:
    gain, bits = np.zeros((6, 6), np.float32), np.full((6, 6), 50, np.float32)
    gain[1, 1] = 90
    keep = worth_coding(gain, bits, 0.1)
    expected = np.zeros((6, 6), bool)
    expected[:3, :3] = True
    assert np.array_equal(keep, expected)
    assert not worth_coding(gain, bits * 1000, 0.1).any()


def test_coding_that_makes_things_worse_is_never_worth_it() -> None:
    assert not worth_coding(np.full((2, 2), -1, np.float32), np.zeros((2, 2), np.float32), 1.0).any()


def test_the_error_of_a_region_is_that_of_its_own_latents() -> None:
    error = np.zeros((1, 2, 8, 8), np.float32)
    error[0, 1, 2:4, 2:4] = 3  # position (1, 1) of the symbols' grid
    seen = kernels.picture_error(error[0], np.stack([np.diag([0, 10]), np.diag([0, 10])]).astype(np.float32))
    assert seen.shape == (4, 4)
    assert seen.argmax() == 5
    assert seen[3].max() == 0


@pytest.mark.parametrize("levels", [2, 8])
def test_a_change_of_light_is_worth_what_is_seen_of_it(profile: Profile, levels: int) -> None:
    encoder = profile.load("encoder", open_backend("cpu", 1))
    bright, dark = (encoder(picture=np.ascontiguousarray(scene.transpose(2, 0, 1)[None]))[0]
                    for scene in (np.maximum(SCENE, levels), np.maximum(SCENE, levels) - levels))
    seen = kernels.picture_error(bright[0] - dark[0], profile.latent_weight)
    assert seen.mean() == pytest.approx(levels**2, rel=0.25)


@pytest.mark.parametrize("q", [24, 56])
def test_a_fading_scene_is_followed(profile: Profile, q: int) -> None:
    scenes = [SCENE * (1 - 0.7 * n / 24) for n in range(24)]
    (_, followed), (_, coded) = run(profile, scenes, q), run(profile, scenes, q, SymbolDecision(skip=0))
    behind = [psnr(b, scene) - psnr(a, scene) for a, b, scene in zip(followed, coded, scenes, strict=True)]
    # What is not worth its bits now may be in the next frame: single frames differ in both directions.
    assert np.mean(behind) < 0.25 and max(behind) < 2.5


@pytest.mark.parametrize("q", [24, 56])
def test_a_scene_that_is_still_again_costs_nothing_any_more(profile: Profile, q: int) -> None:
    moving = [np.roll(SCENE, step, 1) for step in range(6)]
    sizes, _ = run(profile, moving + [moving[-1]] * 14, q)
    assert max(sizes[-4:]) == 6


def test_margins_grow_with_eagerness_and_with_what_a_magnitude_costs() -> None:
    plain, eager = SymbolDecision(key=0.0, inter=0.0), SymbolDecision(key=0.5, inter=1.0)
    assert not plain.margins(True).any() and not plain.margins(False).any()
    assert np.array_equal(2 * eager.margins(True), eager.margins(False))
    assert (np.diff(eager.margins(False)[1:]) < 0).all()


@pytest.mark.parametrize("q", [24, 63])
def test_a_still_scene_keeps_its_picture_and_costs_next_to_nothing(profile: Profile, q: int) -> None:
    sizes, shown = run(profile, [SCENE] * 12, q)
    assert max(sizes[1:]) < 0.05 * sizes[0]
    assert abs(psnr(shown[-1], SCENE) - psnr(shown[0], SCENE)) < 0.05


def test_without_skipping_noise_is_coded_at_high_quality(profile: Profile) -> None:
    skipping, _ = run(profile, [SCENE] * 3, 63)
    coding, _ = run(profile, [SCENE] * 3, 63, SymbolDecision(skip=0))
    assert skipping[0] == coding[0]
    assert sum(coding[1:]) > 2 * sum(skipping[1:])


def test_an_object_in_a_still_scene_is_shown_in_its_first_frame(profile: Profile) -> None:
    changed = SCENE.copy()
    changed[40:90, 40:90] = data.astronaut()[60:110, 200:250]
    _, shown = run(profile, [SCENE, SCENE, changed], 40)
    before, after = shown[1][40:90, 40:90], shown[2][40:90, 40:90]
    assert psnr(after, changed[40:90, 40:90]) > psnr(before, changed[40:90, 40:90]) + 8


def test_a_frame_in_which_nothing_is_worth_coding_has_an_empty_machine_section(profile: Profile) -> None:
    encoder = Encoder(SIDE, SIDE, rate=Fraction(25), q=24, profile=profile, threads=1)
    decoder = Decoder(profile=profile, threads=1, strict=True)
    units = [encoder.encode(av.VideoFrame.from_ndarray(SCENE, format="rgb24"))[0] for _ in range(3)]
    assert [parse(bytes(unit)).payload(SectionType.MACHINE) == b"" for unit in units] == [False, True, True]
    first, *others = [frame.to_ndarray() for unit in units for frame in decoder.decode(unit)]
    assert all(np.array_equal(first, other) for other in others)
    assert decoder.symbols_sha256() == encoder.symbols_sha256()


def test_an_empty_machine_section_in_a_key_unit_is_damage(profile: Profile) -> None:
    (packet,) = Encoder(SIDE, SIDE, profile=profile, threads=1).encode(av.VideoFrame(SIDE, SIDE, "rgb24"))
    unit = parse(bytes(packet))
    sections = tuple(replace(s, payload=b"") if s.type == SectionType.MACHINE else s for s in unit.sections)
    with pytest.raises(BitstreamError):
        Decoder(profile=profile, threads=1, strict=True).decode(serialize(replace(unit, sections=sections)))


@pytest.mark.parametrize(("wrong", "message"), [
    ({"skip": -1.0}, "skip is -1.0"), ({"inter": float("nan")}, "inter is nan"), ({"key": float("inf")}, "key is inf"),
])
def test_a_decision_that_is_negative_or_not_finite_is_refused_by_name(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message + "; a finite number, at least 0, is needed"):
        SymbolDecision(**wrong)
