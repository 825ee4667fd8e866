"""Encoder and Decoder: frames to access units and back, at the sizes, formats and times that video comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from skimage import data

from duoview import Decoder, Encoder, Error, FrameOrigin, LimitError, Profile
from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize
from duoview.human import Floats, Hints, HumanView
from duoview.picture import PictureReader

PHOTOGRAPH = data.astronaut()
RATE = Fraction(25)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


def picture(width: int, height: int, step: int = 0) -> np.ndarray:
    """A part of a photograph that pans by ``step`` pixels; repeated where it is too small."""
    rows = (np.arange(height) + 20) % PHOTOGRAPH.shape[0]
    columns = (np.arange(width) + 130 + step) % PHOTOGRAPH.shape[1]
    return np.ascontiguousarray(PHOTOGRAPH[rows][:, columns])


def rgb_frame(array: np.ndarray, pts: int | None = None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(array, format="rgb24")
    if pts is not None:
        frame.pts, frame.time_base = pts, 1 / RATE
    return frame


def frames(count: int, width: int = 96, height: int = 80) -> list[av.VideoFrame]:
    return [rgb_frame(picture(width, height, index), index) for index in range(count)]


def encoder_for(profile: Profile, width: int = 96, height: int = 80, *, q: int = 24, gop: int = 50) -> Encoder:
    return Encoder(width, height, rate=RATE, q=q, gop=gop, profile=profile, threads=1)


def encode(encoder: Encoder, pictures: Iterable[av.VideoFrame]) -> list[av.Packet]:
    return [packet for frame in pictures for packet in encoder.encode(frame)]


def decode(profile: Profile, packets: Iterable[av.Packet | bytes]) -> list[av.VideoFrame]:
    decoder = Decoder(profile=profile, threads=1, strict=True)
    return [frame for packet in packets for frame in decoder.decode(packet)]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def concealed(frame: av.VideoFrame) -> bool:
    assert isinstance(frame.opaque, FrameOrigin)
    return frame.opaque.concealed


# ---- what packets and frames carry


def test_every_frame_gives_one_packet_and_every_packet_one_frame(profile: Profile) -> None:
    encoder = encoder_for(profile)
    packets = [encoder.encode(frame) for frame in frames(4)]
    assert [len(group) for group in packets] == [1, 1, 1, 1]
    decoder = Decoder(profile=profile, threads=1)
    assert [len(decoder.decode(group[0])) for group in packets] == [1, 1, 1, 1]


def test_a_packet_carries_the_time_of_its_frame(profile: Profile) -> None:
    pictures = frames(3)
    for frame, pts in zip(pictures, (7, 9, 30), strict=True):  # a variable frame rate
        frame.pts, frame.time_base = pts, Fraction(1, 1000)
    packets = encode(encoder_for(profile), pictures)
    assert [(p.pts, p.dts, p.time_base) for p in packets] == [(pts, pts, Fraction(1, 1000)) for pts in (7, 9, 30)]


def test_a_decoded_frame_carries_the_time_of_its_packet(profile: Profile) -> None:
    packets = encode(encoder_for(profile), frames(2))
    packets[1].pts, packets[1].time_base = 123, Fraction(1, 90000)
    shown = decode(profile, packets)
    assert [(f.pts, f.time_base) for f in shown] == [(0, Fraction(1, 25)), (123, Fraction(1, 90000))]


def test_frames_without_a_time_are_counted_at_the_frame_rate(profile: Profile) -> None:
    pictures = [rgb_frame(picture(64, 64)) for _ in range(3)]
    assert [f.pts for f in pictures] == [None, None, None]
    packets = encode(encoder_for(profile, 64, 64), pictures)
    assert [(p.pts, p.time_base, p.duration) for p in packets] == [(n, Fraction(1, 25), 1) for n in range(3)]


def test_the_duration_is_one_frame_of_the_rate_in_the_time_base_of_the_frame(profile: Profile) -> None:
    frame = rgb_frame(picture(64, 64))
    frame.pts, frame.time_base = 0, Fraction(1, 12800)
    (packet,) = encoder_for(profile, 64, 64).encode(frame)
    assert packet.duration == 512


def test_the_duration_of_a_frame_without_a_time_is_one_frame(profile: Profile) -> None:
    frame = rgb_frame(picture(64, 64))  # as a raw H.264 file gives them: a duration, but no time
    frame.time_base, frame.duration = Fraction(1, 1200000), 48000
    (packet,) = encoder_for(profile, 64, 64).encode(frame)
    assert (packet.pts, packet.time_base, packet.duration) == (0, Fraction(1, 25), 1)


def test_decoded_frames_are_planar_rgb_of_full_range(profile: Profile) -> None:
    (shown,) = decode(profile, encode(encoder_for(profile), frames(1)))
    assert (shown.format.name, int(shown.color_range), int(shown.colorspace)) == ("gbrp", 2, 0)
    assert isinstance(shown.opaque, FrameOrigin)
    assert shown.opaque.provenance is None


def test_the_stream_tells_size_rate_colour_and_source_format(profile: Profile) -> None:
    frame = rgb_frame(picture(96, 80)).reformat(format="yuv422p")
    frame.colorspace, frame.color_range = 1, 1
    (packet,) = encoder_for(profile).encode(frame)
    header = parse(bytes(packet)).sequence
    assert header is not None
    assert (header.width, header.height, header.rate, header.pixel_format) == (96, 80, RATE, "yuv422p")
    assert (header.colour.matrix, header.colour.range) == (1, 1)
    assert (header.profile, header.profile_hash) == (profile.name, profile.stream_hash)


def test_encoding_leaves_the_frame_as_it_was(profile: Profile) -> None:
    frame = rgb_frame(picture(97, 81), 5).reformat(format="yuv420p")
    frame.pict_type = 1
    before = [bytes(plane) for plane in frame.planes]
    encoder_for(profile, 97, 81).encode(frame)
    assert [bytes(plane) for plane in frame.planes] == before
    assert (frame.pts, frame.format.name, int(frame.pict_type)) == (5, "yuv420p", 1)


# ---- key frames


def test_a_key_frame_comes_every_gop_frames(profile: Profile) -> None:
    packets = encode(encoder_for(profile, gop=3), frames(8))
    assert [p.is_keyframe for p in packets] == [index % 3 == 0 for index in range(8)]
    assert [parse(bytes(p)).index for p in packets] == [index % 3 for index in range(8)]


def test_a_key_frame_on_demand_starts_a_new_group(profile: Profile) -> None:
    encoder = encoder_for(profile, gop=4)
    keys = [encoder.encode(frame, key=index == 2)[0].is_keyframe for index, frame in enumerate(frames(8))]
    assert [index for index, key in enumerate(keys) if key] == [0, 2, 6]


def test_the_key_flag_of_a_packet_is_that_of_its_access_unit(profile: Profile) -> None:
    packets = encode(encoder_for(profile, gop=2), frames(4))
    assert [p.is_keyframe for p in packets] == [parse(bytes(p)).key for p in packets]


def test_only_key_units_carry_the_sequence_header_and_the_quality(profile: Profile) -> None:
    key, other = (parse(bytes(p)) for p in encode(encoder_for(profile), frames(2)))
    assert key.sequence is not None
    assert other.sequence is None
    assert [s.type for s in key.sections] == [SectionType.QUALITY, SectionType.MACHINE]
    assert [s.type for s in other.sections] == [SectionType.MACHINE]


def test_a_p_unit_has_6_bytes_beside_its_machine_section(profile: Profile) -> None:
    _, packet = encode(encoder_for(profile), frames(2))
    payload = parse(bytes(packet)).payload(SectionType.MACHINE)
    assert payload is not None
    assert len(bytes(packet)) - len(payload) == 6


def test_a_frame_behind_one_that_failed_is_a_key_frame(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, pictures = encoder_for(profile), frames(4)

    def full(unit: AccessUnit) -> bytes:
        raise MemoryError(unit.index)

    first = encoder.encode(pictures[0])
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr("duoview.encoder.serialize", full)
        encoder.encode(pictures[1])
    packets = [*first, *encode(encoder, pictures[2:])]
    assert [p.is_keyframe for p in packets] == [True, True, False]
    assert not any(concealed(frame) for frame in decode(profile, packets))


def test_another_quality_takes_effect_within_a_group_of_pictures(profile: Profile) -> None:
    encoder = encoder_for(profile, q=10)
    packets = encode(encoder, frames(2))
    encoder.q = 50
    packets += encode(encoder, frames(4)[2:])
    assert [parse(bytes(p)).payload(SectionType.QUALITY) for p in packets] == [b"\x0a", None, b"\x32", None]
    decoder = Decoder(profile=profile, threads=1, strict=True)
    assert [concealed(frame) for p in packets for frame in decoder.decode(p)] == [False] * 4
    assert decoder.symbols_sha256() == encoder.symbols_sha256()
    with pytest.raises(LimitError, match="q=64"):
        encoder.q = 64


# ---- the end


def test_none_flushes_and_ends_both_sides(profile: Profile) -> None:
    encoder, decoder = encoder_for(profile), Decoder(profile=profile, threads=1)
    (packet,) = encoder.encode(frames(1)[0])
    decoder.decode(packet)
    assert encoder.encode(None) == []
    assert decoder.decode(None) == []
    with pytest.raises(av.EOFError):
        encoder.encode(frames(1)[0])
    with pytest.raises(EOFError):
        decoder.decode(packet)


# ---- pictures of all sizes and formats


@pytest.mark.parametrize(("width", "height"), [(641, 359), (96, 80), (63, 65), (72, 216), (16, 16), (1, 1), (300, 2)])
def test_any_size_comes_back_at_its_size_and_looks_like_its_source(profile: Profile, width: int, height: int) -> None:
    source = picture(width, height)
    packets = encode(encoder_for(profile, width, height, q=60), [rgb_frame(source, 0)])
    (shown,) = decode(profile, packets)
    assert (shown.width, shown.height) == (width, height)
    # A flat grey picture would be 12 to 15 dB away from this photograph.
    assert psnr(shown.to_ndarray(), source) > 20


FORMATS = ["yuv420p", "yuv422p", "yuv444p", "nv12", "yuv420p10le", "yuv422p10le", "yuv444p12le", "p010le", "bgr24",
           "rgba", "gbrp", "gbrp10le", "yuyv422", "rgb48le"]


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_any_pixel_format_is_coded_with_the_colours_it_has(profile: Profile, pixel_format: str) -> None:
    # Smooth colours: halved chroma loses nothing of them.
    rows, columns = np.mgrid[0:64, 0:96]
    source = np.stack([40 + 2 * columns, 200 - 2 * rows, 60 + rows + columns], axis=-1).astype(np.uint8)
    frame = rgb_frame(source, 0).reformat(format=pixel_format)
    encoder = encoder_for(profile, 96, 64, q=60)
    (shown,) = decode(profile, encoder.encode(frame))
    (expected,) = decode(profile, encoder_for(profile, 96, 64, q=60).encode(rgb_frame(source, 0)))
    difference = np.abs(shown.to_ndarray().astype(int) - expected.to_ndarray())
    assert difference.mean() < 2.5


@pytest.mark.parametrize("pixel_format", ["gray", "gray10le", "gray16le"])
def test_grey_pictures_stay_grey_and_keep_their_brightness(profile: Profile, pixel_format: str) -> None:
    source = picture(96, 64).mean(axis=-1).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(source, format="gray").reformat(format=pixel_format)
    (shown,) = decode(profile, encoder_for(profile, 96, 64, q=60).encode(frame))
    array = shown.to_ndarray().astype(float)
    assert abs(array.mean() - source.mean()) < 3
    assert np.abs(array - array.mean(axis=-1, keepdims=True)).mean() < 4


def test_full_range_and_limited_range_of_one_picture_are_coded_alike(profile: Profile) -> None:
    source = picture(96, 64)
    shown = []
    for pixel_format, range_ in (("yuv444p", 1), ("yuv444p", 2), ("yuvj444p", 2)):
        frame = rgb_frame(source, 0).reformat(format=pixel_format, dst_color_range=range_)
        frame.color_range = range_
        (decoded,) = decode(profile, encoder_for(profile, 96, 64, q=60).encode(frame))
        shown.append(decoded.to_ndarray().astype(int))
    assert np.abs(shown[0] - shown[1]).mean() < 2
    assert np.abs(shown[0] - shown[2]).mean() < 2


def test_the_yuv_matrix_of_the_frame_is_respected(profile: Profile) -> None:
    source = np.zeros((64, 64, 3), np.uint8)
    source[...] = (220, 40, 30)
    means = []
    for matrix in (1, 5, 9):  # BT.709, BT.601, BT.2020
        frame = rgb_frame(source, 0).reformat(format="yuv444p", dst_colorspace=matrix)
        frame.colorspace = matrix
        (shown,) = decode(profile, encoder_for(profile, 64, 64, q=60).encode(frame))
        means.append(shown.to_ndarray().reshape(-1, 3).mean(axis=0))
    assert np.abs(means[0] - means[1]).max() < 4
    assert np.abs(means[0] - means[2]).max() < 4
    assert np.abs(means[0] - source[0, 0]).max() < 12


def test_yuv_is_read_without_a_shift_of_brightness_or_colour() -> None:
    frame = rgb_frame(picture(352, 288)).reformat(format="yuv420p")
    rows = ((plane, np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)) for plane in frame.planes)
    y, u, v = (samples[:plane.height, :plane.width].astype(float) for plane, samples in rows)
    luma = (y - 16) * 255 / 219
    blue, red = (np.kron(plane - 128, np.ones((2, 2))) * 255 / 224 for plane in (u, v))
    exact = np.clip([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], 0, 255)
    read = PictureReader().read(frame)[0, :, :288, :352]
    assert np.abs((read - exact).mean(axis=(1, 2))).max() < 0.25


@pytest.mark.parametrize("pixel_format", ["gbrp", "rgb24", "yuv444p"])
def test_a_frame_that_a_filter_turned_over_in_place_is_coded_turned_over(
        profile: Profile, pixel_format: str) -> None:
    # libavfilter's vflip moves no sample: it makes the line size negative.
    source = picture(96, 64)
    graph = av.filter.Graph()
    source_end = graph.add_buffer(width=96, height=64, format=av.VideoFormat(pixel_format), time_base=1 / RATE)
    graph.link_nodes(source_end, graph.add("vflip"), graph.add("buffersink")).configure()
    graph.push(rgb_frame(source, 0).reformat(format=pixel_format))
    turned = graph.pull()
    assert isinstance(turned, av.VideoFrame)
    assert turned.planes[0].line_size < 0
    (shown,) = decode(profile, encoder_for(profile, 96, 64, q=60).encode(turned))
    assert psnr(shown.to_ndarray(), source[::-1]) > psnr(shown.to_ndarray(), source) + 5


def test_a_frame_of_another_size_starts_a_new_sequence(profile: Profile) -> None:
    encoder = encoder_for(profile)
    packets = encode(encoder, [*frames(2), *frames(2, 64, 112)])
    assert [p.is_keyframe for p in packets] == [True, False, True, False]
    header = parse(bytes(packets[2])).sequence
    assert header is not None
    assert (header.width, header.height) == (64, 112)
    assert [(f.width, f.height) for f in decode(profile, packets)] == [(96, 80), (96, 80), (64, 112), (64, 112)]


# ---- quality


def test_a_higher_q_costs_more_bytes_and_is_closer_to_the_source(profile: Profile) -> None:
    source = picture(256, 192)
    sizes, quality = [], []
    for q in (0, 16, 32, 48, 63):
        (packet,) = encoder_for(profile, 256, 192, q=q).encode(rgb_frame(source, 0))
        (shown,) = decode(profile, [packet])
        sizes.append(len(bytes(packet)))
        quality.append(psnr(shown.to_ndarray(), source))
    assert sizes == sorted(sizes)
    assert quality == sorted(quality)
    assert sizes[-1] > 4 * sizes[0]
    assert quality[-1] > quality[0] + 3


@pytest.mark.parametrize("options", [{"q": 64}, {"q": -1}, {"gop": 0}, {"rate": 0}, {"width": 0}, {"height": 16385},
                                     {"width": 16384, "height": 16384}])
def test_an_impossible_setting_is_refused_with_its_value(profile: Profile, options: dict[str, int]) -> None:
    arguments: dict[str, Any] = {"width": 64, "height": 64, **options}
    with pytest.raises(LimitError, match=str(next(iter(options.values())))):
        Encoder(profile=profile, **arguments)


def test_a_frame_that_is_too_large_is_refused_before_it_is_coded(profile: Profile) -> None:
    encoder = Encoder(64, 64, profile=profile, threads=1, max_pixels=64 * 64)
    with pytest.raises(LimitError, match="96x80"):
        encoder.encode(frames(1)[0])
    assert encoder.encode(rgb_frame(picture(64, 64), 0))[0].is_keyframe


# ---- seeking and lost units


def test_after_a_reset_units_are_skipped_up_to_the_next_key_frame(profile: Profile) -> None:
    packets = encode(encoder_for(profile, gop=4), frames(8))
    decoder = Decoder(profile=profile, threads=1)
    played = [decoder.decode(packet)[0].to_ndarray() for packet in packets]
    decoder.reset()
    sought = [decoder.decode(packet) for packet in packets[2:]]
    assert [len(group) for group in sought] == [0, 0, 1, 1, 1, 1]
    assert decoder.stats.skipped == 2
    assert all(np.array_equal(group[0].to_ndarray(), expected) for group, expected in
               zip(sought[2:], played[4:], strict=True))


def test_decoding_that_starts_between_key_frames_waits_for_one(profile: Profile) -> None:
    packets = encode(encoder_for(profile, gop=3), frames(4))
    decoder = Decoder(profile=profile, threads=1)
    assert [len(decoder.decode(packet)) for packet in packets[1:]] == [0, 0, 1]
    assert decoder.stats.skipped == 2


def test_a_missing_p_unit_conceals_until_the_next_key_frame(profile: Profile) -> None:
    packets = encode(encoder_for(profile, gop=5), frames(7))
    decoder = Decoder(profile=profile, threads=1)
    shown = [decoder.decode(packet)[0] for index, packet in enumerate(packets) if index != 2]
    assert [concealed(frame) for frame in shown] == [False, False, True, True, False, False]
    assert np.array_equal(shown[2].to_ndarray(), shown[1].to_ndarray())
    assert (decoder.stats.decoded, decoder.stats.concealed) == (4, 2)


def test_a_missing_group_of_pictures_is_noticed_though_the_frame_index_goes_on(profile: Profile) -> None:
    packets = encode(encoder_for(profile, gop=2), frames(6))
    decoder = Decoder(profile=profile, threads=1)
    # Of the units K P K P K P the second and third are lost: index 0 is followed by index 1, of another key unit.
    shown = [concealed(frame) for p in (packets[0], *packets[3:]) for frame in decoder.decode(p)]
    assert shown == [False, True, False, False]
    assert "units between are missing" in decoder.stats.last_damage


def test_discarded_units_give_no_frame_and_later_ones_are_the_same(profile: Profile) -> None:
    packets = encode(encoder_for(profile), frames(4))
    decoder = Decoder(profile=profile, threads=1, strict=True)
    assert [decoder.decode(p, discard=True) for p in packets[:3]] == [[], [], []]
    (shown,) = decoder.decode(packets[3])
    assert np.array_equal(shown.to_ndarray(), decode(profile, packets)[3].to_ndarray())


def test_a_frame_concealed_behind_discarded_units_shows_the_last_of_them(profile: Profile) -> None:
    packets = encode(encoder_for(profile), frames(3))
    decoder = Decoder(profile=profile, threads=1)
    assert [decoder.decode(p, discard=True) for p in packets[:2]] == [[], []]
    (shown,) = decoder.decode(b"damage")
    assert concealed(shown)
    assert np.array_equal(shown.to_ndarray(), decode(profile, packets)[1].to_ndarray())


def test_a_human_view_runs_no_diffusion_for_discarded_units(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    packets = encode(encoder_for(profile), frames(3))
    decoder = Decoder(profile=profile, threads=1, view="human", steps=1, strict=True)
    made: list[int] = []
    latent = HumanView.latent

    def counted(view: HumanView, z_m: Floats, q: int, *more: Hints) -> Floats:
        made.append(q)
        return latent(view, z_m, q, *more)

    monkeypatch.setattr(HumanView, "latent", counted)
    for p in packets:
        decoder.decode(p, discard=p is not packets[2])
    assert made == [24]


def test_a_concealed_frame_has_the_time_of_its_own_packet(profile: Profile) -> None:
    packets = encode(encoder_for(profile), frames(4))
    decoder = Decoder(profile=profile, threads=1)
    shown = [decoder.decode(packet)[0] for packet in (packets[0], packets[2], packets[3])]
    assert [frame.pts for frame in shown] == [0, 2, 3]


# ---- what else may stand in a unit


def test_unknown_droppable_sections_change_nothing(profile: Profile) -> None:
    packets = encode(encoder_for(profile), frames(2))
    plain = decode(profile, packets)
    units = [parse(bytes(packet)) for packet in packets]
    extended = [serialize(dataclasses.replace(unit, sections=(*unit.sections, Section(100, None, b"private"))))
                for unit in units]
    assert all(np.array_equal(a.to_ndarray(), b.to_ndarray())
               for a, b in zip(decode(profile, extended), plain, strict=True))


def test_units_decode_the_same_from_bytes_as_from_packets(profile: Profile) -> None:
    packets = encode(encoder_for(profile), frames(2))
    shown = decode(profile, [bytes(packet) for packet in packets])
    assert all(np.array_equal(a.to_ndarray(), b.to_ndarray())
               for a, b in zip(shown, decode(profile, packets), strict=True))


@pytest.mark.parametrize("junk", [b"", b"\xd5", b"RIFF....AVI LIST", bytes(4096)])
def test_what_is_no_access_unit_is_damage_not_a_crash(profile: Profile, junk: bytes) -> None:
    decoder = Decoder(profile=profile, threads=1)
    assert decoder.decode(junk) == []
    assert decoder.stats.damaged == 1
    with pytest.raises(Error):
        Decoder(profile=profile, threads=1, strict=True).decode(junk)


def test_one_decoder_decodes_streams_one_after_the_other(profile: Profile) -> None:
    first, second = encode(encoder_for(profile), frames(2)), encode(encoder_for(profile, 64, 64), frames(2, 64, 64))
    decoder = Decoder(profile=profile, threads=1)
    shown = [decoder.decode(packet)[0] for packet in (*first, *second)]
    assert [(f.width, f.height) for f in shown] == [(96, 80), (96, 80), (64, 64), (64, 64)]
    assert not any(concealed(frame) for frame in shown)


def test_two_decoders_do_not_disturb_each_other(profile: Profile) -> None:
    first, second = encode(encoder_for(profile), frames(3)), encode(encoder_for(profile, q=50), frames(3))
    a, b = Decoder(profile=profile, threads=1), Decoder(profile=profile, threads=1)
    mixed = [(a.decode(one)[0].to_ndarray(), b.decode(two)[0].to_ndarray())
             for one, two in zip(first, second, strict=True)]
    alone = decode(profile, first)
    assert all(np.array_equal(pair[0], frame.to_ndarray()) for pair, frame in zip(mixed, alone, strict=True))
    assert not np.array_equal(mixed[0][0], mixed[0][1])
