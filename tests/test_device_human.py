"""The human view on a device: the host's pictures, windows and provenance, on the CPU's stand-in for a GPU."""

from __future__ import annotations

import runpy
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from skimage import data

from duoview import (
    BackendUnavailableError,
    Decoder,
    Depths,
    Encoder,
    LimitError,
    Profile,
    ProfileError,
    TextureSettings,
)
from duoview.access_unit import SectionType, parse, serialize
from duoview.captions import Caption
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks
from duoview.device.human import DeviceHumanView
from duoview.device.nv12 import Nv12, weights
from duoview.human import HumanView
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver
from duoview.picture import PictureReader
from duoview.sequence import Colour

HERE = Path(__file__)
FAILING = SimpleNamespace(**runpy.run_path(str(HERE.with_name("failing_session.py"))))
HUMAN = SimpleNamespace(**runpy.run_path(str(HERE.with_name("human_profile.py"))))
LOST = "CUDA failure 2: out of memory"
TEXTURE = SimpleNamespace(**runpy.run_path(str(HERE.with_name("texture_profile.py"))))
SAID, OTHER = Caption.parse("1 person left"), Caption.parse("many car right moving left")
WIDTH, HEIGHT, GOP = 448, 128, 4
PHOTOGRAPH = data.astronaut()
#: Sums of float32 in another order, and what D makes of that.
LEVELS, SHARE = 1, 2e-4
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """With texture, captions and all starts."""
    folder = tmp_path_factory.mktemp("human") / "profile"
    TEXTURE.write_profile(folder)
    found: Profile = HUMAN.add_human(folder, levels=(1.0, 0.9, 0.7, 0.5, 0.3))
    return found


@pytest.fixture(scope="module")
def networks(profile: Profile) -> DeviceNetworks:
    return DeviceNetworks(profile, "cpu", threads=1)


def frames(count: int) -> list[av.VideoFrame]:
    """A square that moves over a photograph, in the left one of two windows."""
    background = np.ascontiguousarray(PHOTOGRAPH[40:40 + HEIGHT, 20:20 + WIDTH])
    found = []
    for number in range(count):
        picture = background.copy()
        picture[40:80, 10 + 8 * number:50 + 8 * number] = (230, 60, 40)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 10)
        found.append(frame)
    return found


def packets_of(profile: Profile, **options: Any) -> list[av.Packet]:
    given: dict[str, Any] = {"q": 20, "gop": GOP, "caption": SAID} | options
    encoder = Encoder(WIDTH, HEIGHT, rate=10, profile=profile, threads=1, **given)
    return [packet for frame in frames(6) for packet in encoder.encode(frame)]


@pytest.fixture(scope="module")
def packets(profile: Profile) -> list[av.Packet]:
    """Six units, of which the first and the fifth are key units, with texture and a caption."""
    return packets_of(profile, texture=TextureSettings(Depths(TEXTURE.DEPTH), frames="all", tile_log2=3))


def rgb(shown: av.VideoFrame) -> NDArray[np.int16]:
    found: Any = shown.to_ndarray(format="rgb24")
    return np.asarray(found.transpose(2, 0, 1), np.int16)


def assert_same(networks: DeviceNetworks, packets: list[av.Packet], **options: Any) -> tuple[Any, Any]:
    """Shows that a device gives the host's pictures and provenance; gives both samplers."""
    device = DeviceDecoder(networks, view="human", strict=True, **options)
    host = Decoder(profile=networks.profile, threads=1, view="human", strict=True, **options)
    for packet in packets:
        (one,), (other,) = device.decode(packet), host.decode(packet)
        found = one.array[0, :, :one.height, :one.width]
        assert np.abs(found - rgb(other)).max() <= LEVELS
        expected: Any = other.opaque
        assert one.origin.provenance == expected.provenance
        assert abs(one.origin.generated_share - expected.generated_share) <= SHARE
    samplers: tuple[Any, Any] = device._views._human, host._human
    assert (samplers[0].computed, samplers[0].kept) == (samplers[1].computed, samplers[1].kept)
    return samplers


