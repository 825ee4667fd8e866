"""Texture goes deeper where somebody looks: bytes and quality inside and outside of regions, and what finds them."""

from __future__ import annotations

import dataclasses
import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from duoview import Decoder, Depths, Encoder, InnerSettings, LimitError, Profile, TextureSettings
from duoview.access_unit import AccessUnit, SectionType, parse
from duoview.backends import CpuBackend
from duoview.inner.importance import Region
from duoview.plugins.filters.dv_encode import Encode
from duoview.texture.depths import read_map
from duoview.texture.geometry import Grid, depth_and_tile
from duoview.texture.guide import ELSEWHERE, TextureGuide
from duoview.texture.truncation import worth

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
DEPTH = FILES.DEPTH
WIDTH, HEIGHT = 256, 192
PICTURE = np.ascontiguousarray(data.astronaut()[20:20 + HEIGHT, 120:120 + WIDTH])
#: The face; two by two tiles of 64x64 pixels.
FACE = Region(64, 64, 128, 128)
INSIDE = (slice(64, 192), slice(64, 192))
SETTINGS = TextureSettings(Depths(DEPTH), tile_log2=3)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


def frame() -> av.VideoFrame:
    made = av.VideoFrame.from_ndarray(PICTURE, format="rgb24")
    made.pts, made.time_base = 0, Fraction(1, 25)
    return made


def encode(profile: Profile, texture: TextureSettings, machine: str = "neural") -> tuple[AccessUnit, NDArray[np.uint8]]:
    """The unit of a picture, and its texture view."""
    inner = InnerSettings(latency="zero", background=0, simplify="off", threads=1) if machine == "inner" else None
    encoder = Encoder(WIDTH, HEIGHT, q=30, profile=profile, threads=1, machine=machine, inner=inner, texture=texture)
    (packet,) = [*encoder.encode(frame()), *encoder.encode(None)]
    decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
    (shown,) = [*decoder.decode(packet), *decoder.decode(None)]
    return parse(bytes(packet)), np.asarray(shown.to_ndarray(format="rgb24"), np.uint8)


def by_tile(unit: AccessUnit) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Depths, and bytes of texture, of the tiles, in rows and columns."""
    count = Grid(WIDTH, HEIGHT, 3).count
    coded = unit.payload(SectionType.DEPTH_MAP)
    assert coded is not None
    sizes = np.zeros(count, np.int64)
    for section in unit.sections:
        if section.type == SectionType.TEXTURE:
            sizes[depth_and_tile(section.sub_index or 0)[1]] += len(section.payload)
    return np.array(read_map(coded, count, DEPTH)).reshape(3, 4), sizes.reshape(3, 4)


def error(shown: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean squared error inside of the region and outside of it."""
    squares = np.square(shown.astype(float) - PICTURE).mean(2)
    inside = np.zeros(squares.shape, np.bool_)
    inside[INSIDE] = True
    return float(squares[inside].mean()), float(squares[~inside].mean())


@pytest.mark.parametrize("machine", ["neural", "inner"])
def test_a_region_keeps_its_texture_and_the_rest_gives_up_bytes(profile: Profile, machine: str) -> None:
    whole, shown = encode(profile, SETTINGS, machine)
    told, less = encode(profile, dataclasses.replace(SETTINGS, roi=(FACE,)), machine)
    (_, before), (depths, after) = by_tile(whole), by_tile(told)
    around = np.ones((3, 4), np.bool_)
    around[1:, 1:3] = False
    assert depths[~around].mean() > depths[around].mean() + 1
    assert after[~around].sum() > 0.9 * before[~around].sum() and after[around].sum() < 0.6 * before[around].sum()
    (inside, outside), (inside_all, outside_all) = error(less), error(shown)
    assert inside < 1.1 * inside_all and outside > outside_all


def test_at_equal_bytes_a_region_is_better_and_the_rest_worse(profile: Profile) -> None:
    plain, spread = encode(profile, dataclasses.replace(SETTINGS, bit_rate=2400))
    told, focused = encode(profile, dataclasses.replace(SETTINGS, bit_rate=2400, roi=(FACE,)))
    assert by_tile(told)[1].sum() <= 1.1 * by_tile(plain)[1].sum()
    (inside, outside), (inside_plain, outside_plain) = error(focused), error(spread)
    assert inside < inside_plain and outside > outside_plain


def test_the_saliency_network_says_where_texture_goes_deeper(profile: Profile) -> None:
    guide = TextureGuide(dataclasses.replace(SETTINGS, guide="saliency"), profile, CpuBackend(1), threads=1, rate=25)
    weights = guide.look(frame())
    assert weights is not None and weights.shape == (HEIGHT // 8, WIDTH // 8)
    assert weights.min() == ELSEWHERE and weights.max() <= 1


def test_regions_alone_weigh_nothing_else_and_have_to_fit(profile: Profile) -> None:
    guide = TextureGuide(dataclasses.replace(SETTINGS, roi=(FACE,)), profile, CpuBackend(1), threads=1, rate=25)
    weights = guide.look(frame())
    assert weights is not None
    assert (weights[8:, 8:24] == 1).all() and (weights == 1).sum() == 16 * 16 and weights.min() == ELSEWHERE
    wide = dataclasses.replace(SETTINGS, roi=(Region(0, 0, 9999, 8),))
    with pytest.raises(LimitError, match="inside of the picture"):
        TextureGuide(wide, profile, CpuBackend(1), threads=1, rate=25).look(frame())
    with pytest.raises(LimitError, match="texture guide='nobody': expected one of auto"):
        TextureGuide(dataclasses.replace(SETTINGS, guide="nobody"), profile, CpuBackend(1), threads=1, rate=25)


def test_tiles_go_as_deep_as_every_step_is_worth_its_bytes() -> None:
    assert worth([10, 10], [100.0, 50.0, 45.0], 1.0) == 1
    assert worth([10, 10], [100.0, 50.0, 45.0], 2.0) == 2
    assert worth([10, 10], [100.0, 99.0, 20.0], 0.3) == 2, "the first step is worth it with the second one only"
    assert worth([10, 10], [100.0, 99.0, 98.0], 1.0) == 0


def test_regions_and_guide_are_options_of_the_filter(profile: Profile) -> None:
    stage = Encode(profile=str(profile.folder), texture="4", texture_roi="0:0:8:8|8:8:8:8:0.5", texture_guide="auto")
    settings = stage._texture_settings()
    assert settings is not None and settings.guide == "auto"
    assert settings.roi == (Region(0, 0, 8, 8), Region(8, 8, 8, 8, 0.5))
    with pytest.raises(LimitError, match="texture_roi"):
        Encode(profile=str(profile.folder), texture_roi="0:0:8:8")
