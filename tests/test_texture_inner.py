"""Texture beside an inner codec: on key units, cut and lost as beside the neural one, never in the way of pictures."""

from __future__ import annotations

import dataclasses
import itertools
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

from duoview import BitstreamError, Decoder, Depths, Encoder, InnerSettings, LimitError, Profile, TextureSettings
from duoview.access_unit import AccessUnit, SectionType, parse, parse_header, serialize
from duoview.inner.payload import KeyHeader, write_key
from duoview.inner.settings import InnerCodec
from duoview.picture import padded
from duoview.sequence import MachineCodec
from duoview.texture.block_means import MEANS, block_means
from duoview.texture.cutting import TextureCutter

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
DEPTH = FILES.DEPTH
WIDTH, HEIGHT, COUNT, GOP = 150, 100, 9, 6
PHOTOGRAPH = data.astronaut()
Pictures = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


def source(number: int) -> NDArray[np.uint8]:
    """A photograph before which a part of itself moves, to the right."""
    picture: NDArray[np.uint8] = PHOTOGRAPH[40:40 + HEIGHT, 130:130 + WIDTH].copy()
    picture[20:50, 4 * number:30 + 4 * number] = PHOTOGRAPH[300:330, 200:230]
    return picture


def encode(profile: Profile, texture: TextureSettings | int | None, **inner: Any) -> list[av.Packet]:
    settings = InnerSettings(**{"codec": "hevc", "simplify": "off", "threads": 1, **inner})
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=20, gop=GOP, profile=profile, threads=1, machine="inner",
                      inner=settings, texture=texture)
    packets = []
    for number in range(COUNT):
        frame = av.VideoFrame.from_ndarray(source(number), format="rgb24")
        frame.pts, frame.time_base = 100 * number, Fraction(1, 2500)
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


TEXTURE = TextureSettings(Depths(DEPTH), tile_log2=3)


@pytest.fixture(scope="module")
def packets(profile: Profile) -> list[av.Packet]:
    """Reordered pictures, and key units that refer to a background."""
    return encode(profile, TEXTURE)


def altered(packets: Sequence[av.Packet], change: Any) -> list[av.Packet]:
    """Packets whose units went through ``change``, from unit to unit or bytes, with the same times."""
    found = []
    for packet in packets:
        made = change(parse(bytes(packet)))
        copy = av.Packet(made if isinstance(made, bytes) else serialize(made))
        copy.pts, copy.dts, copy.time_base, copy.is_keyframe = (
            packet.pts, packet.dts, packet.time_base, packet.is_keyframe)
        found.append(copy)
    return found


def pictures(decoder: Decoder, packets: Sequence[av.Packet]) -> Pictures:
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    assert all((a.pts or 0) < (b.pts or 0) for a, b in itertools.pairwise(frames))
    return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]


def view(profile: Profile, packets: Sequence[av.Packet], name: str = "texture", **options: Any) -> Pictures:
    return pictures(Decoder(profile=profile, threads=1, view=name, strict=True, **options), packets)


def same(a: Pictures, b: Pictures) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def texture_sections(unit: AccessUnit) -> int:
    return sum(section.type == SectionType.TEXTURE for section in unit.sections)


def test_key_units_and_no_others_carry_texture(packets: list[av.Packet]) -> None:
    units = [parse(bytes(packet)) for packet in packets]
    assert [unit.key for unit in units].count(True) == 2
    assert all(bool(texture_sections(unit)) == unit.key for unit in units)
    assert any(unit.payload(SectionType.BACKGROUND) for unit in units)
    times = [packet.pts or 0 for packet in packets]
    assert times != sorted(times)


def test_without_texture_sections_it_is_the_stream_that_has_none(profile: Profile, packets: list[av.Packet]) -> None:
    plain = encode(profile, None)
    cutter = TextureCutter(Depths(0))
    assert [bytes(one) for one in altered(packets, cutter.cut)] == [bytes(one) for one in plain]
    assert same(view(profile, packets, "machine"), view(profile, plain, "machine"))
    assert same(view(profile, packets, texture=0), view(profile, plain, "machine"))


