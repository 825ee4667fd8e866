"""Whatever is cut, lost or altered: nodes are true or refused, both decoders agree, the machine view stays."""

from __future__ import annotations

import dataclasses
import runpy
import struct
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from skimage import data as pictures

from duoview import Decoder, Depths, Encoder, Profile, TextureSettings
from duoview.access_unit import AccessUnit, Section, SectionType, parse, parse_header, serialize
from duoview.backends import CpuBackend
from duoview.kernels import crc32c
from duoview.texture.cutting import TextureCutter
from duoview.texture.decoder import TextureDecoder
from duoview.texture.geometry import depth_and_tile

HERE = Path(__file__).parent
STREAM = SimpleNamespace(**runpy.run_path(str(HERE / "golden" / "texture_stream.py")))
REFERENCE = SimpleNamespace(**runpy.run_path(str(HERE / "texture_reference.py")))
FILES = STREAM.FILES
TILES = 2
#: Without shrinking and explaining: every example decodes whole streams, and a failure would take minutes.
PHASES = (Phase.explicit, Phase.generate)
#: Two blocks of the first tile and one of the second move, one at a time: what the others keep must be theirs. Where
#: the machine layer codes nothing, it forgets nothing either: there the chain alone tells of what was lost.
_A, _B, _C = (slice(0, 8), slice(0, 8)), (slice(8, 16), slice(0, 8)), (slice(3, 14), slice(17, 22))
MOTION = STREAM.Motion(frozenset((0, 6)), {1: _A, 2: _B, 3: _C, 4: _A, 5: _B, 7: _A, 8: _C}, (40,) * 9,
                       frozenset((1, 2, 4, 7)))
SETTINGS = TextureSettings(Depths(FILES.DEPTH), frames="all", tile_log2=4)
TEXTURE = (SectionType.TEXTURE, SectionType.PALETTE, SectionType.DEPTH_MAP)
FRAMES = list(STREAM.frames_of(MOTION))
depths = st.integers(0, FILES.DEPTH)
seeds = st.integers(0, 1 << 30)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


@pytest.fixture(scope="module")
def units(profile: Profile) -> list[AccessUnit]:
    """Two groups of pictures, texture in all frames, two tiles, palettes and depth maps."""
    found: list[AccessUnit] = STREAM.encode(profile, MOTION, SETTINGS)
    return found


class States:
    """A decoder, and what it knows after every unit."""

    def __init__(self, profile: Profile, **options: Any) -> None:
        self.decoder = TextureDecoder(profile, CpuBackend(1), **options)

    def after(self, units: Sequence[AccessUnit]) -> list[tuple[bytes, list[tuple[int, bytes]]]]:
        """Of every unit: its latent, and depth and nodes of all tiles."""
        found = []
        for unit, frame in zip(units, FRAMES, strict=True):
            if unit.sequence is not None:
                self.decoder.begin(unit.sequence)
            latent = self.decoder.decode(unit, frame.seen)
            found.append((latent.tobytes(), [(one.depth, one.nodes.tobytes()) for one in self.decoder.states]))
        return found


def subset(units: Sequence[AccessUnit], seed: int, share: float) -> list[AccessUnit]:
    """Without a share of the sections of texture, palettes and depth maps."""
    random = np.random.default_rng(seed)
    return [dataclasses.replace(unit, sections=tuple(
        section for section in unit.sections if section.type not in TEXTURE or random.random() >= share))
        for unit in units]


@settings(max_examples=25, phases=PHASES)
@given(other=depths, tiles=st.dictionaries(st.integers(0, TILES - 1), depths), seed=seeds,
       share=st.sampled_from([0, 0.05, 0.3]), fill=st.sampled_from(["mean", "sample"]))
def test_a_cut_of_any_subset_decodes_as_the_subset_at_most_that_deep(
        profile: Profile, units: list[AccessUnit], other: int, tiles: dict[int, int], seed: int, share: float,
        fill: str) -> None:
    limit = Depths(other, tuple(tiles.items()))
    left = subset(units, seed, share)
    cutter = TextureCutter(limit)
    cut = [cutter.cut(parse(serialize(unit))) for unit in left]
    if not limit.most():
        assert cut == [dataclasses.replace(unit, sequence=unit.sequence and dataclasses.replace(
            unit.sequence, palette=type(unit.sequence.palette)()), sections=tuple(
                section for section in unit.sections if section.type not in TEXTURE)) for unit in units]
        return
    assert States(profile, fill=fill).after(cut) == States(profile, fill=fill, limit=limit).after(left)


@settings(max_examples=25, phases=PHASES)
@given(seed=seeds, share=st.sampled_from([0.02, 0.1, 0.5]))
def test_any_subset_of_sections_gives_true_nodes_or_none_at_all(
        profile: Profile, units: list[AccessUnit], seed: int, share: float) -> None:
    left = subset(units, seed, share)
    for unit, (_, true), (_, found) in zip(left, States(profile).after(units), States(profile).after(left),
                                           strict=True):
        for tile in {depth_and_tile(one.sub_index or 0)[1] for one in unit.sections
                     if one.type == SectionType.TEXTURE}:
            depth, nodes = found[tile]
            leaves = np.frombuffer(true[tile][1], np.uint8)
            assert nodes == (leaves >> np.uint8(FILES.DEPTH - depth)).tobytes()


