"""Retention drops texture before anything else: segments are written anew, whole at every moment, at the same times."""

from __future__ import annotations

import errno
import json
import os
import runpy
import shutil
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

import duoview
from duoview.access_unit import parse_header
from duoview.encoder import Encoder
from duoview.errors import ContainerFormatError
from duoview.pipelines.live_packet import Capture
from duoview.pipelines.retention import archive as archive_module
from duoview.pipelines.retention.archive import Archive, Kind, Stored, Tier, present_segments, texture_path
from duoview.pipelines.retention.journal import JournalWriter
from duoview.pipelines.retention.retention import DiskFullError, Limit, Retention
from duoview.pipelines.retention.texture import texture_of, write_without_texture
from duoview.pipelines.run.event_journal import events_path
from duoview.pipelines.segment_file import Content
from duoview.pipelines.segment_index import SegmentIndex, read_segments
from duoview.pipelines.unit_recorder import UnitRecorder, unit_packet
from duoview.plugins.links import Link, LinkType
from duoview.texture.cutting import texture_bytes

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
BEGIN = 1_700_000_000_000_000  # microseconds since 1970
SEGMENTS, FRAMES = 4, 3
Packets = list[tuple[int, int, int, bool]]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("profile") / "profile"
    FILES.write_profile(folder)
    return folder