@pytest.mark.parametrize("fill", ["mean", "sample"])
def test_a_cut_stream_decodes_as_the_whole_one_at_most_that_deep(
        profile: Profile, packets: list[av.Packet], fill: str) -> None:
    seen = []
    for depths in (Depths(1), Depths(2, ((0, 4), (2, 0)))):
        shown = view(profile, altered(packets, TextureCutter(depths).cut), fill=fill)
        assert same(shown, view(profile, packets, texture=depths, fill=fill))
        seen.append(shown[0].tobytes())
    assert len({*seen, view(profile, packets, "machine")[0].tobytes()}) == 3


def test_texture_brings_the_key_frames_nearer_to_the_source(profile: Profile, packets: list[av.Packet]) -> None:
    errors = {name: [np.square(picture.astype(float) - source(number)).mean()
                     for number, picture in enumerate(view(profile, packets, name))] for name in ("machine", "texture")}
    assert errors["texture"][0] < errors["machine"][0] and errors["texture"][6] < errors["machine"][6]


def test_texture_stays_where_the_picture_does_and_nowhere_else(profile: Profile, packets: list[av.Packet]) -> None:
    machine, texture = view(profile, packets, "machine"), view(profile, packets)
    changed = [np.abs(a.astype(int) - b).max(2) > 0 for a, b in zip(machine, texture, strict=True)]
    assert changed[0].mean() > 0.5 and changed[5].any()
    # What moves covers columns 20 to 50 in frame 5, and left those from 0 on.
    assert changed[5][24:48, 24:46].mean() < 0.05 < changed[5][:, 80:].mean()


def test_zero_latency_streams_carry_texture_too(profile: Profile) -> None:
    settings = {"latency": "zero", "background": 0.0, "codec": "h264"}
    units = encode(profile, TEXTURE, **settings)
    assert len(units) == COUNT and len(view(profile, units)) == COUNT


def test_pictures_that_are_coded_smaller_carry_texture_of_the_full_size(profile: Profile) -> None:
    units = encode(profile, TEXTURE, scale=0.6)
    shown, machine = view(profile, units), view(profile, units, "machine")
    assert shown[0].shape == (HEIGHT, WIDTH, 3) and not np.array_equal(shown[0], machine[0])


def test_seeking_gives_what_playing_gives(profile: Profile, packets: list[av.Packet]) -> None:
    second = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
    carried = parse(bytes(packets[0])).payload(SectionType.BACKGROUND)
    assert carried is not None
    decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
    played = pictures(decoder, packets)
    decoder.reset()
    assert same(pictures(decoder, packets[second:]), played[GOP:])


def test_a_damaged_section_costs_its_depth_and_no_picture(profile: Profile, packets: list[av.Packet]) -> None:
    entry = [one for one in parse_header(bytes(packets[0])).entries if one.type == SectionType.TEXTURE][-1]
    broken = altered(packets[:1], lambda _: with_damaged_texture(packets[0])) + packets[1:]
    decoder = Decoder(profile=profile, threads=1, view="texture")
    shown = pictures(decoder, broken)
    assert decoder.stats.texture_refused == 1 and decoder.stats.damaged == 0
    limit = Depths(DEPTH, (((entry.sub_index or 0) & 65535, DEPTH - 1),))
    assert np.array_equal(shown[0], view(profile, packets, texture=limit)[0])
    assert same(view(profile, broken, "machine"), view(profile, packets, "machine"))
    with pytest.raises(BitstreamError, match=f"depth {DEPTH}"):
        pictures(Decoder(profile=profile, threads=1, view="texture", strict=True), broken)


def with_damaged_texture(packet: av.Packet) -> bytes:
    """One bit of the unit's deepest texture is another."""
    unit = bytearray(bytes(packet))
    unit[[one for one in parse_header(bytes(unit)).entries if one.type == SectionType.TEXTURE][-1].offset] ^= 1
    return bytes(unit)


def test_a_strict_decoder_raises_for_damaged_texture_and_gives_every_picture_with_the_next_calls(
        profile: Profile, packets: list[av.Packet]) -> None:
    broken = [altered([one], lambda _, one=one: with_damaged_texture(one))[0] if one.is_keyframe else one
              for one in packets]
    decoder, told, frames = Decoder(profile=profile, threads=1, view="texture", strict=True), 0, []
    for packet in [*broken, None, None]:
        try:
            frames += decoder.decode(packet)
        except BitstreamError:
            told += 1
        except av.EOFError:
            assert packet is None
    lenient = Decoder(profile=profile, threads=1, view="texture")
    shown = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]
    assert same(shown, pictures(lenient, broken))
    assert told == lenient.stats.texture_refused == 2 and decoder.stats.damaged == 0


