"""Damaged files and hostile units: named errors, concealment, bounded memory, and decoding that resumes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from duoview import BitstreamError, Decoder, Encoder, FrameOrigin, LimitError, Profile, ProfileError
from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize

if TYPE_CHECKING:
    from bench.damage import Verdict

CASES = 200
MIB = 1 << 20


def load_damage() -> ModuleType:
    """bench/damage.py: the same cases as the benchmark's thousand. Tests do not see the checkout as a package."""
    path = Path(__file__).resolve().parent.parent / "bench" / "damage.py"
    spec = importlib.util.spec_from_file_location("duoview_damage", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


damage = load_damage()


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    """200 random damages to one file, judged in a child process with 30 seconds for each at most."""
    clip = damage.Clip(width=96, height=64, frames=16, gop=4)
    return list(damage.run_cases(CASES, clip=clip, seed=11, bound=30.0))


@pytest.fixture(scope="module")
def units(profile: Profile) -> list[AccessUnit]:
    """Nine units: key, three P, key, three P, key."""
    clip = damage.Clip(width=96, height=64, frames=9, gop=4)
    encoder = Encoder(96, 64, rate=Fraction(25), gop=4, profile=profile, threads=1)
    return [parse(bytes(packet)) for frame in damage.pictures(clip) for packet in encoder.encode(frame)]


def origins(frames: Iterator[av.VideoFrame]) -> list[bool]:
    concealed = []
    for frame in frames:
        assert isinstance(frame.opaque, FrameOrigin)
        concealed.append(frame.opaque.concealed)
    return concealed


# ---- damage to whole files


def test_no_damage_crashes_or_hangs_the_decoder(verdicts: list[Verdict]) -> None:
    # A crash or a case beyond its time fails the fixture; here: all of them are there, and the slowest is far below it.
    assert len(verdicts) == CASES + 1
    assert max(verdict.seconds for verdict in verdicts) < 15


def test_the_undamaged_file_decodes_exactly(verdicts: list[Verdict]) -> None:
    whole = verdicts[0]
    assert (whole.units, whole.exact, whole.exact_keys, whole.concealed, whole.error) == (16, 16, 4, 0, "")


def test_every_kind_of_damage_was_tried_and_did_harm(verdicts: list[Verdict]) -> None:
    kinds = [verdict.damage.kind for verdict in verdicts[1:]]
    assert {kind: kinds.count(kind) >= 20 for kind in damage.KINDS} == dict.fromkeys(damage.KINDS, True)
    harmed = [verdict for verdict in verdicts[1:] if verdict.exact < 16]
    assert len(harmed) > CASES // 2


def test_decoding_resumes_exactly_at_every_key_unit_that_is_left(verdicts: list[Verdict]) -> None:
    assert sum(verdict.exact_keys != verdict.delivered_keys for verdict in verdicts) == 0
    read = [verdict for verdict in verdicts if not verdict.error]
    found, intact = (sum(getattr(v, name) for v in read) for name in ("delivered_keys", "intact_keys"))
    # The container may lose a whole unit behind damage to its own headers, but seldom.
    assert found >= 0.98 * intact
    assert intact > 2 * CASES


def test_undamaged_units_behind_undamaged_key_units_decode_exactly(verdicts: list[Verdict]) -> None:
    assert [verdict for verdict in verdicts if verdict.wrong] == []


def test_memory_does_not_grow_with_damage(verdicts: list[Verdict]) -> None:
    assert verdicts[-1].peak_mib - verdicts[0].peak_mib < 128


def test_a_file_that_cannot_be_read_at_all_has_a_named_error(verdicts: list[Verdict]) -> None:
    unreadable = [verdict.error for verdict in verdicts if verdict.error]
    assert all(error.startswith("Container") for error in unreadable)
    assert len(unreadable) < CASES // 10
    assert all(verdict.units or verdict.error or verdict.container_damage for verdict in verdicts)


@pytest.mark.parametrize("change", [-28, -1, 1, 28])
def test_a_byte_too_many_or_too_few_costs_one_group_of_pictures(profile: Profile, change: int) -> None:
    # NUT's next frame header is then read in the wrong place, and what it says may swallow the rest of a quiet file.
    reference = damage.make_reference(damage.Clip(width=96, height=64, frames=16, gop=4), profile)
    at = reference.data.find(reference.units[5]) + 40
    file = reference.data[:at] + (bytes(change) if change > 0 else b"") + reference.data[at - min(change, 0):]
    verdict = damage.judge(damage.Damage("test", at, change), file, reference, Decoder(profile=profile, threads=1))
    assert (verdict.delivered_keys, verdict.exact_keys, verdict.wrong) == (4, 4, 0)
    assert verdict.exact == 13  # all but the damaged unit and the two behind it in its group


# ---- damage to units


def test_a_flipped_bit_in_a_payload_conceals_until_the_next_key_frame(
        profile: Profile, units: list[AccessUnit]) -> None:
    data = [bytearray(serialize(unit)) for unit in units]
    data[2][-6] ^= 4  # in the machine payload, before its CRC
    decoder = Decoder(profile=profile, threads=1)
    shown = [decoder.decode(bytes(unit))[0] for unit in data]
    assert origins(iter(shown)) == [False, False, True, True, False, False, False, False, False]
    assert "CRC" in decoder.stats.last_damage


def test_a_damaged_first_key_unit_gives_no_picture_until_the_next(profile: Profile, units: list[AccessUnit]) -> None:
    data = [bytearray(serialize(unit)) for unit in units]
    data[0][40] ^= 1
    decoder = Decoder(profile=profile, threads=1)
    assert [len(decoder.decode(bytes(unit))) for unit in data] == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert (decoder.stats.damaged, decoder.stats.skipped) == (1, 4)


def test_strict_decoding_raises_where_the_damage_is(profile: Profile, units: list[AccessUnit]) -> None:
    # A section more gives a unit the long form, whose sections have checksums of their own.
    longer = replace(units[0], sections=(Section(100, None, b"more"), *units[0].sections))
    for unit, message in ((units[0], "of the access unit is wrong"), (longer, "machine section: CRC-32C")):
        data = bytearray(serialize(unit))
        data[-6] ^= 4
        with pytest.raises(BitstreamError, match=message):
            Decoder(profile=profile, threads=1, strict=True).decode(bytes(data))


def test_units_behind_a_refused_one_wait_for_a_key_frame_also_when_strict(
        profile: Profile, units: list[AccessUnit]) -> None:
    data = [bytearray(serialize(unit)) for unit in units]
    data[2][-6] ^= 4
    decoder = Decoder(profile=profile, threads=1, strict=True)
    shown: list[av.VideoFrame] = []
    for number, unit in enumerate(data):
        if number == 2:
            with pytest.raises(BitstreamError):
                decoder.decode(bytes(unit))
            before = decoder.symbols_sha256()
        else:
            shown += decoder.decode(bytes(unit))
        if number == 3:
            assert decoder.symbols_sha256() == before
    assert origins(iter(shown)) == [False, False, True, False, False, False, False, False]


def test_units_behind_a_key_unit_that_was_refused_are_not_decoded_against_an_older_one(
        profile: Profile, units: list[AccessUnit]) -> None:
    assert units[4].sequence is not None
    too_large = serialize(replace(units[4], sequence=replace(units[4].sequence, width=16384, height=16384)))
    decoder = Decoder(profile=profile, threads=1)
    decoder.decode(serialize(units[0]))
    with pytest.raises(LimitError):
        decoder.decode(too_large)
    (frame,) = decoder.decode(serialize(units[1]))
    assert origins(iter([frame])) == [True]


def with_payload(unit: AccessUnit, payload: bytes) -> bytes:
    """The unit with another machine payload and right checksums: what only a broken or hostile encoder makes."""
    sections = tuple(Section(s.type, s.sub_index, payload) if s.type == SectionType.MACHINE else s
                     for s in unit.sections)
    return serialize(replace(unit, sections=sections))


def test_random_payloads_under_right_checksums_are_named_damage(profile: Profile, units: list[AccessUnit]) -> None:
    generator = np.random.default_rng(5)
    decoder = Decoder(profile=profile, threads=1, strict=True)
    refused = 0
    for _ in range(150):
        length = int(generator.integers(0, 3000))
        decoder.decode(serialize(units[0]))
        target = units[int(generator.integers(2))]
        try:
            decoder.decode(with_payload(target, generator.bytes(length)))
        except BitstreamError:
            refused += 1
            decoder.reset()
    # The final states and full consumption are checked: chance passes less than once in 65,536.
    assert refused == 150


def test_a_payload_read_at_another_quality_is_named_damage(profile: Profile, units: list[AccessUnit]) -> None:
    other = tuple(Section(s.type, s.sub_index, b"\x3f") if s.type == SectionType.QUALITY else s
                  for s in units[0].sections)
    with pytest.raises(BitstreamError):
        Decoder(profile=profile, threads=1, strict=True).decode(serialize(replace(units[0], sections=other)))


@pytest.mark.parametrize("quality", [b"", b"\x40", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"])
def test_an_impossible_quality_index_is_named_damage(
        profile: Profile, units: list[AccessUnit], quality: bytes) -> None:
    sections = tuple(Section(s.type, s.sub_index, quality) if s.type == SectionType.QUALITY else s
                     for s in units[0].sections)
    with pytest.raises(BitstreamError):
        Decoder(profile=profile, threads=1, strict=True).decode(serialize(replace(units[0], sections=sections)))


def test_a_damaged_gain_map_is_refused_not_ignored(profile: Profile, units: list[AccessUnit]) -> None:
    sections = tuple(Section(s.type, s.sub_index, s.payload + b"\x01") if s.type == SectionType.QUALITY else s
                     for s in units[0].sections)
    with pytest.raises(BitstreamError, match="gain map"):
        Decoder(profile=profile, threads=1, strict=True).decode(serialize(replace(units[0], sections=sections)))


def test_a_p_unit_whose_new_quality_is_damaged_is_concealed(profile: Profile, units: list[AccessUnit]) -> None:
    # The first section of the table: its payload follows the header.
    changed = replace(units[1], sections=(Section(SectionType.QUALITY, None, b"\x18"), *units[1].sections))
    data = bytearray(serialize(changed))
    data[-len(changed.sections[1].payload) - 4 - 4 - 1] ^= 1
    decoder = Decoder(profile=profile, threads=1)
    shown = [frame for unit in (serialize(units[0]), bytes(data)) for frame in decoder.decode(unit)]
    assert origins(iter(shown)) == [False, True]
    assert decoder.stats.last_damage.startswith("quality section: CRC")


def test_a_key_unit_without_quality_or_machine_section_is_named_damage(
        profile: Profile, units: list[AccessUnit]) -> None:
    for missing, name in ((SectionType.QUALITY, "quality"), (SectionType.MACHINE, "machine")):
        rest = tuple(s for s in units[0].sections if s.type != missing)
        with pytest.raises(BitstreamError, match=name):
            Decoder(profile=profile, threads=1, strict=True).decode(serialize(replace(units[0], sections=rest)))


# ---- impossible sizes and other profiles


@pytest.mark.parametrize(("width", "height"), [(16384, 16384), (16384, 2049)])
def test_a_stream_larger_than_allowed_is_refused_before_memory_is_taken(
        profile: Profile, units: list[AccessUnit], width: int, height: int) -> None:
    assert units[0].sequence is not None
    hostile = serialize(replace(units[0], sequence=replace(units[0].sequence, width=width, height=height)))
    decoder = Decoder(profile=profile, threads=1)
    tracemalloc.start()
    try:
        with pytest.raises(LimitError, match=f"{width}x{height}"):
            decoder.decode(hostile)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB


def test_the_size_limit_is_the_callers(profile: Profile, units: list[AccessUnit]) -> None:
    with pytest.raises(LimitError, match="96x64"):
        Decoder(profile=profile, threads=1, max_pixels=96 * 64 - 1).decode(serialize(units[0]))
    assert len(Decoder(profile=profile, threads=1, max_pixels=96 * 64).decode(serialize(units[0]))) == 1


def test_a_size_that_does_not_fit_the_payload_is_named_damage(profile: Profile, units: list[AccessUnit]) -> None:
    assert units[0].sequence is not None
    wrong = serialize(replace(units[0], sequence=replace(units[0].sequence, width=640, height=360)))
    with pytest.raises(BitstreamError):
        Decoder(profile=profile, threads=1, strict=True).decode(wrong)


@pytest.fixture
def other_profile(profile: Profile, tmp_path: Path) -> Profile:
    """The bundled networks under another name: its hash differs."""
    folder = tmp_path / "other"
    shutil.copytree(profile.folder, folder)
    manifest = json.loads((folder / "profile.json").read_text())
    manifest["name"] = "other"
    (folder / "profile.json").write_text(json.dumps(manifest))
    return Profile(folder)


def test_a_stream_of_another_profile_names_both_hashes(other_profile: Profile, units: list[AccessUnit]) -> None:
    assert units[0].sequence is not None
    with pytest.raises(ProfileError) as raised:
        Decoder(profile=other_profile, threads=1).decode(serialize(units[0]))
    assert units[0].sequence.profile_hash.hex()[:12] in str(raised.value)
    assert other_profile.sha256.hex()[:12] in str(raised.value)


def test_a_stream_of_a_profile_that_is_not_here_names_it(other_profile: Profile) -> None:
    (packet,) = Encoder(64, 64, profile=other_profile, threads=1).encode(av.VideoFrame(64, 64, "rgb24"))
    with pytest.raises(ProfileError, match="'other'"):
        Decoder(threads=1).decode(packet)
    assert len(Decoder(profile=other_profile, threads=1).decode(packet)) == 1


def test_a_changed_network_file_is_refused_by_its_hash(other_profile: Profile) -> None:
    path = other_profile.folder / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ProfileError, match=r"decoder\.onnx has sha256 " + hashlib.sha256(
            path.read_bytes()).hexdigest()[:12]):
        Decoder(profile=other_profile, threads=1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "not JSON"])
def test_a_manifest_that_is_none_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)
    with pytest.raises(ProfileError, match=r"profile\.json"):
        Profile(tmp_path)


def test_a_missing_profile_names_those_that_are_there() -> None:
    with pytest.raises(ProfileError, match="bundled: s"):
        Profile("nowhere")