@pytest.mark.parametrize("options", [
    {"start": "guided"}, {"start": "guided", "steps": 9, "seed": 2**63 + 5}, {"start": "guided", "tile": 0},
    {"start": "slim"}, {"start": "slim", "noise": 0.2, "caption": OTHER}, {"start": "slim", "caption": "none"},
    {"start": "texture"}, {"start": "texture", "texture": 1, "steps": 2}, {"start": "texture", "texture": 0}])
def test_pictures_of_a_device_are_those_of_the_host(networks: DeviceNetworks, packets: list[av.Packet],
                                                    options: dict[str, Any]) -> None:
    device, _ = assert_same(networks, packets, **options)
    assert (device.kept > 2) == (options.get("tile") != 0)


def test_the_bundled_denoiser_runs_on_a_device_too() -> None:
    networks = DeviceNetworks("s", "cpu", threads=1)
    assert_same(networks, packets_of(networks.profile, caption="none")[:3], steps=2)


def test_starts_and_seeds_are_told_apart(networks: DeviceNetworks, packets: list[av.Packet]) -> None:
    shown = set()
    for options in ({}, {"seed": 1}, {"start": "slim"}, {"start": "slim", "caption": "none"}, {"start": "texture"}):
        given: dict[str, Any] = options
        (picture,) = DeviceDecoder(networks, view="human", **given).decode(packets[0])
        shown.add(picture.array.tobytes())
    assert len(shown) == 5


def test_the_seed_that_was_sent_counts_where_none_is_asked_for(profile: Profile, networks: DeviceNetworks) -> None:
    packets = packets_of(profile, seeds=3, caption="none")[:2]
    device, _ = assert_same(networks, packets, seed=None)
    assert_same(networks, packets, seed=2)
    assert device.provenance.seed in (0, 1, 2)


def test_texture_that_the_machine_layer_has_overtaken_counts_no_more(profile: Profile, networks: DeviceNetworks
                                                                      ) -> None:
    """A key frame with texture, and a picture that changed everywhere behind it."""
    encoder = Encoder(WIDTH, HEIGHT, q=40, gop=9, profile=profile, threads=1, texture=2)
    other = np.ascontiguousarray(PHOTOGRAPH[300:300 + HEIGHT, 60:60 + WIDTH][:, ::-1])
    pictures = [frames(1)[0], av.VideoFrame.from_ndarray(other, format="rgb24")]
    packets = [packet for picture in pictures for packet in encoder.encode(picture)]
    device, host = assert_same(networks, packets, start="texture")
    assert device.provenance.coded_layers == host.provenance.coded_layers == ("machine",)
    assert assert_same(networks, packets[:1], start="texture")[0].provenance.coded_layers == ("machine", "texture")


def test_noise_is_that_of_the_host_by_place_and_seed(profile: Profile, networks: DeviceNetworks) -> None:
    device = DeviceHumanView(networks, start="guided", steps=1, seed=9, noise=None, tile=None)
    host = HumanView(profile, networks.backend, start="guided", steps=1, seed=9)
    for height, width, seed in ((12, 20, None), (12, 20, 77), (8, 36, 77)):
        np.testing.assert_array_equal(device.noise(height, width, seed), host.noise(height, width, seed))


def test_frames_that_are_not_shown_change_no_other_frame(networks: DeviceNetworks, packets: list[av.Packet]) -> None:
    whole, part = (DeviceDecoder(networks, view="human", start="texture", strict=True) for _ in range(2))
    for number, packet in enumerate(packets):
        (expected,), found = whole.decode(packet), part.decode(packet, discard=number in (1, 2, 4))
        for one in found:
            np.testing.assert_array_equal(one.array, expected.array)


def test_pictures_stay_as_they_are_while_later_ones_are_made(networks: DeviceNetworks, packets: list[av.Packet]
                                                             ) -> None:
    decoder, again = (DeviceDecoder(networks, view="human", start="texture") for _ in range(2))
    shown = [decoder.decode(packet)[0].array for packet in packets]
    for packet, one in zip(packets, shown, strict=True):
        np.testing.assert_array_equal(again.decode(packet)[0].array, one)