def test_a_flush_that_raises_is_not_over(profile: Profile, packets: list[av.Packet]) -> None:
    decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
    assert decoder.decode(with_damaged_texture(packets[0])) == []  # its picture waits for the others'
    with pytest.raises(BitstreamError, match=f"depth {DEPTH}"):
        decoder.decode(None)
    assert len(decoder.decode(None)) == 1
    with pytest.raises(av.EOFError):
        decoder.decode(None)


def test_a_lost_key_unit_leaves_its_group_without_texture_and_the_next_one_whole(
        profile: Profile, packets: list[av.Packet]) -> None:
    decoder = Decoder(profile=profile, threads=1, view="texture")
    second = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
    torn = altered(packets[second:second + 1], lambda unit: dataclasses.replace(unit, sections=tuple(
        section for section in unit.sections if section.type != SectionType.INNER)))
    frames = [frame for packet in [*packets[:second], *torn, *packets[second + 1:], *packets]
              for frame in decoder.decode(packet)] + decoder.decode(None)
    assert decoder.stats.damaged == 1
    assert np.array_equal(frames[-COUNT].to_ndarray(format="rgb24"), view(profile, packets)[0])


def test_a_frame_that_is_refused_takes_no_other_ones_place(profile: Profile, packets: list[av.Packet]) -> None:
    settings = InnerSettings(codec="hevc", simplify="off", threads=1)
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=20, gop=GOP, profile=profile, threads=1, machine="inner",
                      inner=settings, texture=TEXTURE)
    found = []
    for number in range(COUNT):
        frame = av.VideoFrame.from_ndarray(source(number), format="rgb24")
        frame.pts, frame.time_base = 100 * number, Fraction(1, 2500)
        found += encoder.encode(frame)
        again = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
        again.pts, again.time_base = frame.pts, frame.time_base
        with pytest.raises(LimitError, match="ascending time"):
            encoder.encode(again)
    found += encoder.encode(None)
    assert [bytes(one) for one in found] == [bytes(one) for one in packets]


def with_inner(unit: AccessUnit, payload: bytes) -> bytes:
    """A unit with another inner section, and no background."""
    return serialize(dataclasses.replace(unit, sections=tuple(
        dataclasses.replace(section, payload=payload) if section.type == SectionType.INNER else section
        for section in unit.sections if section.type != SectionType.BACKGROUND)))


def test_a_picture_without_block_means_is_shown_without_texture(profile: Profile, packets: list[av.Packet]) -> None:
    coder = av.CodecContext.create("libx264rgb", "w")
    assert isinstance(coder, av.VideoCodecContext)
    coder.width, coder.height, coder.pix_fmt, coder.time_base = WIDTH, HEIGHT, "rgb24", Fraction(1, 25)
    coder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    frame = av.VideoFrame.from_ndarray(source(0), format="rgb24")
    data_ = b"".join(bytes(one) for one in [*coder.encode(frame), *coder.encode(None)])
    unit = with_inner(parse(bytes(packets[0])), write_key(KeyHeader(InnerCodec.H264, WIDTH, HEIGHT), data_, WIDTH,
                                                          HEIGHT))
    shown = {}
    for name in ("machine", "texture"):
        decoder = Decoder(profile=profile, threads=1, view=name)
        (one,) = [*decoder.decode(unit), *decoder.decode(None)]
        shown[name] = one.to_ndarray(format="rgb24")
    assert np.array_equal(shown["machine"], shown["texture"])
    assert decoder.stats.texture_refused == 1 and "gbrp" in decoder.stats.last_texture_fault


def test_key_units_that_make_no_picture_are_not_kept(profile: Profile, packets: list[av.Packet]) -> None:
    payload = write_key(KeyHeader(InnerCodec.H264, WIDTH, HEIGHT), b"\0\0\0\1\x65" + b"\x77" * 40, WIDTH, HEIGHT)
    unit = with_inner(parse(bytes(packets[0])), payload)
    decoder = Decoder(profile=profile, threads=1, view="texture")
    for _ in range(5):
        decoder.decode(unit)
    assert decoder.stats.damaged == 5
    coming = decoder._inner_texture
    assert coming is not None and not coming._coming
    # Nor for ever where the standard decoder complains of nothing.
    for group in range(100):
        coming.expect(parse(bytes(packets[0])), group, None, 20)
    assert len(coming._coming) < 40
    kept = next(iter(coming._coming.values()))[0]
    assert kept.payload(SectionType.INNER) is None and texture_sections(kept)


