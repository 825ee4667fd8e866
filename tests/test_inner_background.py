"""Groups of pictures with a background in common: what it saves, what carries it, and what happens where it is lost."""

from __future__ import annotations

import dataclasses
import runpy
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import duoview
from duoview import BackendUnavailableError, BitstreamError, Decoder, Encoder, FrameOrigin, LimitError, Profile
from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize
from duoview.inner import InnerCodec, InnerDecoder, InnerSettings, groups
from duoview.inner.background import BackgroundMaker, share_of
from duoview.inner.payload import BackgroundReference, KeyHeader, read_key, read_packet, write_key
from duoview.inner.standard import StandardEncoder
from duoview.kernels import crc32c
from duoview.picture import PictureReader

STREAMS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("background_streams.py"))))
WIDTH, HEIGHT, COUNT, GOP, RATE = STREAMS.WIDTH, STREAMS.HEIGHT, STREAMS.COUNT, STREAMS.GOP, STREAMS.RATE
encoder_for, encode, decode, key_units = STREAMS.encoder_for, STREAMS.encode, STREAMS.decode, STREAMS.key_units
stamped = STREAMS.stamped


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def backdrop() -> np.ndarray:
    found: np.ndarray = STREAMS.photograph()
    return found


@pytest.fixture(scope="module")
def watched(backdrop: np.ndarray) -> list[av.VideoFrame]:
    found: list[av.VideoFrame] = STREAMS.watched_by_a_camera(backdrop)
    return found


@pytest.fixture(scope="module")
def carried(profile: Profile, watched: list[av.VideoFrame]) -> list[av.Packet]:
    """A stream of 4 groups of which the first unit carries the background of all."""
    found: list[av.Packet] = encode(encoder_for(profile), watched)
    return found


def sections_of(packet: av.Packet) -> list[int]:
    return [section.type for section in parse(bytes(packet)).sections]


def header_of(unit: AccessUnit) -> KeyHeader:
    payload = unit.payload(SectionType.INNER)
    assert payload is not None and unit.sequence is not None
    return read_key(payload, unit.sequence.width, unit.sequence.height)[0]


def age_of(unit: AccessUnit) -> int:
    """Milliseconds since its background was carried."""
    background = header_of(unit).background
    assert background is not None
    return background.age


def pts_of(items: Sequence[av.Packet | av.VideoFrame]) -> list[int]:
    return [item.pts if item.pts is not None else -1 for item in items]


def repacked(packet: av.Packet, data: bytes) -> av.Packet:
    copy = av.Packet(data)
    copy.pts, copy.dts, copy.time_base, copy.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    return copy


# ---- what it is for


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_key_frames_of_a_still_scene_cost_a_fraction_of_what_they_cost_alone(
        profile: Profile, watched: list[av.VideoFrame], codec: str) -> None:
    alone, shared = (encode(encoder_for(profile, codec, background=seconds), watched) for seconds in (0, 60.0))
    keys = [[packet.size for packet in packets if packet.is_keyframe] for packets in (alone, shared)]
    assert len(keys[0]) == len(keys[1]) == 4
    assert sum(keys[1][1:]) < 0.5 * sum(keys[0][1:])
    assert sum(packet.size for packet in shared) < 0.85 * sum(packet.size for packet in alone)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_pictures_are_as_good_as_without(profile: Profile, watched: list[av.VideoFrame], codec: str) -> None:
    reader = PictureReader()
    source = np.stack([reader.read(frame)[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0) for frame in watched]).astype(float)
    error = []
    for seconds in (0, 60.0):
        _, shown = decode(profile, encode(encoder_for(profile, codec, background=seconds), watched))
        error.append(float(((np.stack([frame.to_ndarray() for frame in shown]) - source) ** 2).mean()))
    assert error[1] < 1.1 * error[0]


def test_a_camera_that_moves_gives_every_key_frame_a_background_of_its_own(profile: Profile) -> None:
    with av.open(f"testsrc2=size={WIDTH}x{HEIGHT}:rate=10:duration=2,scroll=h=.2:v=.3", format="lavfi") as container:
        frames = [stamped(frame, index) for index, frame in enumerate(container.decode(video=0))]
    packets = encode(encoder_for(profile, gop=5), frames)
    units = key_units(packets)
    assert len(units) == 4
    assert all(unit.payload(SectionType.BACKGROUND) is not None for unit in units)
    assert len(decode(profile, packets)[1]) == len(frames)