def test_the_order_of_lanes_and_warps_makes_no_difference(profile: Profile, networks: DeviceNetworks,
                                                          packets: list[av.Packet]) -> None:
    backwards = DeviceNetworks(profile, "cpu", threads=1)
    backwards.kernels = Device.on(HostDriver(backwards=True))
    backwards.driver = backwards.kernels.driver
    decoders = [DeviceDecoder(one, view="human", start="texture", texture=2, pixel_format="nv12", strict=True)
                for one in (networks, backwards)]
    for packet in packets[:3]:
        (one,), (other,) = (decoder.decode(packet) for decoder in decoders)
        np.testing.assert_array_equal(one.array, other.array)
        assert one.origin == other.origin


def test_streams_take_turns_with_states_of_their_own(networks: DeviceNetworks, packets: list[av.Packet]) -> None:
    alone = DeviceDecoder(networks, view="human", seed=3)
    expected = [alone.decode(packet)[0].array for packet in packets[:3]]
    one, other = (DeviceDecoder(networks, view="human", seed=seed) for seed in (3, 4))
    for packet, picture in zip(packets, expected, strict=False):
        other.decode(packet)
        np.testing.assert_array_equal(one.decode(packet)[0].array, picture)


def test_a_stream_of_a_device_has_a_human_view_there(networks: DeviceNetworks) -> None:
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=20, gop=2, texture=3)
    packets = [encoder.encode(np.ascontiguousarray(rgb(frame).astype(np.uint8))) for frame in frames(3)]
    assert_same(networks, packets, start="texture")


def test_a_start_that_the_profile_or_the_stream_lacks_is_an_error(profile: Profile, networks: DeviceNetworks,
                                                                  tmp_path: Path) -> None:
    old = DeviceNetworks(HUMAN.first_generation(tmp_path / "old"), "cpu", threads=1)
    with pytest.raises(ProfileError, match="first generation and knows start='guided' only"):
        DeviceDecoder(old, view="human", start="slim")
    (packet,) = Encoder(WIDTH, HEIGHT, profile=profile, threads=1).encode(frames(1)[0])
    with pytest.raises(LimitError, match="no texture layer"):
        DeviceDecoder(networks, view="human", start="texture").decode(packet)
    with pytest.raises(ProfileError, match=r"steps=0: .* without which that would be the machine view"):
        DeviceDecoder(networks, view="human", steps=0)


def test_a_latent_diffusion_model_is_refused_with_what_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = DeviceNetworks("s", "cpu", threads=1)
    monkeypatch.setattr(networks.profile, "latent_diffusion", object())
    with pytest.raises(BackendUnavailableError, match=r"latent diffusion model.*expected duoview\.Decoder"):
        DeviceDecoder(networks, view="human")


# ---- D_h


