"""What a run that lasts for months writes anew, of cameras as they run: never what a segment still needs."""

from __future__ import annotations

import logging
import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duoview.pipelines import segment_index
from duoview.pipelines.live_packet import LivePacket
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.recorder import Recorder
from duoview.pipelines.retention.archive import Archive, Kind, present_segments
from duoview.pipelines.retention.journal import JournalReader, JournalWriter
from duoview.pipelines.retention.retention import DiskFullError, Removed, Retention
from duoview.pipelines.run import event_journal
from duoview.pipelines.run.configuration import Configuration
from duoview.pipelines.run.configuration_file import parse_configuration
from duoview.pipelines.run.event_journal import EventJournal, events_path
from duoview.pipelines.run.recording import Recording
from duoview.pipelines.run.supervisor import Supervisor
from duoview.pipelines.segment_file import Content
from duoview.pipelines.segment_index import SegmentIndex, index_path, removed_path

CLIP = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("camera_server.py"))))
BEGIN = 1_700_000_000_000_000  # microseconds since 1970
MINUTE = 60_000_000
EVENTS = 1000
CAMERA = """
  {name}:
    url: http://127.0.0.1:9/live.ts
    record: {{segment: 1}}
    graph: dv_trigger=on=motion [seen]
    outputs: {{seen: {{discard: true}}}}
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of events is large from 20 kB on."""
    monkeypatch.setattr(event_journal, "_LARGE", 20_000)


