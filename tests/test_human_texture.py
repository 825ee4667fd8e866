"""The start ``texture`` of the human view: what it takes of texture, beside a neural and an inner machine layer."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from duoview import Decoder, Depths, Encoder, FrameOrigin, InnerSettings, Profile, TextureSettings
from duoview.backends import CpuBackend
from duoview.generated import generated_share
from duoview.human import Floats, Hints
from duoview.picture import PictureReader

HERE = Path(__file__)
HUMAN = SimpleNamespace(**runpy.run_path(str(HERE.with_name("human_profile.py"))))
TEXTURE = SimpleNamespace(**runpy.run_path(str(HERE.with_name("texture_profile.py"))))
WIDTH, HEIGHT, COUNT, GOP = 150, 100, 5, 4
PHOTOGRAPH = data.astronaut()
Pixels = NDArray[np.uint8]
Seen = list[tuple[Floats, Hints]]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    folder = tmp_path_factory.mktemp("human") / "profile"
    TEXTURE.write_profile(folder)
    found: Profile = HUMAN.add_human(folder, levels=(1.0, 0.9, 0.7, 0.5, 0.3))
    return found


def encode(profile: Profile, frames: str = "key", **options: Any) -> list[av.Packet]:
    """A photograph before which a part of itself moves, to the right; two groups of pictures."""
    settings = TextureSettings(Depths(TEXTURE.DEPTH), frames=frames, tile_log2=3)
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=20, gop=GOP, profile=profile, threads=1, texture=settings, **options)
    packets = []
    for number in range(COUNT):
        picture = PHOTOGRAPH[40:40 + HEIGHT, 130:130 + WIDTH].copy()
        picture[20:50, 4 * number:30 + 4 * number] = PHOTOGRAPH[300:330, 200:230]
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


@pytest.fixture(scope="module")
def neural(profile: Profile) -> list[av.Packet]:
    return encode(profile)


@pytest.fixture(scope="module")
def inner(profile: Profile) -> list[av.Packet]:
    settings = InnerSettings(codec="hevc", simplify="off", background=0, latency="zero", threads=1)
    return encode(profile, machine="inner", inner=settings)


def decoder(profile: Profile, **options: Any) -> Decoder:
    given: dict[str, Any] = {"view": "human", "start": "texture", "steps": 2, "strict": True} | options
    return Decoder(profile=profile, threads=1, **given)


def frames(made: Decoder, packets: Sequence[av.Packet]) -> list[av.VideoFrame]:
    return [frame for packet in packets for frame in made.decode(packet)] + made.decode(None)


def pixels(frame: av.VideoFrame) -> Pixels:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def watched(made: Decoder, packets: Sequence[av.Packet]) -> Seen:
    """z_m and hints of all pictures that were sampled."""
    seen: Seen = []
    first = frames(made, packets[:1])  # a flush ends the stream, but its networks stay
    assert first and made._human is not None
    made.reset()
    sampled = made._human.latent

    def look(z_m: Floats, q: int, hints: Hints | None = None) -> Floats:
        assert hints is not None
        seen.append((z_m, hints))
        return sampled(z_m, q, hints)

    made._human.latent = look  # type: ignore[method-assign]
    frames(made, packets)
    return seen


def test_what_is_known_is_the_latent_of_the_machine_view_and_what_it_lacks(
        profile: Profile, neural: list[av.Packet]) -> None:
    made = decoder(profile)
    z_m, hints = watched(made, neural[:1])[0]
    backend = CpuBackend(1)
    (machine,) = profile.load("decoder", backend)(z=z_m)
    (base,) = profile.load("encoder", backend)(picture=machine)
    assert made._residual is not None and np.abs(made._residual).max() > 0
    assert hints.texture is not None and np.allclose(hints.texture, base + made._residual - z_m, atol=1e-5)
    assert np.abs(base - z_m).max() > 0.1  # which the decoder of texture knows nothing of


@pytest.mark.parametrize("name", ["neural", "inner"])
def test_no_texture_is_the_start_from_noise_to_the_bit(profile: Profile, name: str,
                                                       request: pytest.FixtureRequest) -> None:
    packets = request.getfixturevalue(name)
    none, guided, all_ = (frames(decoder(profile, **options), packets)
                          for options in ({"texture": 0}, {"start": "guided"}, {}))
    assert len(none) == len(guided) == COUNT
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(none, guided, strict=True))
    assert not np.array_equal(pixels(all_[0]), pixels(guided[0]))


def test_depth_is_told_tile_by_tile(profile: Profile, neural: list[av.Packet]) -> None:
    _, hints = watched(decoder(profile, texture=Depths(2, ((0, 4), (1, 0)))), neural[:1])[0]
    assert hints.depth is not None and hints.depth.dtype == np.uint8
    assert (hints.depth[:8, :8] == 4).all() and (hints.depth[:8, 8:16] == 0).all() and (hints.depth[8:] == 2).all()


def test_where_the_machine_layer_coded_something_new_nothing_is_known_any_more(
        profile: Profile, neural: list[av.Packet]) -> None:
    seen = watched(decoder(profile), neural)
    depths = [hints.depth for _, hints in seen]
    assert all(depth is not None and (depth > 0).any() for depth in depths)
    assert (depths[0] == TEXTURE.DEPTH).all() and (depths[-1] == TEXTURE.DEPTH).all()
    assert any((depth == 0).any() for depth in depths[1:-1] if depth is not None)


def test_positions_that_are_held_stay_as_deep_as_they_were(profile: Profile) -> None:
    seen = watched(decoder(profile), encode(profile, frames="all"))
    assert all(hints.depth is not None and (hints.depth == TEXTURE.DEPTH).mean() > 0.5 for _, hints in seen)


def test_behind_an_inner_codec_texture_is_known_where_the_picture_stays(
        profile: Profile, inner: list[av.Packet]) -> None:
    made = decoder(profile)
    seen = watched(made, inner)
    depths = [hints.depth for _, hints in seen]
    assert depths[0] is not None and (depths[0] == TEXTURE.DEPTH).all()
    later = depths[2]
    assert later is not None and (later == TEXTURE.DEPTH).any() and (later == 0).any()
    known = seen[2][1].texture
    assert known is not None and np.abs(known[0][:, later == 0]).max() == 0 and np.abs(known).max() > 0


def test_seeking_to_a_key_unit_of_an_inner_stream_gives_what_playing_gives(
        profile: Profile, inner: list[av.Packet]) -> None:
    played = [pixels(frame) for frame in frames(decoder(profile), inner)]
    sought = [pixels(frame) for frame in frames(decoder(profile), inner[GOP:])]
    assert len(sought) == COUNT - GOP
    assert all(np.array_equal(a, b) for a, b in zip(sought, played[GOP:], strict=True))


@pytest.mark.parametrize("name", ["neural", "inner"])
def test_what_was_generated_is_counted_beside_the_texture_view(profile: Profile, name: str,
                                                               request: pytest.FixtureRequest) -> None:
    packets = request.getfixturevalue(name)
    human, texture = (frames(decoder(profile, **options), packets)[0] for options in (
        {}, {"view": "texture", "start": "guided"}))
    assert isinstance(human.opaque, FrameOrigin) and human.opaque.provenance is not None
    assert human.opaque.provenance.coded_layers == ("machine", "texture")
    shown, coded = (pixels(frame).transpose(2, 0, 1) for frame in (human, texture))
    assert human.opaque.generated_share == generated_share(shown, coded)


def test_no_restoration_runs_before_texture(profile: Profile) -> None:
    with pytest.raises(ValueError, match="restore=True: belongs to the views machine and human, not to view='texture' "
                                         "or start='texture'"):
        decoder(profile, restore=True)


def test_behind_an_inner_codec_what_generation_changes_is_put_on_the_coded_picture() -> None:
    profile = Profile("s")  # networks that see: an inner picture of high quality, which E and D blur
    settings = InnerSettings(codec="hevc", simplify="off", background=0, latency="zero", threads=1, scale=1.0)
    encoder = Encoder(192, 128, rate=25, q=44, gop=GOP, profile=profile, threads=1, machine="inner", inner=settings)
    picture = PHOTOGRAPH[40:168, 130:322]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    packets = encoder.encode(frame) + encoder.encode(None)
    (coded,) = frames(Decoder(profile=profile, view="machine", threads=1), packets)
    made = decoder(profile, start="guided", steps=4)
    (human,) = frames(made, packets)
    backend = CpuBackend(1)
    planes = PictureReader().read(coded)
    (z,) = profile.load("encoder", backend)(picture=planes)
    (own,) = profile.load("decoder", backend)(z=z)
    lost, changed = (np.square(one.astype(np.float64) - planes).mean() for one in (own, PictureReader().read(human)))
    assert 0 < changed < 0.7 * lost