@pytest.fixture(scope="module")
def rich(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> DeviceNetworks:
    """The same profile with a decoder of human views."""
    folder = tmp_path_factory.mktemp("rich") / "profile"
    shutil.copytree(profile.folder, folder)
    return DeviceNetworks(HUMAN.add_human_decoder(folder), "cpu", threads=1)


@pytest.fixture(scope="module")
def rich_packets(rich: DeviceNetworks) -> list[av.Packet]:
    return packets_of(rich.profile, texture=TextureSettings(Depths(TEXTURE.DEPTH), frames="all", tile_log2=3))


class _Counted:
    """A network that counts its calls."""

    def __init__(self, network: Any) -> None:
        self.network, self.calls = network, 0

    def __call__(self, **inputs: Any) -> list[Any]:
        self.calls += 1
        found: list[Any] = self.network(**inputs)
        return found


@pytest.mark.parametrize("options", [{"start": "guided"}, {"start": "guided", "tile": 0}, {"start": "slim"},
                                     {"start": "texture"}, {"start": "texture", "texture": 0},
                                     {"start": "guided", "steps": 0, "seed": 2**63 + 5}, {"start": "slim", "steps": 0},
                                     {"start": "slim", "steps": 0, "caption": OTHER}, {"start": "texture", "steps": 0},
                                     {"start": "texture", "steps": 0, "texture": 1}])
def test_a_human_decoder_shows_on_a_device_what_it_shows_on_the_host(
        rich: DeviceNetworks, rich_packets: list[av.Packet], networks: DeviceNetworks, packets: list[av.Packet],
        options: dict[str, Any]) -> None:
    assert_same(rich, rich_packets, **options)
    without = options | ({"steps": 1} if options.get("steps") == 0 else {})
    (one,), (other,) = (DeviceDecoder(which, view="human", **given).decode(units[0])
                        for which, units, given in ((rich, rich_packets, options), (networks, packets, without)))
    assert np.abs(one.array.astype(int) - other.array).mean() > 1  # it is D_h's picture


@pytest.mark.parametrize("view", ["machine", "texture"])
def test_a_human_decoder_shows_no_other_view_of_a_device(rich: DeviceNetworks, rich_packets: list[av.Packet],
                                                         networks: DeviceNetworks, packets: list[av.Packet],
                                                         view: str) -> None:
    decoders = [DeviceDecoder(which, view=view, strict=True) for which in (rich, networks)]
    for units in zip(rich_packets, packets, strict=True):
        (one,), (other,) = (decoder.decode(unit) for decoder, unit in zip(decoders, units, strict=True))
        np.testing.assert_array_equal(one.array, other.array)


@pytest.mark.parametrize("options", [{}, {"steps": 0}, {"steps": 0, "start": "texture"}])
def test_a_human_decoder_of_a_device_runs_where_something_changed_and_nowhere_else(
        rich: DeviceNetworks, rich_packets: list[av.Packet], options: dict[str, Any]) -> None:
    decoder = DeviceDecoder(rich, view="human", strict=True, **options)
    (first,) = decoder.decode(rich_packets[0])
    view: Any = decoder._views._human
    view._decoder = network = _Counted(view._decoder)
    unit = parse(bytes(rich_packets[1]))
    nothing = tuple(replace(one, payload=b"") for one in unit.sections if one.type == SectionType.MACHINE)
    (again,) = decoder.decode(serialize(replace(unit, sections=nothing)))
    (anew,) = decoder.decode(rich_packets[0])  # another latent with the same numbers
    assert network.calls == 0
    for one in (again, anew):
        np.testing.assert_array_equal(one.array, first.array)
    (moved,) = decoder.decode(rich_packets[1])
    assert network.calls == 1 and not np.array_equal(moved.array, first.array)


def test_behind_a_frame_at_which_the_human_decoder_failed_views_are_whole_again(
        rich: DeviceNetworks, rich_packets: list[av.Packet], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, decoder = (DeviceDecoder(rich, view="human") for _ in range(2))
    expected = [whole.decode(packet)[0].array for packet in rich_packets]
    decoder.decode(rich_packets[0])
    loaded: Any = rich["human_decoder"]
    with monkeypatch.context() as patch:
        patch.setattr(loaded, "session", FAILING.FailingSession(loaded.session, LOST))
        with pytest.raises(BackendUnavailableError, match=r"device 'cpu': human_decoder failed \(CUDA failure 2"):
            decoder.decode(rich_packets[1])
    for number in (2, 3, 4, 5):
        np.testing.assert_array_equal(decoder.decode(rich_packets[number])[0].array, expected[number])


# ---- NV12


@pytest.mark.parametrize(("matrix", "space"), [(1, Colorspace.ITU709), (6, Colorspace.ITU601), (2, Colorspace.ITU601),
                                               (9, Colorspace.BT2020)])
def test_nv12_is_what_libswscale_makes_in_the_matrix_of_the_source(
        profile: Profile, networks: DeviceNetworks, matrix: int, space: Colorspace) -> None:
    source = frames(1)[0].reformat(format="yuv420p", dst_colorspace=space)
    source.colorspace = matrix
    encoder = Encoder(WIDTH, HEIGHT, profile=profile, threads=1, q=50)
    (packet,) = encoder.encode(source)
    decoder = DeviceDecoder(networks, pixel_format="nv12")
    (shown,), (other,) = decoder.decode(packet), Decoder(profile=profile, threads=1).decode(packet)
    assert decoder.sequence is not None and decoder.sequence.colour.matrix == matrix
    expected = other.reformat(format="nv12", dst_colorspace=space, src_color_range=ColorRange.JPEG,
                              dst_color_range=ColorRange.MPEG)
    assert shown.array.shape == (192, 448) and shown.array.dtype == np.uint8
    apart = np.abs(shown.array.astype(int) - expected.to_ndarray().astype(int))
    assert apart.mean() < 0.6 and np.percentile(apart, 99) <= 2


def test_nv12_of_a_human_view_becomes_the_same_picture_again(networks: DeviceNetworks, packets: list[av.Packet]
                                                             ) -> None:
    (shown,) = DeviceDecoder(networks, view="human", pixel_format="nv12").decode(packets[0])
    (plain,) = DeviceDecoder(networks, view="human").decode(packets[0])
    back = PictureReader().read(av.VideoFrame.from_ndarray(np.ascontiguousarray(shown.array), format="nv12"))
    coarse = [picture[0].reshape(3, 16, 8, 56, 8).mean((2, 4)) for picture in (back, plain.array)]
    assert np.abs(coarse[0] - coarse[1]).mean() < 1.5


def test_greys_have_no_chroma_and_the_range_is_limited() -> None:
    for matrix in (1, 6, 9, 2):
        table = weights(matrix).reshape(3, 3)
        assert table[1:].sum(1).tolist() == [0, 0]
        assert (table.sum(1)[0] * 255 + 32768 >> 16) + 16 == 235
    with pytest.raises(ValueError, match="pixel_format='yuv420p': expected one of rgb, nv12"):
        DeviceDecoder(DeviceNetworks("s", "cpu", threads=1), pixel_format="yuv420p")


@pytest.mark.parametrize(("matrix", "range_", "space"), [(1, 1, Colorspace.ITU709), (2, 0, Colorspace.ITU601),
                                                         (6, 2, Colorspace.ITU601)])
def test_nv12_that_comes_in_is_seen_as_by_libswscale(networks: DeviceNetworks, matrix: int, range_: int,
                                                     space: Colorspace) -> None:
    full = ColorRange.JPEG if range_ == 2 else ColorRange.MPEG
    source = frames(1)[0].reformat(format="nv12", dst_colorspace=space, dst_color_range=full)
    source.colorspace, source.color_range = matrix, full
    expected = PictureReader().read(source)
    found = Nv12(networks).picture(source.to_ndarray(), Colour(matrix=matrix, range=range_))
    apart = np.abs(found[0].astype(int) - expected[0, :, :HEIGHT, :WIDTH])
    assert apart.mean() < 0.02 and apart.max() <= 2


def test_a_stream_of_nv12_pictures_says_so_and_comes_back_as_such(networks: DeviceNetworks) -> None:
    source = frames(1)[0].reformat(format="nv12", dst_colorspace=Colorspace.ITU709)
    array = np.ascontiguousarray(source.to_ndarray())
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=55, pixel_format="nv12", colour=Colour(1, 1, 1, 1))
    decoder = DeviceDecoder(networks, pixel_format="nv12", strict=True)
    (shown,) = decoder.decode(encoder.encode(array, caption=SAID))
    assert decoder.sequence is not None and decoder.sequence.colour == Colour(1, 1, 1, 1)
    assert decoder.sequence.pixel_format == "nv12"
    apart = np.abs(shown.array.astype(int) - array)
    assert apart[:HEIGHT].mean() < 4 and apart[HEIGHT:].mean() < 3


def test_a_picture_that_is_repeated_keeps_its_matrix_when_a_unit_with_another_is_lost(networks: DeviceNetworks) -> None:
    array = np.ascontiguousarray(frames(1)[0].reformat(format="nv12").to_ndarray())
    first, second = (bytes(DeviceEncoder(networks, WIDTH, HEIGHT, pixel_format="nv12", colour=Colour(matrix=matrix)
                                         ).encode(array)) for matrix in (1, 6))
    unit = parse(second)
    sections = tuple(replace(section, payload=section.payload[:9]) if section.type == SectionType.MACHINE else section
                     for section in unit.sections)
    decoder = DeviceDecoder(networks, pixel_format="nv12")
    (shown,), (again,) = decoder.decode(first), decoder.decode(serialize(replace(unit, sections=sections)))
    assert again.origin.concealed
    np.testing.assert_array_equal(again.array, shown.array)


def test_a_caption_of_a_device_is_told_to_its_viewers(networks: DeviceNetworks) -> None:
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT, gop=3)
    decoder = DeviceDecoder(networks, view="human", start="slim", strict=True)
    told = []
    for frame, caption in zip(frames(4), (SAID, SAID, OTHER, None), strict=True):
        (shown,) = decoder.decode(encoder.encode(np.ascontiguousarray(rgb(frame).astype(np.uint8)), caption=caption))
        provenance: Any = shown.origin.provenance
        told.append(provenance.caption)
    assert told == [str(SAID), str(SAID), str(OTHER), ""]


