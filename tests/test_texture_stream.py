"""Texture in streams: cuts equal limits, losses cost what depends on them, and never the machine view."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import runpy
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

from duoview import (
    BitstreamError,
    Decoder,
    Depths,
    Encoder,
    FrameOrigin,
    LimitError,
    Profile,
    ProfileError,
    TextureSettings,
)
from duoview.access_unit import AccessUnit, Section, SectionType, parse, parse_header, serialize
from duoview.backends import open_backend
from duoview.machine import MachineLayer
from duoview.picture import PictureReader
from duoview.texture.cutting import TextureCutter
from duoview.texture.decoder import TextureDecoder
from duoview.texture.geometry import depth_and_tile, sub_index

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
DEPTH = FILES.DEPTH
WIDTH, HEIGHT, GOP = 150, 100, 5
PHOTOGRAPH = data.astronaut()
#: Without shrinking and explaining: every example decodes whole streams, and a failure would take minutes.
PHASES = (Phase.explicit, Phase.generate)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


def frame(number: int, *, still: bool = False) -> av.VideoFrame:
    """A photograph before which a part of itself moves."""
    picture = PHOTOGRAPH[40:40 + HEIGHT, 130:130 + WIDTH].copy()
    if not still:
        picture[20:60, 10 + 8 * number:50 + 8 * number] = PHOTOGRAPH[300:340, 200:240]
    made = av.VideoFrame.from_ndarray(picture, format="rgb24")
    made.pts, made.time_base = number, Fraction(1, 25)
    return made


def encode(profile: Profile, texture: TextureSettings | int, *, count: int = 7, still: bool = False, q: int = 20
           ) -> list[bytes]:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=q, gop=GOP, profile=profile, threads=1, texture=texture)
    return [bytes(packet) for number in range(count) for packet in encoder.encode(frame(number, still=still))]


def settings_for(frames: str, **more: int) -> TextureSettings:
    return TextureSettings(Depths(DEPTH), frames=frames, tile_log2=3, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def streams(profile: Profile) -> dict[str, list[bytes]]:
    return {frames: encode(profile, settings_for(frames)) for frames in ("key", "all")}


def picture_of(shown: av.VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(shown.to_ndarray(), np.uint8)


@functools.cache
def decoder_of(profile: Profile, view: str, texture: Depths | int | None, fill: str, threads: int) -> Decoder:
    """One decoder of a kind: loading networks takes longer than a small stream."""
    return Decoder(profile=profile, threads=threads, view=view, texture=texture, fill=fill)


def pictures(profile: Profile, units: Sequence[bytes], *, view: str = "texture", texture: Depths | int | None = None,
             fill: str = "mean", threads: int = 1) -> list[NDArray[np.uint8]]:
    decoder = decoder_of(profile, view, texture if view == "texture" else None, fill, threads)
    decoder.reset()
    return [picture_of(one) for unit in units for one in decoder.decode(unit)]


def same(a: Sequence[NDArray[np.uint8]], b: Sequence[NDArray[np.uint8]]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def cut(units: Sequence[bytes], depths: Depths) -> list[bytes]:
    cutter = TextureCutter(depths)
    return [serialize(cutter.cut(parse(unit))) for unit in units]


class Nodes:
    """A texture decoder of a stream, and what it knows of every tile after every unit. Made anew for every stream."""

    def __init__(self, profile: Profile) -> None:
        self.decoder = Decoder(profile=profile, threads=1, view="texture")

    def after(self, unit: bytes) -> list[tuple[int, NDArray[np.uint8]]]:
        self.decoder.decode(unit)
        texture = self.decoder._texture
        assert isinstance(texture, TextureDecoder)
        return [(state.depth, state.nodes.copy()) for state in texture.states]


# ---- cuts


@pytest.mark.parametrize("frames", ["key", "all"])
@pytest.mark.parametrize("fill", ["mean", "sample"])
def test_a_cut_stream_decodes_as_the_whole_one_at_most_that_deep(
        profile: Profile, streams: dict[str, list[bytes]], frames: str, fill: str) -> None:
    seen = []
    for depth in range(1, DEPTH + 1):
        shown = pictures(profile, cut(streams[frames], Depths(depth)), fill=fill)
        assert same(shown, pictures(profile, streams[frames], texture=depth, fill=fill))
        seen.append(shown[0].tobytes())
    assert len(set(seen)) == DEPTH


@pytest.mark.parametrize("fill", ["mean", "sample"])
def test_tiles_are_cut_each_for_itself(profile: Profile, streams: dict[str, list[bytes]], fill: str) -> None:
    depths = Depths.parse("1,0=4,2=0,5=3")
    assert same(pictures(profile, cut(streams["all"], depths), fill=fill),
                pictures(profile, streams["all"], texture=depths, fill=fill))


@settings(max_examples=6, phases=PHASES)
@given(seed=st.integers(0, 1 << 30), depth=st.integers(1, DEPTH), fill=st.sampled_from(["mean", "sample"]))
def test_a_cut_equals_a_limit_where_sections_are_lost_too(
        profile: Profile, streams: dict[str, list[bytes]], seed: int, depth: int, fill: str) -> None:
    random = np.random.default_rng(seed)
    left = [serialize(dataclasses.replace(unit, sections=tuple(
        section for section in unit.sections if section.type != SectionType.TEXTURE or random.random() < 0.7)))
        for unit in map(parse, streams["all"])]
    assert same(pictures(profile, cut(left, Depths(depth)), fill=fill),
                pictures(profile, left, texture=depth, fill=fill))


def test_a_cut_hides_no_damage(profile: Profile) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=20, gop=9, profile=profile, threads=1, texture=settings_for("key"))
    units = []
    for number, q in enumerate((20, 20, 40)):
        encoder.q = q
        units += [bytes(packet) for packet in encoder.encode(frame(number))]
    for number, type_ in ((2, SectionType.QUALITY), (0, SectionType.TEXTURE)):
        unit = bytearray(units[number])
        place = next(entry.offset for entry in parse_header(units[number]).entries if entry.type == type_)
        unit[place] ^= 1
        with pytest.raises(BitstreamError, match=f"section of type {int(type_)}: CRC"):
            cut([units[0], bytes(unit)], Depths(1))
        if type_ == SectionType.TEXTURE:
            assert cut([bytes(unit)], Depths(0)) == cut(units[:1], Depths(0))


@pytest.mark.parametrize("frames", ["key", "all"])
def test_depth_0_is_the_machine_view_and_a_stream_without_texture(
        profile: Profile, streams: dict[str, list[bytes]], frames: str) -> None:
    plain = Encoder(WIDTH, HEIGHT, rate=25, q=20, gop=GOP, profile=profile, threads=1)
    without = [bytes(packet) for number in range(7) for packet in plain.encode(frame(number))]
    assert cut(streams[frames], Depths(0)) == without
    machine = pictures(profile, without, view="machine")
    assert same(machine, pictures(profile, streams[frames], view="machine"))
    assert same(machine, pictures(profile, streams[frames], texture=0))


def test_less_texture_is_the_same_stream_cut(profile: Profile, streams: dict[str, list[bytes]]) -> None:
    for frames in ("key", "all"):
        less = encode(profile, TextureSettings(Depths(2), frames=frames, tile_log2=3))
        assert less == cut(streams[frames], Depths(2))


def test_the_last_units_byte_may_be_missing_from_anywhere_in_its_texture(
        profile: Profile, streams: dict[str, list[bytes]]) -> None:
    unit = streams["key"][0]
    first = len(cut([unit], Depths(0))[0]) + 200
    for end in range(first, len(unit), 97):
        decoder = Decoder(profile=profile, threads=1, view="texture")
        assert len(decoder.decode(unit[:end])) == 1
        assert decoder.stats.damaged == 0 and decoder.stats.texture_refused > 0


# ---- losses


@pytest.mark.parametrize("frames", ["key", "all"])
@settings(max_examples=6, phases=PHASES)
@given(seed=st.integers(0, 1 << 30))
def test_any_subset_of_sections_gives_true_nodes_or_none(
        profile: Profile, streams: dict[str, list[bytes]], frames: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    loss = random.choice([0.02, 0.1, 0.5])
    whole, part = Nodes(profile), Nodes(profile)
    machine = Decoder(profile=profile, threads=1)
    for data_ in streams[frames]:
        unit = parse(data_)
        kept = tuple(section for section in unit.sections
                     if section.type in (SectionType.MACHINE, SectionType.QUALITY) or random.random() >= loss)
        left = serialize(dataclasses.replace(unit, sections=kept))
        true, found = whole.after(data_), part.after(left)
        sent = {depth_and_tile(section.sub_index or 0)[1] for section in kept if section.type == SectionType.TEXTURE}
        for tile in sent:
            (depth, nodes), (_, leaves) = found[tile], true[tile]
            assert depth == 0 or (nodes == leaves >> DEPTH - depth).all()
        assert len(machine.decode(left)) == 1 and machine.stats.concealed == 0


def reachable(unit: AccessUnit, tile: int) -> int:
    """How deep the sections of a tile in a key unit reach without a gap."""
    depth = 0
    while unit.payload(SectionType.TEXTURE, sub_index(depth + 1, tile)) is not None:
        depth += 1
    return depth


@settings(max_examples=6, phases=PHASES)
@given(seed=st.integers(0, 1 << 30))
def test_a_key_unit_decodes_every_tile_as_deep_as_its_sections_reach(
        profile: Profile, streams: dict[str, list[bytes]], seed: int) -> None:
    random = np.random.default_rng(seed)
    unit = parse(streams["key"][0])
    left = dataclasses.replace(unit, sections=tuple(
        section for section in unit.sections if section.type != SectionType.TEXTURE or random.random() < 0.8))
    tiles = len(Nodes(profile).after(streams["key"][0]))
    limit = Depths(0, tuple((tile, reachable(left, tile)) for tile in range(tiles)))
    assert same(pictures(profile, [serialize(left)]), pictures(profile, [streams["key"][0]], texture=limit))


def with_payload(unit: AccessUnit, wanted: Section, payload: bytes) -> AccessUnit:
    return dataclasses.replace(unit, sections=tuple(
        dataclasses.replace(section, payload=payload) if section is wanted else section for section in unit.sections))


@settings(max_examples=10, phases=PHASES)
@given(seed=st.integers(0, 1 << 30))
def test_sections_with_wrong_contents_never_reach_another_tile_or_the_machine_view(
        profile: Profile, streams: dict[str, list[bytes]], seed: int) -> None:
    """The checksums are right here: somebody wrote these sections."""
    random = np.random.default_rng(seed)
    unit = parse(streams["all"][0])
    chosen = [section for section in unit.sections if section.type == SectionType.TEXTURE]
    section = chosen[random.integers(len(chosen))]
    payload = bytearray(section.payload)
    for _ in range(random.integers(1, 4)):
        payload[random.integers(len(payload))] = random.integers(256)
    broken = serialize(with_payload(unit, section, bytes(payload)))
    depth, tile = depth_and_tile(section.sub_index or 0)
    whole, part = Nodes(profile), Nodes(profile)
    for number, ((_, leaves), (found, nodes)) in enumerate(zip(
            whole.after(streams["all"][0]), part.after(broken), strict=True)):
        if number != tile:
            assert found == DEPTH and (nodes == leaves).all()
        else:
            assert (nodes >> found - min(found, depth - 1) == leaves >> DEPTH - min(found, depth - 1)).all()
    assert same(pictures(profile, [broken], view="machine"), pictures(profile, [streams["all"][0]], view="machine"))


def test_damaged_bytes_of_texture_are_named_and_cost_that_depth_of_that_tile(
        profile: Profile, streams: dict[str, list[bytes]]) -> None:
    unit = bytearray(streams["key"][0])
    section = parse(bytes(unit)).sections[-1]
    depth, tile = depth_and_tile(section.sub_index or 0)
    unit[-8] ^= 1
    decoder = Decoder(profile=profile, threads=1, view="texture")
    (shown,) = decoder.decode(bytes(unit))
    assert decoder.stats.texture_refused == 1
    assert f"depth {depth}, tile {tile}" in decoder.stats.last_texture_fault
    limit = Depths(DEPTH, ((tile, depth - 1),))
    assert same([picture_of(shown)], pictures(profile, [streams["key"][0]], texture=limit))
    with pytest.raises(BitstreamError):
        Decoder(profile=profile, threads=1, view="texture", strict=True).decode(bytes(unit))


def test_a_strict_decoder_loses_no_picture_to_damaged_texture(
        profile: Profile, streams: dict[str, list[bytes]]) -> None:
    units = [bytearray(unit) for unit in streams["all"]]
    units[1][-8] ^= 1
    assert parse(bytes(units[1])).damaged[0].type == SectionType.TEXTURE
    decoder, found = Decoder(profile=profile, threads=1, view="texture", strict=True), []
    for number, unit in enumerate(units):
        if number == 1:
            with pytest.raises(BitstreamError, match="texture"):
                decoder.decode(bytes(unit))
        else:
            try:
                found += decoder.decode(bytes(unit))
            except BitstreamError as error:  # what depended on it, up to the next key unit
                assert "texture" in str(error) and number <= GOP  # the last one with the call behind it
    found += decoder.decode(None)
    assert decoder.stats.damaged == 0 and decoder.stats.concealed == 0
    assert same([picture_of(one) for one in found], pictures(profile, [bytes(unit) for unit in units]))


def test_a_strict_decoder_keeps_no_more_pictures_than_of_one_call_where_every_unit_is_damaged(
        profile: Profile, streams: dict[str, list[bytes]]) -> None:
    units = [bytearray(unit) for unit in streams["all"]]
    for unit in units:
        unit[-8] ^= 1
    decoder, given, told = Decoder(profile=profile, threads=1, view="texture", strict=True), 0, 0
    for number, unit in enumerate(units, 1):
        try:
            given += len(decoder.decode(bytes(unit)))
        except BitstreamError:
            told += 1
        assert number - given <= 1
    with contextlib.suppress(BitstreamError):  # a flush tells what is left to be told, and is not over
        given += len(decoder.decode(None))
    assert given + len(decoder.decode(None) if given < len(units) else []) == len(units)
    assert told >= len(units) // 2 and decoder.stats.damaged == 0


@pytest.mark.parametrize("place", [(DEPTH + 1, 0), (1, 999)])
def test_texture_of_a_depth_or_tile_that_is_not_there_costs_nothing_and_stops_strict_decoders_alone(
        profile: Profile, streams: dict[str, list[bytes]], place: tuple[int, int]) -> None:
    unit = parse(streams["key"][0])
    beside = Section(SectionType.TEXTURE, sub_index(*place), b"\x80")
    strange = serialize(dataclasses.replace(unit, sections=(*unit.sections, beside)))
    decoder = Decoder(profile=profile, threads=1, view="texture")
    (shown,) = decoder.decode(strange)
    assert decoder.stats.texture_refused == 1
    assert np.array_equal(picture_of(shown), pictures(profile, streams["key"][:1])[0])
    with pytest.raises(BitstreamError, match=f"depth {place[0]}, tile {place[1]}"):
        Decoder(profile=profile, threads=1, view="texture", strict=True).decode(strange)


def test_a_lost_palette_costs_its_depth_and_what_is_below(profile: Profile) -> None:
    whole = encode(profile, settings_for("key"), count=1, q=60)
    unit = parse(whole[0])
    palettes = [section for section in unit.sections if section.type == SectionType.PALETTE]
    assert len(palettes) >= 2, "this content is far from random palettes: they adapt"
    left = dataclasses.replace(unit, sections=tuple(s for s in unit.sections if s is not palettes[1]))
    assert same(pictures(profile, [serialize(left)]), pictures(profile, whole, texture=1))


def test_a_broken_chain_stays_broken_until_it_is_refreshed(profile: Profile, streams: dict[str, list[bytes]]) -> None:
    units = streams["all"]
    lost = parse(units[2])
    gone = next(section for section in lost.sections if section.type == SectionType.TEXTURE)
    _, tile = depth_and_tile(gone.sub_index or 0)
    left = serialize(dataclasses.replace(lost, sections=tuple(
        s for s in lost.sections if s.type != SectionType.TEXTURE or depth_and_tile(s.sub_index or 0)[1] != tile)))
    nodes = Nodes(profile)
    found = [nodes.after(unit) for unit in [*units[:2], left, *units[3:]]]
    coded_after = [n for n in range(3, GOP) if parse(units[n]).payload(SectionType.TEXTURE, sub_index(1, tile))]
    assert coded_after, "the tile is coded again before the next key unit"
    assert found[coded_after[0]][tile][0] == 0
    assert found[GOP][tile][0] == DEPTH


# ---- over time


def test_a_still_scene_costs_nothing_and_keeps_its_texture(profile: Profile) -> None:
    units = encode(profile, settings_for("all"), still=True, count=4)
    assert [len(unit) for unit in units[1:]] == [6, 6, 6]
    shown = pictures(profile, units)
    assert all(np.array_equal(one, shown[0]) for one in shown)
    assert not np.array_equal(shown[0], pictures(profile, units, view="machine")[0])


def test_texture_of_key_frames_is_kept_where_nothing_moved(profile: Profile, streams: dict[str, list[bytes]]) -> None:
    shown, machine = pictures(profile, streams["key"]), pictures(profile, streams["key"], view="machine")
    apart = [np.abs(a.astype(int) - b).sum(2) for a, b in zip(shown, machine, strict=True)]
    assert (apart[1][:, -16:] == apart[0][:, -16:]).all() and apart[1][:, -16:].any()
    assert all(section.type != SectionType.TEXTURE for section in parse(streams["key"][1]).sections)


def test_another_quality_in_mid_stream_refreshes_the_chain(profile: Profile) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=20, gop=9, profile=profile, threads=1, texture=settings_for("all"))
    units = []
    for number in range(5):
        encoder.q = 20 if number < 3 else 30
        units += [bytes(packet) for packet in encoder.encode(frame(number))]
    decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
    assert sum(len(decoder.decode(unit)) for unit in units) == 5
    heads = [section.payload[0] >> 7 for section in parse(units[3]).sections if section.type == SectionType.TEXTURE]
    assert heads and all(heads)


def test_another_quality_holds_for_texture_where_the_machine_layer_codes_nothing(profile: Profile) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=20, gop=GOP, profile=profile, threads=1, texture=settings_for("all"))
    units = [parse(bytes(packet)) for packet in encoder.encode(frame(0, still=True))]
    encoder.q = 45
    units += [parse(bytes(packet)) for packet in encoder.encode(frame(1, still=True))]
    assert {SectionType.QUALITY, SectionType.TEXTURE} <= {section.type for section in units[1].sections}
    found = []
    for machine in (units[1].payload(SectionType.MACHINE), b""):
        assert machine is not None
        sections = tuple(dataclasses.replace(section, payload=machine) if section.type == SectionType.MACHINE else
                         section for section in units[1].sections)
        decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
        for unit in (units[0], dataclasses.replace(units[1], sections=sections)):
            decoder.decode(serialize(unit))
        assert decoder._texture is not None
        found.append([(state.depth, state.nodes.tobytes()) for state in decoder._texture.states])
    assert found[0] == found[1] and {depth for depth, _ in found[0]} == {DEPTH}


def test_a_frame_of_another_size_starts_with_its_own_tiles(profile: Profile) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=20, profile=profile, threads=1, texture=settings_for("all"))
    small = av.VideoFrame.from_ndarray(np.ascontiguousarray(PHOTOGRAPH[:40, :70]), format="rgb24")
    packets = [*encoder.encode(frame(0)), *encoder.encode(small)]
    decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
    assert [(one.width, one.height) for packet in packets for one in decoder.decode(packet)] == [
        (WIDTH, HEIGHT), (70, 40)]


def test_the_machine_layer_moves_nothing_but_where_it_says_so(profile: Profile) -> None:
    machine, reader = MachineLayer(profile, open_backend("cpu", 1), encode=True), PictureReader()
    moved = 0
    for number in range(5):
        before = machine.z_m
        machine.encode(reader.read(frame(number)), key=number == 0, q=28)
        assert machine.z_m is not None
        if before is not None:
            assert np.array_equal(machine.z_m[:, :, ~machine.moved], before[:, :, ~machine.moved])
            moved += int((machine.z_m != before).any(1).sum())
    assert moved and not machine.moved.all()


def test_tiles_of_a_side_that_none_may_have_are_damage(profile: Profile, streams: dict[str, list[bytes]]) -> None:
    unit = parse(streams["key"][0])
    assert unit.sequence is not None
    palette = dataclasses.replace(unit.sequence.palette, tile_log2=200)
    broken = serialize(dataclasses.replace(unit, sequence=dataclasses.replace(unit.sequence, palette=palette)))
    decoder = Decoder(profile=profile, threads=1, view="texture")
    assert decoder.decode(broken) == [] and decoder.stats.damaged == 1
    with pytest.raises(BitstreamError, match="tile"):
        TextureCutter(Depths(1)).cut(parse(broken))
    assert len(Decoder(profile=profile, threads=1).decode(broken)) == 1


# ---- rate


@pytest.mark.parametrize("frames", ["key", "all"])
def test_a_bit_rate_is_kept_by_cutting_and_what_is_left_decodes(profile: Profile, frames: str) -> None:
    rate = 8000
    units = encode(profile, settings_for(frames, bit_rate=rate), count=10)
    whole = encode(profile, settings_for(frames), count=10)
    without = sum(len(unit) for unit in cut(units, Depths(0)))
    texture = sum(map(len, units)) - without
    slack = 2 * 60  # a long header, and its entries, twice
    assert 0 < texture * 8 <= rate * 10 / 25 + 8 * slack < 8 * (sum(map(len, whole)) - without)
    decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
    assert sum(len(decoder.decode(unit)) for unit in units) == 10


# ---- what cannot be


def test_a_stream_without_texture_has_no_texture_view(profile: Profile) -> None:
    encoder = Encoder(WIDTH, HEIGHT, profile=profile, threads=1)
    (packet,) = encoder.encode(frame(0))
    with pytest.raises(LimitError, match="no texture layer"):
        Decoder(profile=profile, threads=1, view="texture").decode(packet)


def test_a_profile_without_texture_cannot_code_or_show_it(tmp_path: Path) -> None:
    plain = FILES.without_texture(tmp_path / "plain")
    with pytest.raises(ProfileError, match="no texture layer"):
        Encoder(64, 64, profile=plain, threads=1, texture=1)
    with pytest.raises(ProfileError, match="no texture layer"):
        Decoder(profile=plain, threads=1, view="texture")


def test_arguments_that_do_not_belong_together_are_refused(profile: Profile) -> None:
    with pytest.raises(ValueError, match="texture"):
        Encoder(64, 64, profile=profile, machine="inner", texture=TextureSettings(Depths(2), frames="all"))
    with pytest.raises(ValueError, match="texture"):
        Decoder(profile=profile, texture=2)
    with pytest.raises(ValueError, match="fill"):
        Decoder(profile=profile, view="texture", fill="noise")
    with pytest.raises(LimitError):
        Encoder(64, 64, profile=profile, texture=9)


def test_sampled_texture_says_that_it_is_generated(profile: Profile, streams: dict[str, list[bytes]]) -> None:
    for fill, depth, generated in (("mean", 1, False), ("sample", 1, True), ("sample", DEPTH - 2, False)):
        decoder = Decoder(profile=profile, threads=1, view="texture", texture=depth, fill=fill, seed=5)
        (shown,) = decoder.decode(streams["key"][0])
        assert isinstance(shown.opaque, FrameOrigin)
        assert (shown.opaque.provenance is not None) == generated
        if shown.opaque.provenance is not None:
            assert shown.opaque.provenance.seed == 5 and shown.opaque.provenance.view == "texture"


def test_threads_change_no_picture_and_seeds_do(profile: Profile, streams: dict[str, list[bytes]]) -> None:
    one = pictures(profile, streams["all"], fill="sample", texture=1)
    assert same(one, pictures(profile, streams["all"], fill="sample", texture=1, threads=3))
    other = Decoder(profile=profile, threads=1, view="texture", texture=1, fill="sample", seed=1)
    assert not np.array_equal(other.decode(streams["all"][0])[0].to_ndarray(), one[0])