def configuration(folder: Path, *names: str, storage: str = "reserve: 0") -> Configuration:
    cameras = "".join(CAMERA.format(name=name) for name in names)
    return parse_configuration(f"storage: {{folder: {folder}, {storage}}}\ncameras:{cameras}")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Starts cameras that cannot be reached, and makes passes of retention."""
    made: list[Supervisor] = []

    def run(*names: str, storage: str = "reserve: 0", passes: int = 1, **settings: Any) -> Supervisor:
        chosen = configuration(tmp_path, *names, storage=storage)
        supervisor = Supervisor(chosen, logging.getLogger("test"), **settings)
        made.append(supervisor)
        for name in list(supervisor._made):
            supervisor._launch(name, supervisor._made.pop(name))
        for _ in range(passes):
            a_pass(supervisor)
        return supervisor

    yield run
    for supervisor in made:
        supervisor.stop()


def a_pass(supervisor: Supervisor) -> bool:
    storage = supervisor._configuration.storage
    assert storage is not None
    return supervisor._keep_once(storage)


def with_events(folder: Path, camera: str) -> None:
    """Events of a camera, one a minute, of which the newest half is kept in any case."""
    writer = JournalWriter(events_path(folder, camera))
    writer.add({"trigger": "t", "number": number, "kind": "motion", "start_utc_us": BEGIN + number * MINUTE,
                "end_utc_us": BEGIN + number * MINUTE, "ongoing": False} for number in range(EVENTS))
    writer.close()


def with_segments(folder: Path, name: str, minutes: Sequence[int]) -> None:
    index = SegmentIndex(folder, name, sync=False)
    for minute in minutes:
        utc = BEGIN + minute * MINUTE
        part = index.part_path(utc, "mkv")
        part.write_bytes(b"x")
        index.add(part, Content(10, 10, 900, 60.0), utc=utc, start=0.0, connection=1, gap=False)
    index.close()


def first_event(folder: Path, camera: str) -> int:
    return JournalReader(events_path(folder, camera)).new(dict)[0]["number"]


def test_a_pass_shortens_journals_of_events_to_those_of_segments_that_are_there(
    run: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, compact = [], EventJournal.compact

    def spied(self: EventJournal, oldest: int | None) -> bool:
        given.append(oldest)
        return compact(self, oldest)

    monkeypatch.setattr(EventJournal, "compact", spied)
    with_events(tmp_path, "gate")
    with_segments(tmp_path, "gate", range(300, 310))
    before = events_path(tmp_path, "gate").stat().st_size
    run("gate")
    assert given == [BEGIN + 300 * MINUTE] and first_event(tmp_path, "gate") == 300
    assert events_path(tmp_path, "gate").stat().st_size < before


def test_while_a_list_of_segments_cannot_be_read_no_event_of_its_camera_is_removed(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    with_events(tmp_path, "gate")
    with_segments(tmp_path, "gate", range(10))
    supervisor = run("gate", passes=0)
    path = index_path(tmp_path, "gate")
    whole = path.read_bytes()
    path.write_bytes(b"damaged\n" + whole)
    a_pass(supervisor)
    assert first_event(tmp_path, "gate") == 0 and "a damaged line" in supervisor.snapshot().storage_problem
    path.write_bytes(whole)
    a_pass(supervisor)
    assert first_event(tmp_path, "gate") == 0 and not supervisor.snapshot().storage_problem


def test_events_of_recordings_that_nobody_asks_for_any_more_stay_with_their_files(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    with_events(tmp_path, "gate")
    with_segments(tmp_path, "gate", range(900, 910))
    with_segments(tmp_path, "gate.machine", range(400, 410))
    run("gate")
    assert first_event(tmp_path, "gate") == 400


def test_a_camera_whose_journal_cannot_be_shortened_keeps_no_other_from_it(
    run: Callable[..., Supervisor], tmp_path: Path
) -> None:
    for name in ("gate", "yard"):
        with_events(tmp_path, name)
        with_segments(tmp_path, name, range(300, 310))
    (tmp_path / "gate.old.segments.jsonl").write_text("damaged\n")
    supervisor = run("gate", "yard")
    assert "gate.old.segments.jsonl: a damaged line" in supervisor.snapshot().storage_problem
    assert [first_event(tmp_path, name) for name in ("gate", "yard")] == [0, 300]


def test_on_a_full_disk_journals_of_events_are_shortened_too(run: Callable[..., Supervisor], tmp_path: Path) -> None:
    with_events(tmp_path, "gate")
    with_segments(tmp_path, "gate", range(300, 310))
    supervisor = run("gate", storage="reserve: 1MB, when_full: stop", free=lambda _: 0)
    assert supervisor.snapshot().storage_problem.startswith("recording stopped")
    assert first_event(tmp_path, "gate") == 300


def test_recording_that_stopped_for_want_of_room_goes_on_only_after_a_pass_that_came_to_its_end(
    run: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Removed | DiskFullError] = [
        DiskFullError("no room", Removed(unfinished=True)), Removed(unfinished=True), Removed()]

    def pass_of_retention(*_: Any, **__: Any) -> Removed:
        result = found.pop(0)
        if isinstance(result, DiskFullError):
            raise result
        return result

    monkeypatch.setattr(Retention, "run", pass_of_retention)
    supervisor = run("gate", passes=0)
    (recording,) = supervisor._cameras["gate"].camera.recordings
    states = [(a_pass(supervisor), recording.status().failure) for _ in range(3)]
    assert states == [(True, "recording stopped: no room"), (True, "recording stopped: no room"), (False, "")]


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[LivePacket]]:
    """Ten segments of which the last is left, of a list that is long from four on; and two seconds of video."""
    monkeypatch.setattr(segment_index, "_LONG", 4)
    folder = tmp_path / "recorded"
    folder.mkdir()
    with_segments(folder, "gate", range(10))
    archive = Archive(folder, "gate", Kind.CAMERA)
    archive.refresh()
    archive.remove([one.segment for one in archive.stored() if one.segment.number < 10], "age")
    archive.close()
    path = tmp_path / "clip.ts"
    path.write_bytes(b"".join(CLIP.clip()))
    with LiveSource(str(path), frames=False, packets=True) as source:
        return folder, list(source.packets())


def recorded(folder: Path, packets: list[LivePacket]) -> Recording:
    recording = Recording("gate", Recorder(folder, "gate", seconds=0.4, format="ts", sync=False))
    for packet in packets:
        recording.write(packet)
    recording.close()
    return recording


def test_a_recording_writes_its_long_list_anew_when_a_segment_is_complete(long: tuple[Path, list[LivePacket]]) -> None:
    folder, packets = long
    status = recorded(folder, packets).status()
    assert status.segments == 4 and status.failures == 0
    assert [one.number for one in present_segments(folder, "gate")] == list(range(10, 15))
    assert len(index_path(folder, "gate").read_bytes().splitlines()) == 1 + 1 + 5


def test_a_list_that_cannot_be_written_anew_costs_no_segment_and_recording_goes_on(
    long: tuple[Path, list[LivePacket]],
) -> None:
    folder, packets = long
    before = removed_path(folder, "gate").read_bytes()
    removed_path(folder, "gate").write_bytes(b"damaged\n")
    status = recorded(folder, packets).status()
    assert status.segments == 4 and status.lost == 0 and status.failures > 0
    removed_path(folder, "gate").write_bytes(before)
    assert [one.number for one in present_segments(folder, "gate")] == list(range(10, 15))


def test_what_another_process_records_is_left_to_its_retention(run: Callable[..., Supervisor], tmp_path: Path) -> None:
    with_segments(tmp_path, "gate", range(3))
    held = SegmentIndex(tmp_path, "gate")
    policy = "reserve: 0, retention: {continuous: {age: 1}}"
    run("gate", storage=policy)
    assert [one.number for one in present_segments(tmp_path, "gate")] == [1, 2, 3]
    held.close()
    run("gate", storage=policy)
    assert present_segments(tmp_path, "gate") == []
