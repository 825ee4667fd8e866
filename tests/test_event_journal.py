"""The journal of a camera's events: what it keeps when it is written anew, and what retention makes of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from duoview.events import Event
from duoview.pipelines.retention import archive as archive_module
from duoview.pipelines.retention.archive import Archive, Kind, Tier
from duoview.pipelines.retention.journal import JournalReader
from duoview.pipelines.run import event_journal
from duoview.pipelines.run.event_journal import EventJournal, events_path
from duoview.pipelines.segment_file import Content
from duoview.pipelines.segment_index import Segment, SegmentIndex

BEGIN = 1_700_000_000_000_000  # microseconds since 1970
MINUTE = 60_000_000
WITHIN = 60.0  # seconds; only ever waited for in full where something is wrong


def append(index: SegmentIndex, minute: int) -> Segment:
    utc = BEGIN + minute * MINUTE
    part = index.part_path(utc, "mkv")
    part.write_bytes(b"x")
    return index.add(part, Content(10, 10, 900, 60.0), utc=utc, start=60.0 * minute, connection=1, gap=False)


def happening(number: int, *, ongoing: bool = False, minute: int | None = None) -> Event:
    utc = BEGIN + (number if minute is None else minute) * MINUTE
    return Event("t", number, "motion", 0, 1, 1, ongoing, start_utc_us=utc, end_utc_us=utc)  # type: ignore[arg-type]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of events is large from 20 kB on."""
    monkeypatch.setattr(event_journal, "_LARGE", 20_000)


@pytest.mark.usefixtures("small")
def test_a_journal_of_events_keeps_those_of_segments_that_are_there_and_the_newest_half(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path, "gate")
    for number in range(1000):
        journal.note(happening(number))
    size = events_path(tmp_path, "gate").stat().st_size
    assert journal.compact(BEGIN + 300 * MINUTE)
    left = [line["number"] for line in JournalReader(events_path(tmp_path, "gate")).new(dict)]
    assert left == list(range(300, 1000))
    assert not journal.compact(None)  # it is not twice as large yet
    for number in range(1000, 2000):
        journal.note(happening(number))
    assert journal.compact(None)
    journal.close()
    left = [line["number"] for line in JournalReader(events_path(tmp_path, "gate")).new(dict)]
    assert left == list(range(left[0], 2000)) and len(left) > 20
    assert events_path(tmp_path, "gate").stat().st_size < size


@pytest.mark.usefixtures("small")
def test_of_each_event_a_journal_that_is_written_anew_has_the_last_line(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path, "gate", clock=iter(range(0, 10**7, 20)).__next__)
    for _ in range(200):
        journal.note(happening(1, ongoing=True, minute=1))
    journal.note(happening(1, minute=1))
    assert journal.compact(BEGIN)
    journal.close()
    (line,) = JournalReader(events_path(tmp_path, "gate")).new(dict)
    assert line["ongoing"] is False


def test_events_that_never_end_are_not_remembered_for_ever(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path, "gate")
    for number in range(5000):
        assert journal.note(happening(number, ongoing=True))
    assert not journal.note(happening(4999, ongoing=True))  # the last are known still
    assert len(journal._told) <= 1024 and journal.begun == 5000
    journal.close()


def test_events_older_than_all_segments_are_not_held_in_memory_but_for_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_LATEST", 1)
    index = SegmentIndex(tmp_path, "gate", sync=False)
    for minute in range(10):
        append(index, minute)
    index.close()
    journal = EventJournal(tmp_path, "gate")
    for minute in range(10):
        journal.note(happening(minute))
    archive = Archive(tmp_path, "gate", Kind.CAMERA, events=events_path(tmp_path, "gate"))
    archive.refresh()
    assert len(archive._spans) == 10
    archive.remove([one.segment for one in archive.stored() if one.segment.number <= 8], "age")
    archive.refresh()
    assert len(archive._spans) == 2
    assert {one.tier for one in archive.stored()} == {Tier.MOTION}
    archive.close()
    journal.close()


@pytest.mark.parametrize("listed", [False, True])
def test_an_event_counts_for_a_segment_that_is_listed_after_it_whatever_clocks_and_other_events_say(
    tmp_path: Path, listed: bool
) -> None:
    index = SegmentIndex(tmp_path, "gate", sync=False)
    if listed:
        append(index, 5000)  # then the clock is set back
    journal = EventJournal(tmp_path, "gate")
    journal.note(happening(1, minute=10))
    journal.note(happening(2, minute=100_000))  # in the future
    archive = Archive(tmp_path, "gate", Kind.MACHINE, events=events_path(tmp_path, "gate"))
    archive.refresh()
    number = append(index, 10).number
    archive.refresh()
    tiers = {one.segment.number: one.tier for one in archive.stored()}
    assert tiers[number] is Tier.MACHINE_OF_EVENTS
    for one in (journal, archive, index):
        one.close()


def noted(folder: Path) -> list[int]:
    return [line["number"] for line in JournalReader(events_path(folder, "gate")).new(dict)]


@pytest.mark.usefixtures("small")
def test_an_event_is_noted_while_a_journal_is_written_anew_and_stands_in_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, fsync = EventJournal(tmp_path, "gate"), os.fsync
    waited: list[bool] = []
    for number in range(1000):
        journal.note(happening(number))

    def slow(file: int) -> None:
        if not waited:
            noting = threading.Thread(target=journal.note, args=[happening(1000)], daemon=True)
            noting.start()
            noting.join(WITHIN)
            waited.append(noting.is_alive())
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", slow)
        assert journal.compact(BEGIN + 500 * MINUTE)
    journal.note(happening(1001))
    journal.close()
    assert waited == [False] and noted(tmp_path) == list(range(500, 1002))


@pytest.mark.usefixtures("small")
def test_a_journal_of_which_little_would_go_stays_as_it_is_until_it_has_grown(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path, "gate")
    for number in range(1000):
        journal.note(happening(number))
    before = events_path(tmp_path, "gate").read_bytes()
    assert not journal.compact(BEGIN + 100 * MINUTE) and not journal.large
    assert events_path(tmp_path, "gate").read_bytes() == before
    for number in range(1000, 2001):
        journal.note(happening(number))
    assert journal.compact(BEGIN + 1000 * MINUTE)
    journal.close()
    assert noted(tmp_path) == list(range(1000, 2001))


def test_an_event_that_goes_on_is_not_begun_again_however_many_begin_beside_it(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path, "gate", clock=lambda: 0.0)
    assert journal.note(happening(0, ongoing=True))
    for number in range(1, 3000):
        journal.note(happening(number, ongoing=True))
        assert not journal.note(happening(0, ongoing=True))
    journal.close()
