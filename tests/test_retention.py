"""Retention: what goes first, what never goes, and that a pass may die at any moment."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duoview.errors import LimitError
from duoview.pipelines.retention.archive import Archive, Kind, Tier, present_segments, removed_path
from duoview.pipelines.retention.journal import JournalReader, JournalWriter
from duoview.pipelines.retention.retention import DiskFullError, Limit, Retention
from duoview.pipelines.run.event_journal import events_path
from duoview.pipelines.segment_file import Content
from duoview.pipelines.segment_index import SegmentIndex, read_segments

BEGIN = 1_700_000_000_000_000  # microseconds since 1970
MINUTE = 60_000_000
SIZE = 4096  # a block: files take whole ones


def record(folder: Path, name: str, minutes: int, ending: str = "mkv") -> None:
    """A recording of minutes, each a file of one block."""
    index = SegmentIndex(folder, name, sync=False)
    for number in range(minutes):
        utc = BEGIN + number * MINUTE
        part = index.part_path(utc, ending)
        part.write_bytes(bytes(SIZE))
        index.add(part, Content(10, 10, 900, 60.0), utc=utc, start=60.0 * number, connection=1, gap=False)
    index.close()


def event(folder: Path, camera: str, number: int, minute: float, kind: str) -> None:
    writer = JournalWriter(events_path(folder, camera))
    begin = BEGIN + round(minute * MINUTE)
    writer.add([{"trigger": "t", "number": number, "kind": kind, "start_utc_us": begin, "end_utc_us": begin + 1000000,
                 "ongoing": False}])
    writer.close()


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[list[Archive]]:
    """Ten minutes of a camera and its machine layer, motion in minute 3, a person in minute 6, and a clip of it."""
    record(tmp_path, "gate", 10)
    record(tmp_path, "gate.machine", 10, "nut")
    record(tmp_path, "gate.clips", 1)
    event(tmp_path, "gate", 1, 3.5, "motion")
    event(tmp_path, "gate", 2, 6.5, "present")
    yield open_archives(tmp_path)


def open_archives(folder: Path) -> list[Archive]:
    events = events_path(folder, "gate")
    return [Archive(folder, name, kind, events=events)
            for name, kind in (("gate", Kind.CAMERA), ("gate.machine", Kind.MACHINE), ("gate.clips", Kind.CLIPS))]


def left(folder: Path) -> dict[str, list[int]]:
    return {name: [one.number for one in present_segments(folder, name)] for name in ("gate", "gate.machine",
                                                                                    "gate.clips")}


def consistent(folder: Path) -> bool:
    """Every segment that is listed and not removed has its file, and no other file is there."""
    listed = {one.file for name in left(folder) for one in present_segments(folder, name)}
    return listed == {path.name for path in folder.iterdir() if path.suffix in (".mkv", ".nut")}


def test_segments_are_worth_what_happened_in_them(archives: list[Archive]) -> None:
    for archive in archives:
        archive.refresh()
    tiers = {(one.archive.name, one.segment.number): one.tier for archive in archives for one in archive.stored()}
    assert [number for (name, number), tier in tiers.items() if name == "gate" and tier is Tier.MOTION] == [4]
    assert [number for (name, number), tier in tiers.items() if name == "gate" and tier is Tier.EVENTS] == [7]
    assert tiers["gate.clips", 1] is Tier.EVENTS
    assert [key for key, tier in tiers.items() if tier is Tier.MACHINE_OF_EVENTS] == [
        ("gate.machine", 4), ("gate.machine", 7)]
    assert tiers["gate.machine", 1] is Tier.MACHINE_ONLY


def test_what_is_too_old_goes_by_its_own_tier_only(archives: list[Archive], tmp_path: Path) -> None:
    retention = Retention(tmp_path, {Tier.CONTINUOUS: Limit(age=240), Tier.MOTION: Limit(age=10000)},
                          now=lambda: BEGIN + 10 * MINUTE)
    removed = retention.run(archives)
    assert left(tmp_path)["gate"] == [4, 6, 7, 8, 9, 10]
    assert dict(removed.segments) == {(Tier.CONTINUOUS, "age"): 4} and removed.bytes == 4 * SIZE
    assert left(tmp_path)["gate.machine"] == list(range(1, 11)) and consistent(tmp_path)


def test_what_is_too_much_goes_the_oldest_first(archives: list[Archive], tmp_path: Path) -> None:
    Retention(tmp_path, {Tier.CONTINUOUS: Limit(size=2 * SIZE), Tier.MACHINE_ONLY: Limit(size=0)}).run(archives)
    assert left(tmp_path) == {"gate": [4, 7, 9, 10], "gate.machine": [4, 7], "gate.clips": [1]}
    assert consistent(tmp_path)


def free_of(folder: Path, disk: int) -> int:
    return disk - sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".mkv", ".nut"))


@pytest.mark.parametrize(
    ("room", "expected"),
    [(3, {"gate": [4, 5, 6, 7, 8, 9, 10]}), (8, {"gate": [4, 7]}), (9, {"gate": [7]}),
     (11, {"gate": [], "gate.clips": []}), (13, {"gate": [], "gate.machine": [3, 4, 5, 6, 7, 8, 9, 10]}),
     (19, {"gate": [], "gate.clips": [], "gate.machine": [4, 7]})],
)  # fmt: skip
def test_for_room_tiers_go_in_their_order_and_the_machine_layer_of_an_event_never(
    archives: list[Archive], tmp_path: Path, room: int, expected: dict[str, list[int]]
) -> None:
    retention = Retention(tmp_path, {}, reserve=room * SIZE, free=lambda folder: free_of(folder, 21 * SIZE))
    retention.run(archives)
    assert {name: left(tmp_path)[name] for name in expected} == expected
    assert consistent(tmp_path)


def test_a_disk_that_frees_late_loses_one_segment_more_than_what_lacks_at_most(
    archives: list[Archive], tmp_path: Path
) -> None:
    before = left(tmp_path)
    Retention(tmp_path, {}, reserve=4 * SIZE, free=lambda folder: 2 * SIZE).run(archives)
    assert sum(map(len, before.values())) - sum(map(len, left(tmp_path).values())) == 3
    assert consistent(tmp_path)


def test_when_nothing_more_may_go_the_error_says_so(archives: list[Archive], tmp_path: Path) -> None:
    retention = Retention(tmp_path, {}, reserve=20 * SIZE, free=lambda folder: free_of(folder, 21 * SIZE))
    with pytest.raises(DiskFullError, match="77824 bytes free, the reserve is 81920; only the machine layer of"):
        retention.run(archives)
    assert left(tmp_path)["gate.machine"] == [4, 7]


def test_a_policy_that_removes_nothing_for_room_raises_and_still_sees_to_ages(
    archives: list[Archive], tmp_path: Path
) -> None:
    retention = Retention(tmp_path, {Tier.MACHINE_ONLY: Limit(age=0)}, reserve=1, free=lambda folder: 0)
    with pytest.raises(DiskFullError, match="the policy removes nothing"):
        retention.run(archives, delete_for_room=False)
    assert left(tmp_path) == {"gate": list(range(1, 11)), "gate.machine": [4, 7], "gate.clips": [1]}


class _PowerCutError(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches a kill."""


