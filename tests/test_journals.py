"""Journals that are written anew: they say the same, whatever the process dies of, and none grows for ever."""

from __future__ import annotations

import fcntl
import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from duoview.errors import ContainerError, ContainerFormatError
from duoview.pipelines.retention.archive import Archive, Kind, Tier, present_segments, texture_path
from duoview.pipelines.retention.journal import NEW, JournalReader, JournalWriter
from duoview.pipelines.retention.retention import Limit, Retention
from duoview.pipelines.segment_file import Content
from duoview.pipelines.segment_index import Segment, SegmentIndex, index_path, read_segments, removed_path

BEGIN = 1_700_000_000_000_000  # microseconds since 1970
MINUTE = 60_000_000
COUNT, KEPT = 5000, 10  # segments, and how many of them are left
HELD = 4500  # one among those that were removed that is kept, as one with an event


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a recording of 5,000 minutes of which the last ten and one more are left."""
    folder = tmp_path_factory.mktemp("long")
    index = SegmentIndex(folder, "gate", sync=False)
    for number in range(COUNT):
        append(index, number)
    index.close()
    archive = Archive(folder, "gate", Kind.CAMERA)
    archive.refresh()
    gone = [one.segment for one in archive.stored() if one.segment.number <= COUNT - KEPT]
    archive.remove([one for one in gone if one.number != HELD], "age")
    archive.close()
    notes = JournalWriter(texture_path(folder, "gate"))
    notes.add({"number": number, "bytes": 7} for number in range(1, COUNT, 100))
    notes.close()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(long: dict[str, bytes], tmp_path: Path) -> Path:
    for name, data in long.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def append(index: SegmentIndex, minute: int) -> Segment:
    utc = BEGIN + minute * MINUTE
    part = index.part_path(utc, "mkv")
    part.write_bytes(b"x")
    return index.add(part, Content(10, 10, 900, 60.0), utc=utc, start=60.0 * minute, connection=1, gap=False)


def compact(folder: Path) -> None:
    index = SegmentIndex(folder, "gate", sync=False)
    assert index.compact()
    index.close()


def numbers(folder: Path) -> list[int]:
    return [one.number for one in present_segments(folder, "gate")]


LEFT = [HELD, *range(COUNT - KEPT + 1, COUNT + 1)]


def test_an_index_leaves_out_what_was_removed_and_its_numbers_go_on(folder: Path) -> None:
    before = present_segments(folder, "gate")
    compact(folder)
    assert present_segments(folder, "gate") == before and [one.number for one in before] == LEFT
    assert [one.number for one in read_segments(folder, "gate")] == LEFT
    assert len(index_path(folder, "gate").read_bytes().splitlines()) == 1 + 2 + len(LEFT)
    index = SegmentIndex(folder, "gate", sync=False)
    assert append(index, COUNT).number == COUNT + 1
    index.close()
    assert numbers(folder) == [*LEFT, COUNT + 1]


def test_a_short_index_and_one_of_which_all_is_left_stay_as_they_are(folder: Path) -> None:
    removed_path(folder, "gate").unlink()
    index = SegmentIndex(folder, "gate", sync=False)
    before = index_path(folder, "gate").read_bytes()
    assert not index.compact() and index_path(folder, "gate").read_bytes() == before
    index.close()


def test_a_segment_that_was_noted_and_whose_file_is_left_stays_listed_until_the_file_is_gone(folder: Path) -> None:
    victim = read_segments(folder, "gate")[41]
    (folder / victim.file).write_bytes(b"x")  # a pass was killed after the note
    compact(folder)
    assert victim in read_segments(folder, "gate") and victim.number not in numbers(folder)
    archive = Archive(folder, "gate", Kind.CAMERA)
    archive.refresh()
    assert not (folder / victim.file).exists()


def test_an_index_of_which_all_was_removed_gives_no_number_twice(folder: Path) -> None:
    archive = Archive(folder, "gate", Kind.CAMERA)
    archive.refresh()
    archive.remove(present_segments(folder, "gate"), "age")
    archive.close()
    compact(folder)
    assert read_segments(folder, "gate") == []
    index = SegmentIndex(folder, "gate", sync=False)
    assert index.next == COUNT + 1 and append(index, COUNT).number == COUNT + 1
    index.close()


def test_an_index_is_written_anew_again_when_it_has_become_long_again(folder: Path) -> None:
    compact(folder)
    index = SegmentIndex(folder, "gate", sync=False)
    for minute in range(COUNT, 2 * COUNT):
        append(index, minute)
    archive = Archive(folder, "gate", Kind.CAMERA)
    archive.refresh()
    archive.remove([one for one in present_segments(folder, "gate") if one.number <= 2 * COUNT - KEPT], "age")
    archive.close()
    assert index.compact()
    index.close()
    assert numbers(folder) == list(range(2 * COUNT - KEPT + 1, 2 * COUNT + 1))
    first, second, *_ = index_path(folder, "gate").read_text().splitlines()
    assert json.loads(first) == {"journal": {"generation": 2}}
    assert json.loads(second) == {"removed": [1, 2 * COUNT - KEPT]}


def test_a_line_that_was_cut_off_after_the_index_was_written_anew_is_no_line(folder: Path) -> None:
    compact(folder)
    index = SegmentIndex(folder, "gate", sync=False)
    last = append(index, COUNT)
    index.close()
    path = index_path(folder, "gate")
    path.write_bytes(path.read_bytes()[:-20])
    (folder / last.file).unlink()
    assert numbers(folder) == LEFT
    index = SegmentIndex(folder, "gate", sync=False)
    assert index.next == COUNT + 1
    index.close()


@pytest.mark.parametrize("damage", ['{"removed": [5, 4]}', '{"removed": 3}', '{"removed": [1, 4000]}', "{]"])
def test_a_damaged_line_of_removed_segments_is_an_error_that_names_it(folder: Path, damage: str) -> None:
    compact(folder)
    path = index_path(folder, "gate")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], damage, *lines[2:]]) + "\n")
    with pytest.raises(ContainerFormatError, match=r"line [23] is damaged"):
        SegmentIndex(folder, "gate")


def test_an_index_that_was_written_anew_is_still_held_by_its_recorder(folder: Path) -> None:
    index = SegmentIndex(folder, "gate", sync=False)
    assert index.compact()
    with pytest.raises(ContainerError, match="another recorder"):
        SegmentIndex(folder, "gate")
    index.close()
    SegmentIndex(folder, "gate").close()


def test_a_list_for_which_there_is_no_room_to_be_written_anew_stays_and_is_added_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    index = SegmentIndex(folder, "gate", sync=False)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            index.compact()
    assert append(index, COUNT).number == COUNT + 1
    index.close()
    assert numbers(folder) == [*LEFT, COUNT + 1] and not list(folder.glob(f"*{NEW}"))


class _PowerCutError(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches a kill."""