def test_a_bit_rate_cuts_the_texture_of_key_units(profile: Profile, packets: list[av.Packet]) -> None:
    less = encode(profile, TextureSettings(Depths(DEPTH), tile_log2=3, bit_rate=8000))
    assert 0 < sum(texture_sections(parse(bytes(one))) for one in less) < sum(
        texture_sections(parse(bytes(one))) for one in packets)
    assert len(view(profile, less)) == COUNT


def test_texture_in_all_frames_belongs_to_the_neural_codec(profile: Profile) -> None:
    with pytest.raises(LimitError, match="frames='all' with machine='inner'"):
        encode(profile, TextureSettings(Depths(2), frames="all"))
    with pytest.raises(ValueError, match="restore=True"):
        Decoder(profile=profile, view="texture", restore=True)


def test_the_sequence_header_says_which_codec_and_which_palettes(packets: list[av.Packet]) -> None:
    sequence = parse(bytes(packets[0])).sequence
    assert sequence is not None and sequence.machine_codec is MachineCodec.INNER
    assert (sequence.palette.groups, sequence.palette.depth, sequence.palette.tile_log2) == (FILES.GROUPS, DEPTH, 3)


# ---- block means


def naive_means(planes: Sequence[NDArray[np.int64]], size: tuple[int, int]) -> NDArray[np.int64]:
    """After docs/bitstream.md, number by number."""
    width, height = size
    rows, columns = padded(height) // 16, padded(width) // 16
    found = np.zeros((MEANS, rows, columns), np.int64)
    start = 0
    for plane, block in zip(planes, (2, 8, 8), strict=True):
        each, (tall, wide) = 16 // block, plane.shape
        for row in range(rows * each):
            for column in range(columns * each):
                i, j = min(row, -(-height // block) - 1), min(column, -(-width // block) - 1)
                top, left = i * block * tall // height, j * block * wide // width
                below = max(min((i + 1) * block, height) * tall // height, top + 1)
                right = max(min((j + 1) * block, width) * wide // width, left + 1)
                part = plane[top:below, left:right]
                at = start + row % each * each + column % each
                found[at, row // each, column // each] = (2 * int(part.sum()) + part.size) // (2 * part.size) - 128
        start += each * each
    return found


@pytest.mark.parametrize(("coded", "size"), [((64, 64), (64, 64)), ((50, 38), (50, 38)), ((34, 22), (70, 45))])
def test_block_means_are_what_the_format_says(coded: tuple[int, int], size: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (96, 64), dtype=np.uint8), format="yuv420p")
    samples = frame.to_ndarray().astype(np.int64)
    half = (-(-coded[1] // 2), -(-coded[0] // 2))
    planes = [samples[:coded[1], :coded[0]], samples[64:80].reshape(32, 32)[:half[0], :half[1]],
              samples[80:].reshape(32, 32)[:half[0], :half[1]]]
    assert np.array_equal(block_means(frame, coded, size)[0], naive_means(planes, size))


def test_deep_samples_count_by_their_highest_bits_and_grey_has_no_chroma() -> None:
    random = np.random.default_rng(2)
    grey = random.integers(0, 256, (64, 64), dtype=np.uint8)
    found = block_means(av.VideoFrame.from_ndarray(grey, format="gray"), (64, 64), (64, 64))
    assert (found[0, 64:] == 0).all() and found[0, :64].any()
    deep = grey.astype(np.uint16) * 4 + random.integers(0, 4, grey.shape).astype(np.uint16)
    assert np.array_equal(block_means(av.VideoFrame.from_ndarray(deep, format="gray10le"), (64, 64), (64, 64)), found)


@pytest.mark.parametrize("name", ["rgb24", "yuyv422", "ya8", "monow", "grayf32le", "nv12"])
def test_pictures_that_are_not_planar_yuv_or_grey_have_no_block_means(name: str) -> None:
    with pytest.raises(LimitError, match=name):
        block_means(av.VideoFrame(64, 64, name), (64, 64), (64, 64))