@pytest.mark.parametrize(("wrong", "message"), [
    (np.zeros((3, 96, 64), np.uint8), r"\(3, 96, 64\); \(3 height / 2, width\) with even sides is needed for NV12"),
    (np.zeros((97, 64), np.uint8), "is needed for NV12"), (np.zeros((96, 63), np.uint8), "is needed for NV12")])
def test_what_is_no_nv12_is_refused_with_what_is_needed(networks: DeviceNetworks, wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeviceEncoder(networks, 64, 64, pixel_format="nv12").encode(wrong)
    with pytest.raises(ValueError, match="belongs to pixel_format='nv12', not 'rgb'"):
        DeviceEncoder(networks, 64, 64, colour=Colour())


def test_nv12_beyond_max_pixels_is_refused_before_memory_is_taken_for_it(networks: DeviceNetworks,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = DeviceEncoder(networks, 64, 64, pixel_format="nv12", max_pixels=64 * 64)
    encoder.encode(np.zeros((96, 64), np.uint8))
    large = np.zeros((192, 64), np.uint8)
    taken: list[int] = []
    monkeypatch.setattr(networks.driver, "allocate", taken.append)
    with pytest.raises(LimitError, match="64x128 has 8192 pixels, max_pixels is 4096"):
        encoder.encode(large)
    assert taken == []


# ---- failures


@pytest.mark.parametrize(("network", "view"), [("denoiser", {"view": "human", "start": "texture"}),
                                               ("colour", {"view": "human"}), ("texture_prior", {"view": "texture"}),
                                               ("encoder", {"view": "texture"})])
def test_behind_a_frame_at_which_the_device_failed_key_units_are_whole_again(
        networks: DeviceNetworks, packets: list[av.Packet], network: str, view: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch) -> None:
    whole, decoder = DeviceDecoder(networks, **view), DeviceDecoder(networks, **view)
    expected = [whole.decode(packet)[0].array for packet in packets]
    np.testing.assert_array_equal(decoder.decode(packets[0])[0].array, expected[0])
    loaded: Any = networks[network]
    with monkeypatch.context() as patch:
        patch.setattr(loaded, "session", FAILING.FailingSession(loaded.session, LOST))
        with pytest.raises(BackendUnavailableError, match=rf"device 'cpu': {network} failed \(CUDA failure 2"):
            decoder.decode(packets[1])
    for number in (2, 3, 4, 5):
        (shown,) = decoder.decode(packets[number])
        if number >= GOP:
            np.testing.assert_array_equal(shown.array, expected[number])


def test_an_encoder_whose_device_failed_at_texture_goes_on_with_a_key_frame(networks: DeviceNetworks,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT, gop=2, texture=2)
    pictures = [np.ascontiguousarray(rgb(frame).astype(np.uint8)) for frame in frames(2)]
    loaded: Any = networks["texture_analysis"]
    with monkeypatch.context() as patch:
        patch.setattr(loaded, "session", FAILING.FailingSession(loaded.session, LOST))
        with pytest.raises(BackendUnavailableError, match="texture_analysis failed"):
            encoder.encode(pictures[0])
    packet = encoder.encode(pictures[1])
    other = DeviceEncoder(networks, WIDTH, HEIGHT, gop=2, texture=2).encode(pictures[1])
    assert packet.is_keyframe and bytes(packet) == bytes(other)
