"""The texture format is what tests/golden/texture_*.dv hold, and a second implementation reads it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import duoview
from duoview import Profile, kernels
from duoview.access_unit import AccessUnit, SectionType, parse
from duoview.backends import CpuBackend
from duoview.texture.decoder import TextureDecoder

HERE = Path(__file__).parent
STREAM = SimpleNamespace(**runpy.run_path(str(HERE / "golden" / "texture_stream.py")))
TOLD: dict[str, list[dict[str, Any]]] = {
    name: units for file in sorted({STREAM.told_in(name) for name in STREAM.NAMES})
    for name, units in json.loads((HERE / "golden" / file).read_text()).items()}
REFERENCE = SimpleNamespace(**runpy.run_path(str(HERE / "texture_reference.py")))
RANS = SimpleNamespace(**runpy.run_path(str(HERE / "golden" / "make_rans.py")))
FILES = STREAM.FILES


def path_of(name: str) -> Path:
    return HERE / "golden" / f"texture_{name}.dv"


def units_of(name: str) -> list[bytes]:
    with duoview.open(str(path_of(name))) as container:
        return [bytes(packet) for packet in container.demux()]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


@pytest.fixture(scope="module")
def profiles(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Profile]:
    """The profiles of all streams."""
    folder = tmp_path_factory.mktemp("certain")
    return {name: STREAM.write_profile(folder / name, name) if name in STREAM.CERTAIN else profile
            for name in STREAM.NAMES}


@pytest.mark.parametrize("name", STREAM.NAMES)
def test_encoders_and_cuts_make_the_golden_bytes(profiles: dict[str, Profile], name: str) -> None:
    assert STREAM.write(STREAM.stream(profiles[name], name), STREAM.motion_of(name)) == path_of(name).read_bytes()


@pytest.mark.parametrize("name", STREAM.NAMES)
def test_the_decoder_reads_the_golden_nodes_palettes_and_depth_maps(profiles: dict[str, Profile], name: str) -> None:
    decoder = TextureDecoder(profiles[name], CpuBackend(1))
    for frame, data, told in zip(STREAM.machine_frames(name), units_of(name), TOLD[name], strict=True):
        unit = parse(data)
        if unit.sequence is not None:
            decoder.begin(unit.sequence)
        decoder.decode(unit, frame.seen)
        assert bool(decoder.faults) <= (name in ("lost", "damaged", "wrong", "short"))
        depths = [state.depth for state in decoder.states]
        assert depths == told["depths"] and decoder.depth_map == told["map"]
        assert STREAM.digest([state.nodes for state in decoder.states], depths) == told["nodes"]
        assert STREAM.digest(decoder.palettes[-1].nodes) == told["palettes"]


@pytest.mark.parametrize("name", STREAM.NAMES)
def test_a_second_implementation_reads_them_too(profiles: dict[str, Profile], name: str) -> None:
    reference = REFERENCE.Reference(profiles[name].folder)
    units = REFERENCE.UNIT.read_records(path_of(name).read_bytes())
    for frame, unit, told in zip(STREAM.machine_frames(name), units, TOLD[name], strict=True):
        reference.unit(unit, frame.decoded, frame.moved, frame.means)
        depths = [tile.depth for tile in reference.tiles]
        assert depths == told["depths"] and reference.depth_map == told["map"]
        assert STREAM.digest([tile.nodes for tile in reference.tiles], depths) == told["nodes"]
        assert STREAM.digest(reference.palettes) == told["palettes"]


@pytest.mark.parametrize("name", STREAM.NAMES)
def test_a_second_implementation_finds_the_same_units(name: str) -> None:
    records = REFERENCE.UNIT.read_records(path_of(name).read_bytes())
    assert records == units_of(name)
    for data in records:
        unit, found = parse(data), REFERENCE.UNIT.read_unit(data)
        assert (unit.key, unit.index, unit.key_count) == (found.key, found.index, found.key_count)
        payloads: dict[tuple[int, int], bytes | None] = {
            (section.type, section.sub_index or 0): section.payload for section in unit.sections}
        payloads |= {(damage.type, damage.sub_index or 0): None for damage in unit.damaged}
        assert payloads == found.sections


def heads(name: str) -> list[tuple[AccessUnit, int]]:
    """Units of a stream that has no damage, and the heads of their texture sections."""
    return [(unit, section.payload[0]) for unit in map(parse, units_of(name)) for section in unit.sections
            if section.type == SectionType.TEXTURE]


def test_the_golden_streams_hold_every_option() -> None:
    found = [head for name in STREAM.ENCODED for _, head in heads(name)]
    assert {head >> 7 for head in found} == {0, 1} and {head >> 6 & 1 for head in found} == {0, 1}
    assert {head & 63 for head in found} >= {0, 1, 2, 63}
    assert any(head >> 7 and not unit.key for unit, head in heads("refreshed"))
    assert all(unit.key for unit, _ in heads("key"))
    kinds = {section.type for name in STREAM.NAMES for unit in map(parse, units_of(name)) for section in unit.sections}
    assert kinds >= {SectionType.PALETTE, SectionType.TEXTURE, SectionType.DEPTH_MAP}
    steady = [{section.type: section.payload for section in parse(data).sections} for data in units_of("steady")][2:]
    assert all(unit[SectionType.MACHINE] == b"" and SectionType.TEXTURE in unit for unit in steady)
    assert [unit.get(SectionType.QUALITY) for unit in steady] == [bytes((34,)), None]
    assert next(one["map"] for one in TOLD["given"]) == [3, 1, 3, 3, 0, 3]
    assert len(set(TOLD["rate"][0]["map"])) > 1 and max(TOLD["cut_depth"][0]["map"]) == 1
    assert [len(TOLD[name][0]["depths"]) for name in ("wide", "refreshed", "all")] == [1, 2, 6]
    palettes = {name: [one["palettes"] for one in TOLD[name]]
                for name in ("all", "cut_depth", "given", "lost", "wrong")}
    assert len({values[0] for values in palettes.values()}) == 3, "all and lost begin alike, cut_depth and wrong too"
    assert palettes["all"][3] != palettes["lost"][3]


@pytest.mark.parametrize("name", ["lost", "damaged", "wrong", "short"])
def test_what_was_lost_costs_depths_and_leaves_true_nodes_in_the_golden_streams(profile: Profile, name: str) -> None:
    whole, part = TextureDecoder(profile, CpuBackend(1)), TextureDecoder(profile, CpuBackend(1))
    less = 0
    for frame, full, left in zip(STREAM.machine_frames(name), map(parse, units_of("all")), map(parse, units_of(name)),
                                 strict=True):
        for decoder, unit in ((whole, full), (part, left)):
            if unit.sequence is not None:
                decoder.begin(unit.sequence)
            decoder.decode(unit, frame.seen)
        touched = {(section.sub_index or 0) & 65535 for section in left.sections if section.type == SectionType.TEXTURE}
        for true, found in zip(whole.states, part.states, strict=True):
            less += found.depth < true.depth
            if true.tile.number in touched and found.depth:
                assert (found.nodes == true.ancestors(found.depth)).all()
    assert less > 3


@pytest.mark.parametrize(("weight", "groups"), [
    ((4, 4, 3, 3), 1), ((4, 2, 3, 3), 2), ((8, 1, 3, 3), 4), ((4, 1, 3, 1), 4)])
def test_the_second_implementation_refuses_convolutions_that_exact_networks_do_not_have(
        weight: tuple[int, ...], groups: int) -> None:
    with pytest.raises(AssertionError, match="expected"):
        REFERENCE.NETWORKS.convolve(np.zeros((1, 4, 8, 8)), np.zeros(weight), np.zeros(weight[0]), groups)


# ---- the second implementation of entropy coding


def symbols_of(data: bytes, classes: list[int]) -> list[int]:
    coder = REFERENCE.RANS.Symbols(data)
    found = [coder.symbol(class_) for class_ in classes]
    coder.finish()
    return found


@pytest.mark.parametrize("name", sorted(path.name for path in (HERE / "golden").glob("rans_*.bin")))
def test_a_second_implementation_reads_the_golden_entropy_coded_payloads(name: str) -> None:
    kind = name.split("_")[1].removesuffix(".bin")
    stem = name.removeprefix("rans_").removesuffix(".bin")
    symbols, classes = RANS.OTHERS[stem]() if stem in RANS.OTHERS else RANS.mixed(
        RANS.CASES["medium" if kind == "chunks" else kind])
    assert symbols_of((HERE / "golden" / name).read_bytes(), classes.tolist()) == symbols.tolist()


@given(st.binary(max_size=60), st.lists(st.sampled_from([0, 1, 20, 63, 64, 100, 191]), max_size=40))
def test_both_implementations_take_or_refuse_the_same_payloads(data: bytes, classes: list[int]) -> None:
    found: list[int] | None
    try:
        decoder = kernels.Decoder(data)
        found = decoder.decode(np.array(classes, np.uint8)).tolist()
        decoder.finish()
    except duoview.BitstreamError:
        found = None
    try:
        reference: list[int] | None = symbols_of(data, classes)
    except REFERENCE.Refused:
        reference = None
    assert reference == found
