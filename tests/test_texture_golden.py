"""The texture format is what tests/golden/texture.json holds, and a second implementation reads it."""

from __future__ import annotations

import json
import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duoview import Profile
from duoview.access_unit import AccessUnit, Section, SectionType
from duoview.backends import CpuBackend
from duoview.sequence import PaletteGeometry, SequenceHeader
from duoview.texture.decoder import TextureDecoder
from duoview.texture.geometry import depth_and_tile

HERE = Path(__file__).parent
GOLDEN: dict[str, list[dict[str, Any]]] = json.loads((HERE / "golden" / "texture.json").read_text())
STREAM = SimpleNamespace(**runpy.run_path(str(HERE / "golden" / "texture_stream.py")))
REFERENCE = SimpleNamespace(**runpy.run_path(str(HERE / "texture_reference.py")))
FILES = STREAM.FILES


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


def sections_of(unit: dict[str, Any]) -> tuple[Section, ...]:
    return tuple(Section(type_, index, bytes.fromhex(payload)) for type_, index, payload in unit["sections"])


@pytest.mark.parametrize("name", GOLDEN)
def test_encoders_make_the_golden_bytes(profile: Profile, name: str) -> None:
    for sections, unit in zip(STREAM.encode(profile, name), GOLDEN[name], strict=True):
        assert tuple(sections) == sections_of(unit)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_decoder_reads_the_golden_nodes(profile: Profile, name: str) -> None:
    decoder = TextureDecoder(profile, CpuBackend(1))
    geometry = PaletteGeometry(FILES.GROUPS, FILES.DEPTH, STREAM.OPTIONS[name].tile_log2)
    sequence = SequenceHeader(STREAM.WIDTH, STREAM.HEIGHT, Fraction(25), "s", bytes(16), palette=geometry)
    decoder.begin(sequence)
    for frame, unit in zip(STREAM.machine_frames(), GOLDEN[name], strict=True):
        decoder.decode(AccessUnit(key=frame.key, sections=sections_of(unit)), frame, STREAM.Q)
        assert decoder.faults == []
        assert unit["nodes"] == STREAM.digest([state.nodes for state in decoder.states],
                                              [state.depth for state in decoder.states])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_second_implementation_reads_them_too(profile: Profile, name: str) -> None:
    reference = REFERENCE.Reference(profile.folder, STREAM.WIDTH, STREAM.HEIGHT, STREAM.OPTIONS[name].tile_log2)
    for frame, unit in zip(STREAM.machine_frames(), GOLDEN[name], strict=True):
        texture = {depth_and_tile(one.sub_index or 0): one.payload for one in sections_of(unit)
                   if one.type == SectionType.TEXTURE}
        reference.unit(texture, frame.decoded, frame.moved, STREAM.Q, frame.key)
        assert unit["nodes"] == STREAM.digest([tile.nodes for tile in reference.tiles],
                                              [tile.depth for tile in reference.tiles])


def test_the_golden_streams_hold_every_option() -> None:
    heads = [bytes.fromhex(payload)[0] for units in GOLDEN.values() for unit in units
             for type_, _, payload in unit["sections"] if type_ == SectionType.TEXTURE]
    assert {head >> 7 for head in heads} == {0, 1} and {head >> 6 & 1 for head in heads} == {0, 1}
    assert {head & 63 for head in heads} >= {0, 1, 2}
    kinds = {type_ for units in GOLDEN.values() for unit in units for type_, _, _ in unit["sections"]}
    assert kinds == {SectionType.PALETTE, SectionType.TEXTURE, SectionType.DEPTH_MAP}