@pytest.mark.parametrize("count", [1, 7])
def test_a_stream_that_ends_before_there_is_a_background_has_none(
        profile: Profile, watched: list[av.VideoFrame], count: int) -> None:
    alone, short = (encode(encoder_for(profile, background=seconds), watched[:count]) for seconds in (0, 60.0))
    assert [bytes(packet) for packet in short] == [bytes(packet) for packet in alone]


# ---- what carries it, and who refers to it


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_first_unit_carries_the_background_and_the_other_key_units_refer_to_it(
        profile: Profile, watched: list[av.VideoFrame], codec: str) -> None:
    first, *others = key_units(encode(encoder_for(profile, codec), watched))
    background = first.payload(SectionType.BACKGROUND)
    assert background is not None
    assert header_of(first).background == BackgroundReference(crc32c(background), 0)
    assert all(unit.payload(SectionType.BACKGROUND) is None for unit in others)
    assert [header_of(unit).background for unit in others] == [
        BackgroundReference(crc32c(background), age) for age in (900, 1800, 2700)]


def test_another_background_is_carried_when_the_last_one_has_served_its_time(
        profile: Profile, watched: list[av.VideoFrame]) -> None:
    units = key_units(encode(encoder_for(profile, background=1.8), watched))
    assert [unit.payload(SectionType.BACKGROUND) is not None for unit in units] == [True, False, True, False]
    assert [age_of(unit) for unit in units] == [0, 900, 0, 900]