@pytest.mark.parametrize("moment", range(1, 40))
def test_a_pass_that_is_killed_at_any_moment_leaves_a_consistent_index(
    archives: list[Archive], tmp_path: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1, 10**6))

    def dies(call: Any) -> Any:
        def called(*arguments: Any, **named: Any) -> Any:
            if next(calls) == moment:
                raise _PowerCutError
            return call(*arguments, **named)

        return called

    retention = Retention(tmp_path, {tier: Limit(size=0) for tier in Tier})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dies(Path.unlink))
        patch.setattr(os, "fsync", dies(os.fsync))
        try:
            retention.run(archives)
            assert moment > 24, "all system calls were made: the test looked at too few"
        except _PowerCutError:
            pass
    # Whoever looks now finds no segment without its file ...
    listed = {one.file for name in left(tmp_path) for one in present_segments(tmp_path, name)}
    assert all((tmp_path / file).is_file() for file in listed)
    # ... and the next process ends what was begun.
    for archive in open_archives(tmp_path):
        archive.refresh()
    assert consistent(tmp_path)
    record_again(tmp_path)


def record_again(folder: Path) -> None:
    """The recorder's own index is untouched: its numbers go on."""
    index = SegmentIndex(folder, "gate", sync=False)
    assert index.next == 11
    index.close()
    assert [one.number for one in read_segments(folder, "gate")] == list(range(1, 11))


def test_a_note_that_was_cut_off_is_no_note(archives: list[Archive], tmp_path: Path) -> None:
    removed_path(tmp_path, "gate").write_bytes(b'{"number": 1, "why": "age"}\n{"number": 2, "wh')
    for archive in archives:
        archive.refresh()
    assert left(tmp_path)["gate"] == list(range(2, 11)) and consistent(tmp_path)
    archives[0].remove([present_segments(tmp_path, "gate")[0]], "size")
    assert [note["number"] for note in JournalReader(removed_path(tmp_path, "gate")).new(dict)] == [1, 2]