@pytest.fixture(scope="module", params=["nut", "ts"])
def recorded(request: pytest.FixtureRequest, profile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four segments of a machine layer with texture, and an event in the third of them."""
    folder = tmp_path_factory.mktemp("recorded")
    encoder = Encoder(96, 80, rate=1, q=20, gop=FRAMES, profile=profile, threads=1, texture=4)
    link = Link(LinkType.ACCESS_UNITS, Fraction(1, 1000), Fraction(1), 96, 80)
    photograph = data.astronaut()
    with UnitRecorder(folder, "gate.machine", seconds=FRAMES, format=request.param) as recorder:
        for number in range(SEGMENTS * FRAMES):
            picture = np.ascontiguousarray(photograph[60:140, 150 + number:246 + number])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base, frame.duration = 1000 * number, Fraction(1, 1000), 1000
            for unit in encoder.encode(frame):
                capture = Capture("gate", BEGIN + 60_000_000 * (number // FRAMES) + 1_000_000 * (number % FRAMES), 1,
                                  False)
                recorder.write(unit_packet(unit, link, capture))
    writer = JournalWriter(events_path(folder, "gate"))
    writer.add([{"trigger": "t", "number": 1, "kind": "present", "start_utc_us": BEGIN + 121_000_000,
                 "end_utc_us": BEGIN + 121_500_000, "ongoing": False}])
    writer.close()
    return folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "here"))


def opened(folder: Path) -> Archive:
    return Archive(folder, "gate.machine", Kind.MACHINE, events=events_path(folder, "gate"))


def stored(folder: Path) -> list[Stored]:
    archive = opened(folder)
    archive.refresh()
    return archive.stored()


def textured(folder: Path) -> list[int]:
    """The numbers of the segments that have texture, as their files say."""
    return [one.number for one in present_segments(folder, "gate.machine") if texture_of(folder / one.file)]


def packets(path: Path) -> Packets:
    with duoview.open(str(path)) as container:
        return [(packet.pts, packet.dts, packet.duration, packet.is_keyframe) for packet in container.demux()]


def pictures(path: Path, profile: Path) -> list[NDArray[Any]]:
    with duoview.open(str(path)) as container:
        decoder = duoview.Decoder(profile=profile, view="machine", threads=1)
        return [frame.to_ndarray(format="rgb24") for packet in [*container.demux(), None]
                for frame in decoder.decode(packet)]


def test_the_index_counts_the_texture_of_a_segment(folder: Path) -> None:
    for one in read_segments(folder, "gate.machine"):
        with duoview.open(str(folder / one.file)) as container:
            counted = sum(texture_bytes(parse_header(bytes(packet))) for packet in container.demux())
        assert one.texture == counted > 0


def test_texture_is_a_tier_of_its_own_beside_its_segment(folder: Path) -> None:
    tiers = [(one.segment.number, one.tier) for one in stored(folder)]
    assert tiers == [
        (1, Tier.MACHINE_ONLY), (1, Tier.TEXTURE), (2, Tier.MACHINE_ONLY), (2, Tier.TEXTURE),
        (3, Tier.MACHINE_OF_EVENTS), (3, Tier.TEXTURE_OF_EVENTS), (4, Tier.MACHINE_ONLY), (4, Tier.TEXTURE)]


def test_texture_that_is_too_old_goes_and_the_machine_layer_stays_as_it_was(folder: Path, profile: Path) -> None:
    first, *rest = present_segments(folder, "gate.machine")
    times, shown = packets(folder / first.file), pictures(folder / first.file, profile)
    limits = {Tier.TEXTURE: Limit(age=100)}
    removed = Retention(folder, limits, now=lambda: BEGIN + 110_000_000).run([opened(folder)])
    assert dict(removed.segments) == {(Tier.TEXTURE, "age"): 1} and textured(folder) == [2, 3, 4]
    assert packets(folder / first.file) == times
    assert all(np.array_equal(one, other) for one, other in
               zip(pictures(folder / first.file, profile), shown, strict=True))
    assert [one.file for one in present_segments(folder, "gate.machine")] == [first.file, *(one.file for one in rest)]


def test_what_is_left_is_what_the_index_tells(folder: Path) -> None:
    before = present_segments(folder, "gate.machine")
    Retention(folder, {Tier.TEXTURE: Limit(size=0)}).run([opened(folder)])
    after = present_segments(folder, "gate.machine")
    for one, other in zip(before, after, strict=True):
        with duoview.open(str(folder / other.file)) as container:
            assert other.bytes == sum(packet.size for packet in container.demux())
        assert other.texture == (one.texture if one.number == 3 else 0)
        assert (one.utc, one.seconds, one.start, one.frames) == (other.utc, other.seconds, other.start, other.frames)


def test_a_new_process_knows_what_was_dropped(folder: Path) -> None:
    Retention(folder, {Tier.TEXTURE: Limit(size=0)}).run([opened(folder)])
    assert [one.segment.number for one in stored(folder) if one.tier in (Tier.TEXTURE, Tier.TEXTURE_OF_EVENTS)] == [3]
    again = Retention(folder, {Tier.TEXTURE: Limit(size=0)}).run([opened(folder)])
    assert not again.segments and not again.failures


def test_for_room_texture_goes_first_then_human_streams_and_the_machine_layer_of_an_event_never(folder: Path) -> None:
    index = SegmentIndex(folder, "gate", sync=False)
    for number in range(3):
        part = index.part_path(BEGIN + 300_000_000 + number * 1_000_000, "mkv")
        part.write_bytes(bytes(1 << 16))
        index.add(part, Content(10, 10, 900, 1.0), utc=BEGIN + 300_000_000 + number * 1_000_000, start=0.0,
                  connection=1, gap=False)
    index.close()

    def free(_: Path) -> int:
        return (1 << 22) - sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".nut", ".ts",
                                                                                                  ".mkv"))

    def left() -> tuple[list[int], list[int], list[int]]:
        return (textured(folder), [one.number for one in present_segments(folder, "gate")],
                [one.number for one in present_segments(folder, "gate.machine")])

    def make_room(lacking: int) -> tuple[list[int], list[int], list[int]]:
        reserve = free(folder) + lacking
        camera = Archive(folder, "gate", Kind.CAMERA, events=events_path(folder, "gate"))
        Retention(folder, {}, reserve=reserve, free=free).run([camera, opened(folder)])
        return left()

    assert make_room(1) == ([2, 3, 4], [1, 2, 3], [1, 2, 3, 4])
    two = sum(one.bytes for one in stored(folder) if one.tier is Tier.TEXTURE)
    assert make_room(3 * two // 4) == ([3], [1, 2, 3], [1, 2, 3, 4])
    assert make_room(1) == ([], [1, 2, 3], [1, 2, 3, 4])
    assert make_room(2 << 16) == ([], [3], [1, 2, 3, 4])
    assert make_room((1 << 16) + 1) == ([], [], [2, 3, 4])


def test_with_a_policy_that_removes_nothing_texture_stays_too(folder: Path) -> None:
    retention = Retention(folder, {}, reserve=1 << 30, free=lambda _: 0)
    with pytest.raises(OSError, match="the policy removes nothing"):
        retention.run([opened(folder)], delete_for_room=False)
    assert textured(folder) == [1, 2, 3, 4]


class _PowerCutError(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches a kill."""


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_pass_that_is_killed_while_it_drops_texture_leaves_whole_segments(
    folder: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {one.file: packets(folder / one.file) for one in present_segments(folder, "gate.machine")}
    calls = iter(range(1, 10**6))

    def dies(call: Any) -> Any:
        def called(*arguments: Any, **named: Any) -> Any:
            if next(calls) == moment:
                raise _PowerCutError
            return call(*arguments, **named)

        return called

    limits = {tier: Limit(size=0) for tier in (Tier.TEXTURE, Tier.TEXTURE_OF_EVENTS)}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies(Path.replace))
        patch.setattr(os, "fsync", dies(os.fsync))
        with pytest.raises(_PowerCutError):
            Retention(folder, limits).run([opened(folder)])
    assert {one.file: packets(folder / one.file) for one in present_segments(folder, "gate.machine")} == times
    Retention(folder, limits).run([opened(folder)])
    assert textured(folder) == [] and not list(folder.glob("*.cut"))
    assert {one.file: packets(folder / one.file) for one in present_segments(folder, "gate.machine")} == times


def test_a_file_that_a_killed_pass_was_writing_is_removed_by_the_next(folder: Path) -> None:
    first = present_segments(folder, "gate.machine")[0]
    (folder / f"{first.file}.cut").write_bytes(b"half a segment")
    stored(folder)
    assert not list(folder.glob("*.cut"))


def test_a_damaged_segment_keeps_its_texture_and_is_told_of(folder: Path) -> None:
    second = present_segments(folder, "gate.machine")[1]
    path = folder / second.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    archive, before = opened(folder), bytes(content)
    retention = Retention(folder, {Tier.TEXTURE: Limit(size=0)})
    removed = retention.run([archive])
    if texture_of(path):
        assert len(removed.failures) == 1 and path.read_bytes() == before
        assert retention.run([archive]).failures == []
    assert [number for number in textured(folder) if number != 2] == [3]
    assert not list(folder.glob("*.cut"))


def test_without_room_for_the_new_file_the_segment_stays_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(archive_module, "write_without_texture", full)
    removed = Retention(folder, {Tier.TEXTURE: Limit(size=0)}).run([opened(folder)])
    assert not removed.failures and not removed.segments and textured(folder) == [1, 2, 3, 4]


def test_a_pass_writes_so_much_anew_and_the_next_ones_go_on(folder: Path) -> None:
    retention = Retention(folder, {Tier.TEXTURE: Limit(size=0), Tier.TEXTURE_OF_EVENTS: Limit(size=0)}, rewritten=1)
    archive = opened(folder)
    left = [(retention.run([archive]).unfinished, textured(folder)) for _ in range(5)]
    assert left == [(True, [2, 3, 4]), (True, [3, 4]), (True, [3]), (False, []), (False, [])]


def test_a_pass_that_may_write_no_more_anew_removes_nothing_else_for_room(folder: Path) -> None:
    archive = opened(folder)
    retention = Retention(folder, {}, reserve=1 << 40, free=lambda _: 0, rewritten=1)
    removed = retention.run([archive])
    assert removed.unfinished and dict(removed.segments) == {(Tier.TEXTURE, "disk"): 1}
    assert len(present_segments(folder, "gate.machine")) == SEGMENTS


def test_with_a_policy_that_removes_nothing_a_pass_that_may_write_no_more_anew_tells_of_the_full_disk(
    folder: Path,
) -> None:
    retention = Retention(folder, {Tier.TEXTURE: Limit(size=0)}, reserve=1 << 40, free=lambda _: 0, rewritten=1)
    archive = opened(folder)
    for left in ([2, 3, 4], [3, 4], [3]):
        with pytest.raises(DiskFullError) as raised:
            retention.run([archive], delete_for_room=False)
        assert textured(folder) == left and dict(raised.value.removed.segments) == {(Tier.TEXTURE, "size"): 1}
        assert raised.value.removed.unfinished == (left != [3])


def test_a_pass_ends_before_the_next_file_when_it_is_to_stop(folder: Path) -> None:
    archive, asked = opened(folder), chain((False, False, False), repeat(True))
    removed = Retention(folder, {Tier.TEXTURE: Limit(size=0)}).run([archive], stop=lambda: next(asked))
    assert removed.unfinished and textured(folder) == [3, 4]


def test_a_file_that_cannot_be_written_anew_does_not_keep_a_pass_from_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = present_segments(folder, "gate.machine")[0].file

    def failing(source: Path, target: Path) -> int:
        if source.name == first:
            raise OSError(errno.EIO, "Input/output error", str(source))
        return write_without_texture(source, target)

    monkeypatch.setattr(archive_module, "write_without_texture", failing)
    removed = Retention(folder, {Tier.TEXTURE: Limit(size=0)}, rewritten=1).run([opened(folder)])
    assert removed.unfinished and len(removed.failures) == 1 and textured(folder) == [1, 3, 4]


def test_texture_of_segments_that_nobody_counted_is_found_in_their_files(folder: Path) -> None:
    path = folder / "gate.machine.segments.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({key: value for key, value in line.items() if key != "texture"}) + "\n"
                            for line in lines))
    assert [one.bytes for one in stored(folder) if one.tier is Tier.TEXTURE] == [
        line["texture"] for line in lines if line["number"] != 3]


def test_a_damaged_note_of_texture_is_an_error_that_names_it(folder: Path) -> None:
    texture_path(folder, "gate.machine").write_text('{"number": 1}\n')
    with pytest.raises(ContainerFormatError, match=r"gate\.machine\.texture\.jsonl: a damaged line"):
        present_segments(folder, "gate.machine")