def test_key_frames_come_at_least_every_gop_frames_on_demand_and_never_behind_what_is_shown_before_them(
        profile: Profile, watched: list[av.VideoFrame]) -> None:
    for keys, expected in (((), (0, 9, 18, 27)), ((4,), (0, 4, 13, 22, 31)), ((0, 30), (0, 9, 18, 27, 30))):
        packets = encode(encoder_for(profile, preset="medium"), watched, keys)
        times = {index: at for index, packet in enumerate(packets) for at in [packet.pts or 0]}
        starts = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        assert [times[start] // 2048 for start in starts] == list(expected)
        for start in starts:
            assert all(times[index] > times[start] for index in times if index > start)


@pytest.mark.parametrize("latency", ["full", "zero"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_machine_view_is_what_a_standard_decoder_makes_of_background_and_packets(
        profile: Profile, watched: list[av.VideoFrame], codec: str, latency: str) -> None:
    packets = encode(encoder_for(profile, codec, latency=latency), watched)
    _, shown = decode(profile, packets)
    standard, reader, background = InnerDecoder({"h264": InnerCodec.H264, "hevc": InnerCodec.HEVC}[codec], WIDTH,
                                                HEIGHT, threads=1), PictureReader(), b""
    direct: list[tuple[int, av.VideoFrame]] = []
    for ticket, packet in enumerate(packets):
        unit = parse(bytes(packet))
        payload = unit.payload(SectionType.INNER)
        assert payload is not None
        if unit.key:
            if (section := unit.payload(SectionType.BACKGROUND)) is not None:
                background = read_packet(standard.codec, section)
            direct += standard.decode(background, -1)
            _, inner = read_key(payload, WIDTH, HEIGHT)
        else:
            inner = read_packet(standard.codec, payload)
        direct += standard.decode(inner, ticket)
    pictures = [frame for ticket, frame in direct + standard.flush() if ticket >= 0]
    assert len(pictures) == len(shown) == len(watched)
    for frame, expected in zip(shown, pictures, strict=True):
        assert np.array_equal(frame.to_ndarray(), reader.read(expected)[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0))
    assert pts_of(shown) == [pts * (packets[0].time_base.denominator // 640) for pts in pts_of(watched)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_encoder_and_decoder_agree_on_the_digest(
        profile: Profile, watched: list[av.VideoFrame], codec: str) -> None:
    encoder = encoder_for(profile, codec)
    decoder, _ = decode(profile, encode(encoder, watched))
    assert decoder.symbols_sha256() == encoder.symbols_sha256()


@pytest.mark.parametrize("codec", ["hevc", "h264"])
@pytest.mark.parametrize("room", [None, 3])
def test_groups_that_are_encoded_at_once_give_the_same_packets_in_the_same_order(
        profile: Profile, watched: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch, codec: str, room: int | None
) -> None:
    if room is not None:  # for so many pictures in front of the encoders
        monkeypatch.setattr(groups, "_WAIT_BYTES", room * WIDTH * HEIGHT * 3 // 2)

    def coded(threads: int) -> list[tuple[bytes, int | None, int | None]]:
        packets = encode(encoder_for(profile, codec, gop=6, threads=threads, background=1.0), watched, keys=[9, 10])
        return [(bytes(packet), packet.pts, packet.dts) for packet in packets]

    one = coded(1)
    assert coded(2) == one and len(one) == len(watched)


def test_a_slow_group_comes_before_the_next_one_all_the_same(
        profile: Profile, watched: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    encode_picture, begun = StandardEncoder.encode, []

    def slow(self: StandardEncoder, *given: Any) -> list[Any]:
        begun.append(self) if self not in begun else None
        if self is begun[0]:
            time.sleep(0.05)
        return encode_picture(self, *given)

    one = encode(encoder_for(profile, gop=6, threads=1), watched)
    monkeypatch.setattr(StandardEncoder, "encode", slow)
    two = encode(encoder_for(profile, gop=6, threads=2), watched)
    assert len(begun) > 2 and [bytes(packet) for packet in two] == [bytes(packet) for packet in one]


def test_a_group_that_cannot_be_ended_is_an_error_of_a_later_frame(
        profile: Profile, watched: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: StandardEncoder) -> list[Any]:
        raise BackendUnavailableError("inner encoder libx265 failed: out of memory")

    encoder = encoder_for(profile, gop=6, threads=2)
    monkeypatch.setattr(StandardEncoder, "flush", broken)
    with pytest.raises(BackendUnavailableError, match="out of memory"):
        encode(encoder, watched)


def test_what_came_before_an_encoder_failed_is_given_and_the_stream_goes_on(
        profile: Profile, watched: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    encode_picture, begun = StandardEncoder.encode, []

    def failing(self: StandardEncoder, *given: Any) -> list[Any]:
        begun.append(self) if self not in begun else None
        if begun.index(self) == 1:
            raise BackendUnavailableError("inner encoder libx265 failed: out of memory")
        return encode_picture(self, *given)

    monkeypatch.setattr(StandardEncoder, "encode", failing)
    encoder, packets, told = encoder_for(profile, gop=6, threads=2), [], 0
    for frame in (*watched, None):
        try:
            packets += encoder.encode(frame)
        except BackendUnavailableError:
            told += 1
    assert told == 1 and packets[0].is_keyframe
    assert len(watched) - 12 <= len(packets) < len(watched)  # a group, and the frame that was told of it, are missing


@pytest.mark.parametrize("threads", [1, 2])
def test_at_zero_latency_every_frame_gives_its_packet(profile: Profile, watched: list[av.VideoFrame], threads: int
                                                      ) -> None:
    encoder = encoder_for(profile, latency="zero", threads=threads)
    for frame in watched:
        (packet,) = encoder.encode(frame)
        assert packet.pts == packet.dts == frame.pts


def test_regions_in_some_frames_only_are_coded(profile: Profile, watched: list[av.VideoFrame]) -> None:
    # x265 crashed where the memory of a picture without regions was used for one with regions.
    for settings in ({"preset": "medium"}, {"latency": "zero"}, {"background": 0, "latency": "zero"}):
        encoder = encoder_for(profile, **settings)
        graph = av.filter.Graph()
        source, sink = graph.add_buffer(width=WIDTH, height=HEIGHT, format=watched[0].format,
                                        time_base=Fraction(1, 640)), graph.add("buffersink")
        graph.link_nodes(source, graph.add("addroi", "x=8:y=8:w=64:h=64:qoffset=-1/5"), sink).configure()
        packets: list[av.Packet] = []
        for index, frame in enumerate(watched):
            if index % 7 > 3:
                graph.push(frame)
                marked = graph.pull()
                assert isinstance(marked, av.VideoFrame)
                packets += encoder.encode(marked)
            else:
                packets += encoder.encode(frame)
        assert len(decode(profile, packets + encoder.encode(None))[1]) == len(watched)


# ---- where it is lost


def test_a_decoder_that_was_given_the_background_starts_at_any_key_unit(
        profile: Profile, carried: list[av.Packet]) -> None:
    _, played = decode(profile, carried)
    decoder = Decoder(profile=profile, threads=1, strict=True, restore=False)
    decoder.decode(carried[0])
    starts = [index for index, packet in enumerate(carried) if packet.is_keyframe]
    for start in (starts[3], starts[1]):
        decoder.reset()
        shown = [frame for packet in carried[start : start + GOP] for frame in decoder.decode(packet)]
        expected = {frame.pts: frame.to_ndarray() for frame in played}
        assert shown and all(np.array_equal(frame.to_ndarray(), expected[frame.pts]) for frame in shown)


def test_a_key_unit_whose_background_was_not_received_is_skipped_and_named(
        profile: Profile, carried: list[av.Packet]) -> None:
    start = [index for index, packet in enumerate(carried) if packet.is_keyframe][1]
    decoder, shown = decode(profile, carried[start:], strict=False)
    assert shown == [] and decoder.stats.decoded == 0
    assert "which was not received" in decoder.stats.last_damage
    with pytest.raises(BitstreamError, match=r"refers to a background picture .*, carried 0\.9 s before, which"):
        decode(profile, carried[start:])


def test_what_refers_to_a_damaged_background_is_concealed(
        profile: Profile, watched: list[av.VideoFrame]) -> None:
    packets = encode(encoder_for(profile, background=1.8), watched)
    (at,) = [index for index, packet in enumerate(packets) if index and SectionType.BACKGROUND in sections_of(packet)]
    carrier, background = bytearray(bytes(packets[at])), parse(bytes(packets[at])).payload(SectionType.BACKGROUND)
    assert background is not None
    carrier[bytes(carrier).index(background) + 20] ^= 0x40
    decoder, shown = decode(profile, [*packets[:at], repacked(packets[at], bytes(carrier)), *packets[at + 1 :]],
                            strict=False)
    concealed = [frame.opaque.concealed for frame in shown if isinstance(frame.opaque, FrameOrigin)]
    assert concealed == [False] * 2 * GOP + [True] * 2 * GOP
    assert decoder.stats.damaged >= 1


def test_a_background_in_another_than_its_key_unit_is_damage(profile: Profile, carried: list[av.Packet]) -> None:
    background = parse(bytes(carried[0])).payload(SectionType.BACKGROUND)
    assert background is not None
    section = Section(SectionType.BACKGROUND, None, background)
    key = parse(bytes([packet for packet in carried if packet.is_keyframe][1]))
    unit = parse(bytes(carried[1]))
    for wrong, message in (
            (dataclasses.replace(unit, sections=(section, *unit.sections)), "without the key flag"),
            (dataclasses.replace(key, sections=(section, *key.sections)), "carried 0.9 s before"),
    ):
        decoder = Decoder(profile=profile, threads=1)
        decoder.decode(carried[0])
        decoder.decode(serialize(wrong))
        assert message in decoder.stats.last_damage


@given(crc=st.integers(0, 2**32 - 1), age=st.integers(0, 2**32 - 1), width=st.integers(1, 640),
       height=st.integers(1, 360), packet=st.binary(min_size=1, max_size=20), codec=st.sampled_from(InnerCodec))
def test_a_key_header_with_a_background_comes_back(
        crc: int, age: int, width: int, height: int, packet: bytes, codec: InnerCodec) -> None:
    header = KeyHeader(codec, width, height, BackgroundReference(crc, age))
    payload = write_key(header, packet, 640, 360)
    assert read_key(payload, 640, 360) == (header, packet)
    for end in range(5):  # codec and CRC
        with pytest.raises(BitstreamError):
            read_key(payload[:end], 640, 360)


def test_pictures_that_are_extended_are_coded_with_regions(profile: Profile, watched: list[av.VideoFrame]) -> None:
    # x265 takes pictures of 64x64 at least: what stands beside them has no importance of its own.
    frames = [stamped(frame.reformat(width=40, height=36, format="yuv420p"), index)
              for index, frame in enumerate(watched[:12])]
    encoder = Encoder(40, 36, rate=RATE, gop=4, profile=profile, machine="inner",
                      inner=InnerSettings(threads=1, simplify="saliency"))
    assert len(decode(profile, encode(encoder, frames))[1]) == 12


def test_a_background_is_refreshed_by_time_whatever_the_nominal_rate(
        profile: Profile, watched: list[av.VideoFrame]) -> None:
    inner = InnerSettings(threads=1, simplify="off", preset="veryfast", background=1.8)
    encoder = Encoder(WIDTH, HEIGHT, rate=1000, gop=GOP, profile=profile, machine="inner", inner=inner)
    units = key_units(encode(encoder, watched))
    assert [unit.payload(SectionType.BACKGROUND) is not None for unit in units] == [True, False, True, False]


def test_a_jump_in_time_refreshes_the_background(profile: Profile, watched: list[av.VideoFrame]) -> None:
    frames = [stamped(av.VideoFrame.from_ndarray(frame.to_ndarray(), frame.format.name), index + (index > 12) * 10**9)
              for index, frame in enumerate(watched[:20])]
    packets = encode(encoder_for(profile), frames)
    assert [age_of(unit) for unit in key_units(packets)] == [0, 900, 0]


def test_what_was_coded_is_not_lost_when_the_next_encoder_does_not_open(
        profile: Profile, watched: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_for(profile, preset="medium")
    packets = [packet for frame in watched[: GOP + 2] for packet in encoder.encode(frame)]
    opened = StandardEncoder.__init__
    monkeypatch.setattr(StandardEncoder, "__init__", lambda *_, **__: (_ for _ in ()).throw(
        duoview.BackendUnavailableError("no more")))
    failed = 0
    for frame in watched[GOP + 2 : 2 * GOP + 4]:
        try:
            packets += encoder.encode(frame)
        except duoview.BackendUnavailableError:
            failed += 1
            monkeypatch.setattr(StandardEncoder, "__init__", opened)
    packets += encoder.encode(None)
    assert failed == 1 and len({packet.pts for packet in packets}) == 2 * GOP + 3


def test_a_picture_that_cannot_be_a_background_is_damage_and_costs_no_frame_before_it(
        profile: Profile, carried: list[av.Packet]) -> None:
    start = [index for index, packet in enumerate(carried) if packet.is_keyframe][1]
    unit = parse(bytes(carried[start]))
    for garbage in (b"\x26\x01" + bytes(range(60)), b"\x40\x01", b"\xff"):
        header = dataclasses.replace(header_of(unit), background=BackgroundReference(crc32c(garbage), 0))
        payload = write_key(header, read_key(unit.payload(SectionType.INNER) or b"", WIDTH, HEIGHT)[1], WIDTH, HEIGHT)
        sections = (Section(SectionType.BACKGROUND, None, garbage), Section(SectionType.INNER, None, payload))
        wrong = dataclasses.replace(unit, sections=(unit.sections[0], *sections))
        damaged = [*carried[:start], repacked(carried[start], serialize(wrong)), *carried[start + 1 :]]
        decoder, shown = decode(profile, damaged, strict=False)
        concealed = [frame.opaque.concealed for frame in shown if isinstance(frame.opaque, FrameOrigin)]
        assert concealed[: 2 * GOP] == [False] * GOP + [True] * GOP and len(concealed) == COUNT
        assert decoder.stats.damaged >= 1


# ---- parts


@pytest.mark.parametrize(("settings", "message"), [
    ({"background": -1}, "expected 0 to 86400"), ({"background": float("nan")}, "expected 0 to 86400"),
    ({"codec": "av1", "background": 60}, "libsvtav1"), ({"background": 60, "gop": 1}, "gop=1"),
    ({"background": 60, "bit_rate": 100_000}, "bit_rate=100000"),
])
def test_a_background_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LimitError, match=message):
        InnerSettings(**settings)


def test_the_median_leaves_out_what_passes_through(watched: list[av.VideoFrame], backdrop: np.ndarray) -> None:
    maker = BackgroundMaker(4)
    for frame in watched:
        maker.see(frame.reformat(format="yuv420p"))
    found = maker.picture()
    assert np.abs(found.reformat(format="yuv444p").to_ndarray()[0].astype(int) - backdrop[0]).max() <= 2
    assert share_of(found, found) == 1
    inverted = av.VideoFrame.from_ndarray(255 - found.to_ndarray(), "yuv420p")
    assert share_of(found, inverted) < 0.3


def test_no_more_pictures_are_remembered_than_there_is_room_for() -> None:
    maker = BackgroundMaker(1)
    for index in range(40):
        frame = av.VideoFrame(4096, 4096, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([index]) * plane.buffer_size)
        maker.see(frame)
    assert set(maker.picture().to_ndarray().ravel().tolist()) == {37}  # the lower middle one of the last four