def test_a_segment_whose_file_somebody_removed_is_noted_as_missing(archives: list[Archive], tmp_path: Path) -> None:
    (tmp_path / present_segments(tmp_path, "gate")[4].file).unlink()
    for archive in archives:
        archive.refresh()
    assert JournalReader(removed_path(tmp_path, "gate")).new(dict) == [{"number": 5, "why": "missing"}]


def test_on_a_disk_without_room_for_the_note_a_file_goes_first(
    archives: list[Archive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archives[0]
    archive.refresh()
    first = present_segments(tmp_path, "gate")[:3]
    add = JournalWriter.add

    def full(self: JournalWriter, *arguments: Any, **named: Any) -> None:
        if (tmp_path / first[0].file).exists():
            raise OSError(errno.ENOSPC, "no space")
        add(self, *arguments, **named)

    monkeypatch.setattr(JournalWriter, "add", full)
    assert archive.remove(first, "disk") == 3 * SIZE
    assert left(tmp_path)["gate"] == list(range(4, 11)) and consistent(tmp_path)


def test_new_segments_and_events_are_seen_by_the_next_pass(archives: list[Archive], tmp_path: Path) -> None:
    retention = Retention(tmp_path, {Tier.CONTINUOUS: Limit(size=0)})
    event(tmp_path, "gate", 3, 1.5, "cross")
    retention.run(archives)
    assert left(tmp_path)["gate"] == [2, 4, 7]
    index = SegmentIndex(tmp_path, "gate", sync=False)
    part = index.part_path(BEGIN + 20 * MINUTE, "mkv")
    part.write_bytes(bytes(SIZE))
    index.add(part, Content(10, 10, 900, 60.0), utc=BEGIN + 20 * MINUTE, start=0.0, connection=1, gap=False)
    index.close()
    retention.run(archives)
    assert left(tmp_path)["gate"] == [2, 4, 7] and consistent(tmp_path)


@pytest.mark.parametrize("values", [{"age": -1}, {"size": -1}])
def test_limits_below_nothing_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(LimitError, match="expected 0 or more"):
        Limit(**values)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_to_the_last_byte_is_given_its_reserve_again(small_disk: Path) -> None:
    record(small_disk, "gate", 8)
    archive = Archive(small_disk, "gate", Kind.CAMERA)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(512))
    Retention(small_disk, {}, reserve=3 * SIZE).run([archive])
    archive.close()
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize >= 3 * SIZE
    numbers = [one.number for one in present_segments(small_disk, "gate")]
    assert numbers == list(range(numbers[0], 9)) and 1 < numbers[0] <= 8


def test_an_archive_that_cannot_be_read_is_left_alone_and_the_others_are_seen_to(tmp_path: Path) -> None:
    for name in ("gate", "yard"):
        record(tmp_path, name, 3)
    events_path(tmp_path, "gate").write_text('{"of": "something else"}\n')
    archives = [Archive(tmp_path, name, Kind.CAMERA, events=events_path(tmp_path, name)) for name in ("gate", "yard")]
    retention = Retention(tmp_path, {Tier.CONTINUOUS: Limit(size=SIZE)}, reserve=0)
    for _ in range(2):  # the line counts as unseen
        removed = retention.run(archives)
        assert [str(tmp_path / "gate.events.jsonl") in str(error) for error in removed.failures] == [True]
    assert [len(present_segments(tmp_path, name)) for name in ("gate", "yard")] == [3, 1]


def test_a_listed_name_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder, other = tmp_path / "recordings", tmp_path / "other.mkv"
    folder.mkdir()
    other.write_bytes(b"not ours")
    record(folder, "gate", 1)
    index = folder / "gate.segments.jsonl"
    index.write_text(index.read_text().replace(read_segments(folder, "gate")[0].file, "../other.mkv"))
    retention = Retention(folder, {Tier.CONTINUOUS: Limit(age=0)}, reserve=0)
    removed = retention.run([Archive(folder, "gate", Kind.CAMERA)])
    assert other.exists() and "is no name of a file" in str(removed.failures[0])


def test_a_journal_that_somebody_began_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "gate.events.jsonl"
    path.write_text('{"number": 1}\n{"number": 2}\n')
    reader = JournalReader(path)
    assert reader.new(dict) == [{"number": 1}, {"number": 2}]
    path.write_text('{"number": 3}\n')
    assert reader.new(dict) == [{"number": 3}] and reader.new(dict) == []


def test_a_pass_that_is_to_stop_reads_no_further_recording_and_removes_nothing(
    archives: list[Archive], tmp_path: Path
) -> None:
    before, asked = left(tmp_path), iter((False, True))
    removed = Retention(tmp_path, {tier: Limit(size=0) for tier in Tier}).run(archives, stop=lambda: next(asked))
    assert removed.unfinished and left(tmp_path) == before
    assert [archive.read for archive in archives] == [True, False, False]