def altered(units: Sequence[AccessUnit], draw: st.DataObject) -> list[AccessUnit]:
    """With a few intact sections of texture, palettes or depth maps that hold other bytes, fewer or more."""
    places = [(n, m) for n, unit in enumerate(units) for m, section in enumerate(unit.sections)
              if section.type in TEXTURE]
    found = [list(unit.sections) for unit in units]
    for n, m in draw.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True)):
        payload = bytearray(found[n][m].payload)
        change = draw.draw(st.sampled_from(["flip", "short", "long", "other"]))
        if change == "flip" and payload:
            for _ in range(draw.draw(st.integers(1, 3))):
                payload[draw.draw(st.integers(0, len(payload) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
        elif change == "short":
            del payload[draw.draw(st.integers(0, len(payload))):]
        elif change == "long":
            payload += draw.draw(st.binary(min_size=1, max_size=3))
        else:
            payload[:] = draw.draw(st.binary(max_size=20))
        found[n][m] = dataclasses.replace(found[n][m], payload=bytes(payload))
    return [dataclasses.replace(unit, sections=tuple(sections)) for unit, sections in zip(units, found, strict=True)]


@settings(max_examples=40, phases=PHASES)
@given(draw=st.data(), seed=seeds, share=st.sampled_from([0, 0.05]))
def test_both_decoders_make_the_same_of_sections_that_somebody_else_wrote(
        profile: Profile, units: list[AccessUnit], draw: st.DataObject, seed: int, share: float) -> None:
    strange = altered(subset(units, seed, share), draw)
    decoder, reference = States(profile), REFERENCE.Reference(profile.folder)
    for (_, tiles), unit, frame in zip(decoder.after(strange), strange, FRAMES, strict=True):
        reference.unit(serialize(unit), frame.decoded, frame.moved)
        assert tiles == [(one.depth, one.nodes.astype(np.uint8).tobytes()) for one in reference.tiles]
    assert decoder.decoder.depth_map == reference.depth_map
    nodes = decoder.decoder.palettes[-1].nodes
    assert all(np.array_equal(a, b) for a, b in zip(nodes, reference.palettes, strict=True))


@settings(max_examples=25, phases=PHASES)
@given(draw=st.data())
def test_sections_that_somebody_else_wrote_reach_no_other_tile(
        profile: Profile, units: list[AccessUnit], draw: st.DataObject) -> None:
    """Palettes and depth maps are everybody's: here only texture is altered."""
    strange = altered(units, draw)
    kept = [dataclasses.replace(unit, sections=tuple(
        after if after.type == SectionType.TEXTURE else before
        for before, after in zip(unit.sections, other.sections, strict=True)))
        for unit, other in zip(units, strange, strict=True)]
    reached: set[int] = set()
    for unit, other, (_, true), (_, found) in zip(units, kept, States(profile).after(units),
                                                  States(profile).after(kept), strict=True):
        reached = set() if unit.key else reached
        reached |= {depth_and_tile(a.sub_index or 0)[1] for a, b in zip(unit.sections, other.sections, strict=True)
                    if a != b}
        assert [one for n, one in enumerate(found) if n not in reached] == [
            one for n, one in enumerate(true) if n not in reached]


# ---- whole streams, bit for bit


@pytest.fixture(scope="module")
def stream(profile: Profile) -> list[bytes]:
    """Three units of a photograph in which something moves."""
    encoder = Encoder(96, 64, rate=25, q=60, gop=3, profile=profile, threads=1,
                      texture=TextureSettings(Depths(FILES.DEPTH), frames="all", tile_log2=3))
    found = []
    for number in range(3):
        picture = pictures.astronaut()[40:104, 130:226].copy()
        picture[10:40, 10 * number:30 + 10 * number] = pictures.astronaut()[300:330, 200:230]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found


@pytest.fixture(scope="module")
def decoders(profile: Profile) -> dict[str, Decoder]:
    return {view: Decoder(profile=profile, threads=1, view=view) for view in ("machine", "texture")}


def shown(decoder: Decoder, units: Sequence[bytes]) -> list[bytes]:
    decoder.reset()
    return [one.to_ndarray().tobytes() for unit in units for one in decoder.decode(unit)]


@settings(max_examples=30, phases=PHASES)
@given(draw=st.data(), repaired=st.booleans())
def test_no_bits_of_texture_sections_reach_the_machine_view_or_stop_a_decoder(
        decoders: dict[str, Decoder], stream: list[bytes], draw: st.DataObject, repaired: bool) -> None:
    """repaired: with checksums that are right, as of somebody who wrote them on purpose."""
    broken = []
    for unit in stream:
        data = bytearray(unit)
        entries = [entry for entry in parse_header(unit).entries if entry.type in TEXTURE and entry.length]
        for entry in draw.draw(st.lists(st.sampled_from(entries), max_size=3)) if entries else ():
            data[entry.offset + draw.draw(st.integers(0, entry.length - 1))] ^= 1 << draw.draw(st.integers(0, 7))
            if repaired:
                end = entry.offset + entry.length
                data[end:end + 4] = struct.pack("<I", crc32c(data[entry.offset:end]))
        broken.append(bytes(data))
    assert shown(decoders["machine"], broken) == shown(decoders["machine"], stream)
    digest = []
    for units in (stream, broken):
        before = decoders["texture"].stats.damaged
        assert len(shown(decoders["texture"], units)) == len(stream)
        assert decoders["texture"].stats.damaged == before and decoders["texture"].stats.concealed == 0
        machine = decoders["texture"]._machine
        assert machine is not None and machine.z_m is not None
        digest.append(machine.z_m.tobytes())
    assert digest[0] == digest[1]


def test_the_streams_of_this_file_hold_what_is_altered(units: list[AccessUnit], stream: list[bytes]) -> None:
    def kinds(sections: Sequence[Section]) -> set[int]:
        return {section.type for section in sections}

    assert kinds(units[0].sections) >= set(TEXTURE) and kinds(parse(stream[0]).sections) >= set(TEXTURE)
    assert SectionType.TEXTURE in kinds(units[1].sections) & kinds(parse(stream[1]).sections)