def killed_at(patch: pytest.MonkeyPatch, moment: int, *, before: bool) -> None:
    """Die at a system call of those that write a journal anew, before or after it."""
    calls = iter(range(1, 10**6))

    def dies(call: Any) -> Any:
        def called(*arguments: Any, **named: Any) -> Any:
            last = next(calls) == moment
            if last and before:
                raise _PowerCutError
            result = call(*arguments, **named)
            if last:
                raise _PowerCutError
            return result

        return called

    patch.setattr(os, "fsync", dies(os.fsync))
    patch.setattr(Path, "replace", dies(Path.replace))
    patch.setattr(Path, "unlink", lambda *_, **__: None)  # the dead clean nothing up


@pytest.mark.parametrize("moment", range(1, 4))
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_while_an_index_is_written_anew_leaves_the_old_one_or_the_new_one(
    folder: Path, moment: int, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SegmentIndex(folder, "gate", sync=False)
    with monkeypatch.context() as patch, pytest.raises(_PowerCutError):
        killed_at(patch, moment, before=before)
        index.compact()
    index.close()
    assert numbers(folder) == LEFT
    again = SegmentIndex(folder, "gate", sync=False)
    again.compact()
    assert again.next == COUNT + 1
    again.close()
    assert numbers(folder) == LEFT and len(read_segments(folder, "gate")) == len(LEFT)


def test_half_a_new_index_that_a_crash_left_is_overwritten(folder: Path) -> None:
    path = index_path(folder, "gate")
    path.with_name(path.name + NEW).write_bytes(b'{"journal": {"generation": 1}}\n{"remo')
    compact(folder)
    assert numbers(folder) == LEFT and not list(folder.glob(f"*{NEW}"))


def test_retention_follows_an_index_that_is_written_anew_and_drops_its_own_notes(folder: Path) -> None:
    archive = Archive(folder, "gate", Kind.CAMERA)
    retention = Retention(folder, {Tier.CONTINUOUS: Limit(size=1 << 40)}, free=lambda _: 1)
    retention.run([archive])
    assert len(archive._removed) == COUNT - len(LEFT)
    compact(folder)
    retention.run([archive])
    retention.run([archive])
    assert not archive._removed and len(archive._segments) == len(LEFT)
    assert JournalReader(removed_path(folder, "gate")).new(dict) == []
    left = [note["number"] for note in JournalReader(texture_path(folder, "gate")).new(dict)]
    assert left == []
    archive.remove([present_segments(folder, "gate")[0]], "size")
    archive.close()
    assert numbers(folder) == LEFT[1:]


@pytest.mark.parametrize("moment", range(1, 7))
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_while_notes_are_written_anew_brings_no_segment_back(
    folder: Path, moment: int, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact(folder)
    archive = Archive(folder, "gate", Kind.CAMERA)
    archive.refresh()
    with monkeypatch.context() as patch, pytest.raises(_PowerCutError):
        killed_at(patch, moment, before=before)
        archive.compact()
    assert numbers(folder) == LEFT
    again = Archive(folder, "gate", Kind.CAMERA)
    again.refresh()
    again.compact()
    assert numbers(folder) == LEFT and JournalReader(removed_path(folder, "gate")).new(dict) == []


def test_a_reader_notices_a_journal_that_was_written_anew_and_grew_beyond_the_old_one(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j")
    writer.add([{"n": 1}, {"n": 2}])
    reader = JournalReader(tmp_path / "j")

    def look() -> tuple[list[int], bool]:
        lines = reader.new(dict)
        return [line["n"] for line in lines], reader.anew

    assert look() == ([1, 2], True)
    writer.add([{"n": 3}])
    assert look() == ([3], False)
    for turn in range(2):
        writer.rewrite([{"n": 3}])
        writer.add({"n": number} for number in range(4, 50 + turn))
        assert look() == (list(range(3, 50 + turn)), True)
    writer.close()
    JournalWriter(tmp_path / "j").close()
    assert look() == ([], False)


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """Ten segments that are left of twenty, of which the list was moved away."""
    index = SegmentIndex(tmp_path, "gate", sync=False)
    for minute in range(20):
        append(index, minute)
    index.close()
    archive = Archive(tmp_path, "gate", Kind.CAMERA)
    archive.refresh()
    archive.remove([one.segment for one in archive.stored() if one.segment.number <= 10], "age")
    archive.close()
    index_path(tmp_path, "gate").unlink()
    return tmp_path


def readable(path: Path) -> Content:
    return Content(10, 10, 900, 60.0)


def test_what_a_list_named_that_was_moved_away_is_listed_again_and_nothing_is_removed_for_old_notes(lost: Path) -> None:
    SegmentIndex(lost, "gate", sync=False, look=readable).close()
    archive = Archive(lost, "gate", Kind.CAMERA)
    archive.refresh()
    listed = [one.segment for one in archive.stored()]
    assert [one.number for one in listed] == list(range(21, 31)) and listed == present_segments(lost, "gate")
    assert [one.utc for one in listed] == [BEGIN + minute * MINUTE for minute in range(10, 20)]
    assert all((lost / one.file).exists() for one in listed)


def test_a_crash_while_files_are_listed_again_costs_none_of_them(lost: Path) -> None:
    looked = iter(range(5))

    def dies(path: Path) -> Content:
        if next(looked, None) is None:
            raise _PowerCutError
        return readable(path)

    with pytest.raises(_PowerCutError):
        SegmentIndex(lost, "gate", sync=False, look=dies)
    SegmentIndex(lost, "gate", sync=False, look=readable).close()
    assert [(one.number, one.utc) for one in present_segments(lost, "gate")] == [
        (21 + number, BEGIN + (10 + number) * MINUTE) for number in range(10)]


def test_a_list_that_can_be_read_only_in_part_is_not_written_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Part(FileIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            return data[: data.rfind(b"\n", 0, len(data) // 2) + 1]

    index = SegmentIndex(folder, "gate", sync=False)
    before = index_path(folder, "gate").read_bytes()
    with Part(index_path(folder, "gate"), "r+") as part, monkeypatch.context() as patch:
        patch.setattr(index, "_file", part)
        with pytest.raises(OSError, match="read only in part"):
            index.compact()
    index.close()
    assert index_path(folder, "gate").read_bytes() == before


def test_two_that_write_one_journal_lose_no_line_when_one_of_them_writes_it_anew(tmp_path: Path) -> None:
    one, other = JournalWriter(tmp_path / "j"), JournalWriter(tmp_path / "j")
    for turn in range(3):
        one.add([{"n": 2 * turn}])
        other.rewrite({"n": number} for number in range(2 * turn + 1))
        one.add([{"n": 2 * turn + 1}])
    assert [line["n"] for line in JournalReader(tmp_path / "j").new(dict)] == list(range(6))
    one.close()
    other.close()


def test_a_journal_that_another_process_is_writing_anew_is_left_to_it(tmp_path: Path) -> None:
    one, other = JournalWriter(tmp_path / "j"), JournalWriter(tmp_path / "j")
    one.add({"n": number} for number in range(3))
    new = one.prepared([{"n": 2}])
    with pytest.raises(BlockingIOError):
        other.rewrite([{"n": 7}])
    other.add([{"n": 3}])
    assert one.put(new, seen=(tmp_path / "j").read_bytes().index(b'{"n": 3}'))
    assert [line["n"] for line in JournalReader(tmp_path / "j").new(dict)] == [2, 3]
    one.close()
    other.close()


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_journal_that_is_written_anew_keeps_its_mode_and_its_owner(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "j"
    path.touch()
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    path.chmod(mode)
    before = path.stat()
    writer = JournalWriter(path)
    writer.rewrite([{"n": 1}])
    writer.close()
    after = path.stat()
    assert before.st_ino != after.st_ino and [(one.st_mode, one.st_uid, one.st_gid) for one in (before, after)] == [
        (before.st_mode, before.st_uid, before.st_gid)] * 2


@pytest.mark.parametrize("note", ['{"why": "age"}', '{"number": null}', "{]"])
def test_a_damaged_note_is_told_of_when_notes_are_written_anew_and_they_stay(folder: Path, note: str) -> None:
    archive = Archive(folder, "gate", Kind.CAMERA)
    compact(folder)
    archive.refresh()
    with removed_path(folder, "gate").open("a") as file:
        file.write(note + "\n")
    with pytest.raises(ContainerFormatError, match="a damaged line"):
        archive.compact()
    assert note in removed_path(folder, "gate").read_text()
    archive.close()


def test_a_turn_that_fails_before_it_begins_keeps_nobody_else_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> bool:
        raise OSError(5, "Input/output error")

    writer = JournalWriter(tmp_path / "j")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output"):
        patch.setattr(os.path, "samestat", fails)
        writer.add([{"n": 1}])
    with (tmp_path / "j").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    writer.close()
