"""What is lost, damaged or wrong in texture is noticed, and costs what depends on it and nothing else."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from duoview import BitstreamError, Depths, Profile, TextureSettings
from duoview.access_unit import AccessUnit, Damage, Section, SectionType, serialize
from duoview.backends import CpuBackend
from duoview.texture.chain import Mask
from duoview.texture.decoder import TextureDecoder
from duoview.texture.depths import write_map
from duoview.texture.geometry import sub_index
from duoview.texture.prior import Nodes
from duoview.texture.section import SectionHead, positions_of, write_section

REFERENCE = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "texture_reference.py")))
STREAM = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "golden" / "texture_stream.py")))
FILES = STREAM.FILES
ALL = TextureSettings(Depths(4), frames="all", tile_log2=8)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


@pytest.fixture(scope="module")
def key_unit(profile: Profile) -> AccessUnit:
    """The first unit of the stream "all": palettes, a depth map, six tiles."""
    unit: AccessUnit = STREAM.encode(profile, *STREAM.ENCODED["all"])[0]
    return unit


def motion(frames: int, moves: Iterable[int], q: int = 22, other: int | None = None) -> Any:
    """One key frame, and frames in which a block moves; from frame 2 on the quality is ``other``."""
    return STREAM.Motion(frozenset((0,)), {n: (slice(2, 6), slice(2, 8)) for n in moves},
                         tuple(q if n < 2 or other is None else other for n in range(frames)))


def without_texture(unit: AccessUnit) -> AccessUnit:
    return dataclasses.replace(unit, sections=tuple(s for s in unit.sections if s.type != SectionType.TEXTURE))


def decoded(profile: Profile, units: Iterable[AccessUnit], frames: Iterable[Any]) -> TextureDecoder:
    """A decoder that was given these units."""
    decoder = TextureDecoder(profile, CpuBackend(1))
    for unit, frame in zip(units, frames, strict=True):
        if unit.sequence is not None:
            decoder.begin(unit.sequence)
        decoder.decode(unit, frame.seen)
    return decoder


def of_key_unit(profile: Profile, unit: AccessUnit) -> TextureDecoder:
    """A decoder that was given the key unit of "all", or what became of it."""
    return decoded(profile, [unit], [next(STREAM.machine_frames("all"))])


@pytest.mark.parametrize("lost", [1, 62, 63, 64, 65, 128])
def test_a_loss_of_any_number_of_sections_is_noticed(profile: Profile, lost: int) -> None:
    moving = motion(lost + 3, range(1, lost + 3))
    units = STREAM.encode(profile, moving, ALL)
    left = [without_texture(unit) if 2 <= number < 2 + lost else unit for number, unit in enumerate(units)]
    assert decoded(profile, units, STREAM.frames_of(moving)).faults == []
    refused = decoded(profile, left, STREAM.frames_of(moving))
    assert [state.depth for state in refused.states] == [0]
    assert "continues the section of 1 units before, which is not there" in refused.faults[0]


def test_the_loss_of_a_refresh_between_key_units_is_noticed(profile: Profile) -> None:
    """A count of sections since the refresh would be the same with and without it."""
    moving = motion(4, (2, 3), other=34)
    units = STREAM.encode(profile, moving, ALL)
    assert [s.payload[0] >> 7 for s in units[2].sections if s.type == SectionType.TEXTURE] == [1] * 4
    left = [*units[:2], without_texture(units[2]), units[3]]
    refused = decoded(profile, left, STREAM.frames_of(moving))
    assert [state.depth for state in refused.states] == [0] and refused.faults


def test_units_between_in_which_a_tile_has_no_section_break_no_chain(profile: Profile) -> None:
    moving = motion(200, (1, 62, 63, 64, 199))
    units = STREAM.encode(profile, moving, ALL)
    distances = [SectionHead.read(s.payload)[0].distance for unit in units for s in unit.sections
                 if s.type == SectionType.TEXTURE and s.sub_index == sub_index(1, 0)]
    assert distances == [0, 1, 61, 1, 1, 135]
    found = decoded(profile, units, STREAM.frames_of(moving))
    assert found.faults == [] and [state.depth for state in found.states] == [4]


@pytest.mark.parametrize("distance", [0, 1, 62, 63, 64, 190, 191, 1 << 20])
def test_a_distance_has_one_form_and_comes_back(distance: int) -> None:
    head = SectionHead(True, distance)
    coded = head.write()
    assert SectionHead.read(coded + b"rest") == (head, len(coded))
    assert len(coded) == 1 + (distance >= 63) + (distance >= 191) + (distance >= 63 + (1 << 14))


@pytest.mark.parametrize("payload", [
    b"", b"\x00", b"\x40", b"\x81", b"\xbf\x00", b"\x3f", b"\x3f\x80\x00", b"\x3f\x80"])
def test_heads_that_none_may_have_are_refused(payload: bytes) -> None:
    with pytest.raises(BitstreamError):
        SectionHead.read(payload)


@pytest.mark.parametrize("payload", [b"", b"\x0f", b"\x50\x04", bytes(9)])
def test_a_wrong_depth_map_costs_neither_palettes_nor_texture(profile: Profile, key_unit: AccessUnit, payload: bytes
                                                             ) -> None:
    whole = of_key_unit(profile, key_unit)
    assert whole.depth_map == [4] * 6 and len(whole.palettes) > 2
    found = of_key_unit(profile, dataclasses.replace(key_unit, sections=tuple(
        dataclasses.replace(s, payload=payload) if s.type == SectionType.DEPTH_MAP else s for s in key_unit.sections)))
    assert found.depth_map is None and len(found.faults) == 1 and found.faults[0].startswith("depth map")
    assert len(found.palettes) == len(whole.palettes)
    assert all(np.array_equal(a.nodes, b.nodes) for a, b in zip(found.states, whole.states, strict=True))


def damaged(unit: AccessUnit, type_: SectionType, index: int | None) -> AccessUnit:
    """As ``parse`` gives a unit of which one section is damaged."""
    return dataclasses.replace(unit, damaged=(Damage(type_, index, "CRC-32C is wrong"),), sections=tuple(
        s for s in unit.sections if (s.type, s.sub_index) != (type_, index)))


def test_a_damaged_depth_map_is_told_and_costs_nothing_else(profile: Profile, key_unit: AccessUnit) -> None:
    found = of_key_unit(profile, damaged(key_unit, SectionType.DEPTH_MAP, None))
    assert found.faults == ["depth map: CRC-32C is wrong"] and {state.depth for state in found.states} == {4}


def test_damaged_palette_deltas_cost_their_depth_and_leave_what_is_coarser(profile: Profile, key_unit: AccessUnit
                                                                          ) -> None:
    whole = of_key_unit(profile, key_unit)
    found = of_key_unit(profile, damaged(key_unit, SectionType.PALETTE, 2))
    assert found.faults[0] == "palette of depth 2: CRC-32C is wrong" and len(found.faults) == 7
    assert {state.depth for state in found.states} == {1} and len(found.palettes) == 2
    assert np.array_equal(found.palettes[1].nodes[1], whole.palettes[1].nodes[1])
    assert found.depth_map == [4] * 6


def test_sections_of_depths_and_tiles_that_are_not_there_cost_nothing(profile: Profile, key_unit: AccessUnit) -> None:
    more = (Section(SectionType.TEXTURE, sub_index(5, 0), b"\x80"), Section(SectionType.TEXTURE, 3, b"\x80"),
            Section(SectionType.TEXTURE, sub_index(1, 6), b"\x80"))
    found = of_key_unit(profile, dataclasses.replace(key_unit, sections=key_unit.sections + more))
    assert len(found.faults) == 3 and "depth 5, tile 0" in found.faults[0]
    assert {state.depth for state in found.states} == {4}


def test_palettes_and_depth_map_of_p_units_are_skipped(profile: Profile) -> None:
    units = STREAM.encode(profile, *STREAM.ENCODED["all"])
    beside = tuple(s for s in units[0].sections if s.type in (SectionType.PALETTE, SectionType.DEPTH_MAP))
    frames = list(STREAM.machine_frames("all"))[:2]
    found = decoded(profile, [units[0], dataclasses.replace(units[1], sections=units[1].sections + beside)], frames)
    plain = decoded(profile, units[:2], frames)
    assert found.faults == [] and len(found.palettes) == len(plain.palettes)
    assert all(np.array_equal(a.nodes, b.nodes) for a, b in zip(found.states, plain.states, strict=True))


# ---- sections that break one rule and no other, in both decoders


def referred(profile: Profile, units: Iterable[AccessUnit], frames: Iterable[Any]) -> Any:
    """The second decoder, given these units."""
    reference = REFERENCE.Reference(profile.folder)
    for unit, frame in zip(units, frames, strict=True):
        reference.unit(serialize(unit), frame.decoded, frame.moved)
    return reference


def keeping(profile: Profile, block: tuple[int, int]) -> tuple[list[AccessUnit], list[Any], Nodes]:
    """A key unit, and one that keeps that block's nodes of depth 1 and codes those of the others; its nodes."""
    moving = motion(2, (1,))
    frames = list(STREAM.frames_of(moving))
    units = STREAM.encode(profile, moving, ALL)
    decoder = decoded(profile, units[:1], frames[:1])
    (state,) = decoder.states
    state.forget(frames[1].moved)
    blocks = np.zeros((STREAM.ROWS // 8, STREAM.COLUMNS // 8), np.bool_)
    blocks[block] = True
    held: Mask = positions_of(blocks)
    # Nodes that nobody knows would be 0 for a decoder that let them be kept.
    nodes = np.where(held, np.where(state.known, state.ancestors(1), 0), 1 - state.ancestors(1)).astype(np.uint8)
    context = decoder.prior.frame(frames[1].seen, held.shape).of(state.tile.area)
    payload, _ = write_section(decoder.prior, context, state, np.zeros_like(nodes), nodes, 1,
                               SectionHead(len(decoder.palettes) > 1, 1), held)
    section = Section(SectionType.TEXTURE, sub_index(1, 0), payload)
    unit = without_texture(units[1])
    return [units[0], dataclasses.replace(unit, sections=(*unit.sections, section))], frames, nodes


def test_a_block_that_the_machine_layer_moved_cannot_be_kept(profile: Profile) -> None:
    units, frames, _ = keeping(profile, (0, 0))
    assert frames[1].moved[:8, :8].any()
    refused = decoded(profile, units, frames)
    assert [state.depth for state in refused.states] == [0]
    assert len(refused.faults) == 1 and "keeps nodes that nobody knows" in refused.faults[0]
    assert [tile.depth for tile in referred(profile, units, frames).tiles] == [0]


def test_a_block_that_did_not_move_can_be_kept_beside_one_that_did(profile: Profile) -> None:
    units, frames, nodes = keeping(profile, (1, 1))
    assert frames[1].moved.any() and not frames[1].moved[8:16, 8:16].any()
    found, reference = decoded(profile, units, frames), referred(profile, units, frames)
    assert found.faults == [] and found.states[0].depth == reference.tiles[0].depth == 1
    assert np.array_equal(found.states[0].nodes, nodes) and np.array_equal(reference.tiles[0].nodes, nodes)


def test_sections_deeper_than_the_depth_map_are_refused(profile: Profile, key_unit: AccessUnit) -> None:
    depths, frames = [4, 2, 4, 1, 0, 3], [next(STREAM.machine_frames("all"))]
    unit = dataclasses.replace(key_unit, sections=tuple(
        dataclasses.replace(s, payload=write_map(depths)) if s.type == SectionType.DEPTH_MAP else s
        for s in key_unit.sections))
    whole, found, reference = of_key_unit(profile, key_unit), of_key_unit(profile, unit), referred(
        profile, [unit], frames)
    assert {state.depth for state in whole.states} == {4}
    assert [state.depth for state in found.states] == [tile.depth for tile in reference.tiles] == depths
    assert sum("deeper than" in fault for fault in found.faults) == len(found.faults) == 4
    for true, one, other in zip(whole.states, found.states, reference.tiles, strict=True):
        assert np.array_equal(one.nodes, true.ancestors(one.depth)) and np.array_equal(one.nodes, other.nodes)
