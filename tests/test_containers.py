"""Containers: what was written is read back, at its time, with its key flag; seeks land on key units."""

from __future__ import annotations

import io
import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from duoview.errors import ContainerError
from duoview.plugins import containers

STREAM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("golden") / "access_unit_stream.py")))
RATE, GOP = STREAM.RATE, STREAM.GOP
FORMATS = ["nut", "mov", "avi", "mp4", "ts", "dv"]
#: AVI and MP4's data streams count frames only up: no start before 0 and no reordering there.
VARIABLE = [f for f in FORMATS if f != "avi"]


@pytest.mark.parametrize("extension", FORMATS)
def test_units_times_durations_and_key_flags_come_back_exactly(tmp_path: Path, extension: str) -> None:
    data = STREAM.units(45)
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, data)
    read = STREAM.read(path)
    assert [s.data for s in read] == data
    assert [s.pts for s in read] == [n / RATE for n in range(45)]
    assert [s.dts for s in read] == [n / RATE for n in range(45)]
    assert {s.duration for s in read} == {1 / RATE}
    assert [s.key for s in read] == [n % GOP == 0 for n in range(45)]


@pytest.mark.parametrize("extension", FORMATS)
def test_the_stream_describes_itself(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, STREAM.units(45))
    with containers.open(path) as source:
        stream = source.stream
        assert (stream.width, stream.height, stream.average_rate, stream.start_time) == (640, 360, Fraction(30), 0)
        assert stream.sequence is not None
        assert source.other_streams == ()
        assert stream.duration is not None
        # MPEG-TS knows the start of its last packet only, and a packet holds up to half a second.
        assert abs(stream.duration * stream.time_base - Fraction(45, 30)) <= (
            Fraction(1, 2) if extension == "ts" else 0
        )


@pytest.mark.parametrize("extension", FORMATS)
def test_units_from_20_bytes_to_400_kilobytes_come_back_whole(tmp_path: Path, extension: str) -> None:
    data = STREAM.units(12, sizes=(20, 400_000, 60_000, 59_900, 180_001, 0, 210_000))
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, data)
    assert [s.data for s in STREAM.read(path)] == data


@pytest.mark.parametrize("extension", VARIABLE)
@pytest.mark.parametrize(
    ("time_base", "pts"),
    [
        (Fraction(1, 1000), [0, 33, 50, 121, 155, 190, 400, 401, 402, 999, 5000]),
        (Fraction(1, 1_000_000), [0, 33_333, 50_001, 121_007, 155_003, 36_000_001]),
        (Fraction(1001, 30000), [0, 1, 2, 5, 6, 7]),
        (Fraction(1, 12800), [7, 519, 1031, 1543]),
        (Fraction(1, 7), [35, 36, 40]),
    ],
)
def test_variable_frame_rates_and_late_starts_are_exact(
    tmp_path: Path, extension: str, time_base: Fraction, pts: list[int]
) -> None:
    data = STREAM.units(len(pts))
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, data, pts=pts, time_base=time_base)
    read = STREAM.read(path)
    assert [s.pts for s in read] == [p * time_base for p in pts]
    assert [s.data for s in read] == data


@pytest.mark.parametrize("extension", ["mov", "mp4"])
def test_a_gap_that_mov_cannot_store_is_a_named_error(tmp_path: Path, extension: str) -> None:
    with pytest.raises(ContainerError, match="stores at most 2147483647 ticks between frames; use a coarser time base"):
        STREAM.write(
            tmp_path / f"a.{extension}", STREAM.units(2), pts=[0, 3_600_000_000], time_base=Fraction(1, 1_000_000)
        )


@pytest.mark.parametrize("pts", [[0, 1, 2, 5, 9], [150, 151, 155]])
def test_avi_keeps_gaps_and_a_late_start(tmp_path: Path, pts: list[int]) -> None:
    path = tmp_path / "a.avi"
    STREAM.write(path, STREAM.units(len(pts)), pts=pts)
    assert [s.pts * RATE for s in STREAM.read(path)] == pts


@pytest.mark.parametrize("extension", FORMATS)
def test_a_start_before_zero_loses_nothing(tmp_path: Path, extension: str) -> None:
    data = STREAM.units(25)
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, data, pts=range(-5, 20))
    read = STREAM.read(path)
    assert [s.data for s in read] == data
    start = -5 if extension in ("ts", "dv") else 0
    assert [s.pts * RATE for s in read] == list(range(start, start + 25))


@pytest.mark.parametrize("extension", ["mov", "ts", "dv"])
def test_reordered_units_keep_pts_and_dts(tmp_path: Path, extension: str) -> None:
    order = [2, 5, 3, 4, 8, 6, 7, 11, 9, 10]
    data = STREAM.units(10)
    path = tmp_path / f"a.{extension}"
    with containers.open(path, "w") as out:
        out.add_stream(rate=RATE, width=640, height=360)
        out.mux(
            STREAM.packet(unit, pts, 1 / RATE, dts=dts) for dts, (pts, unit) in enumerate(zip(order, data, strict=True))
        )
    read = STREAM.read(path)
    assert [s.pts * RATE for s in read] == order
    assert [s.dts * RATE for s in read] == list(range(10))
    assert [s.data for s in read] == data


@pytest.mark.parametrize("extension", FORMATS)
def test_a_seek_lands_on_the_last_key_unit_at_or_before_the_time(tmp_path: Path, extension: str) -> None:
    data = STREAM.units(65, sizes=(9000, 200, 300))
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, data)
    with containers.open(path) as source:
        for frame in (0, 9, 10, 11, 64, 29, 30, 59, 5, 500, -20, 40):
            expected = max(0, min(60, frame // GOP * GOP))
            found = source.seek(offset=round(frame / RATE / source.stream.time_base))
            first = next(source.demux())
            assert (first.pts, bytes(first), first.is_keyframe) == (found, data[expected], True)
        assert len(list(source.demux())) == 65 - 41


@pytest.mark.parametrize("extension", ["nut", "mp4", "ts", "dv"])
def test_a_seek_finds_the_key_unit_of_a_long_group(tmp_path: Path, extension: str) -> None:
    data = STREAM.units(10, sizes=(200,)) + STREAM.units(1, sizes=(200,), seed=2)
    pts = [n * 100 for n in range(10)] + [1000]  # ten seconds from key to key, at 10 fps worth of ticks
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, data, pts=pts, time_base=Fraction(1, 10), rate=Fraction(10))
    with containers.open(path) as source:
        source.seek(99.5)
        assert bytes(next(source.demux())) == data[0]
        source.seek(100)
        assert bytes(next(source.demux())) == data[10]


def test_seeking_in_seconds_and_ticks_is_the_same(tmp_path: Path) -> None:
    STREAM.write(tmp_path / "a.nut", STREAM.units(45))
    with containers.open(tmp_path / "a.nut") as source:
        assert source.seek(Fraction(25, 30)) == source.seek(offset=round(Fraction(25, 30) / source.stream.time_base))
        with pytest.raises(TypeError, match="either seconds or offset"):
            source.seek()


@pytest.mark.parametrize("extension", FORMATS)
def test_file_objects_work_and_stay_open(extension: str) -> None:
    data = STREAM.units(25)
    file = io.BytesIO()
    STREAM.write(file, data, format={"ts": "mpegts"}.get(extension, extension))
    file.seek(0)
    with containers.open(file) as source:
        assert [s.data for s in STREAM.samples(source)] == data
        source.seek(0.5)
        assert bytes(next(source.demux())) == data[10]
    assert not file.closed


@pytest.mark.parametrize("extension", FORMATS)
def test_muxing_does_not_alter_the_packets(tmp_path: Path, extension: str) -> None:
    packet = STREAM.packet(STREAM.units(1)[0], 3, 1 / RATE)
    with containers.open(tmp_path / f"a.{extension}", "w") as out:
        out.add_stream(rate=RATE, width=640, height=360)
        out.mux(packet)
    assert (packet.pts, packet.dts, packet.duration, packet.time_base) == (3, 3, 1, 1 / RATE)
    assert packet.stream is None


def test_packets_of_another_time_base_are_converted_where_that_is_exact(tmp_path: Path) -> None:
    data = STREAM.units(3)
    with containers.open(tmp_path / "a.nut", "w") as out:
        out.add_stream(rate=RATE, width=640, height=360, time_base=Fraction(1, 15360))
        out.mux(STREAM.packet(unit, n, 1 / RATE) for n, unit in enumerate(data))
        with pytest.raises(ContainerError, match="no whole number of the stream's 1/15360 s"):
            out.mux(STREAM.packet(data[1], 1001, Fraction(1, 1000)))
    assert [s.pts * RATE for s in STREAM.read(tmp_path / "a.nut")] == [0, 1, 2]


def camera(path: Path) -> None:
    """A clip with video and audio, as a camera gives."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"preset": "ultrafast", "g": "10"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("aac", rate=16000, layout="mono")
        for n in range(20):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([n * 5 % 256]) * plane.buffer_size)
            frame.pts, frame.time_base = n, Fraction(1, 10)
            out.mux(video.encode(frame))
        for n in range(30):
            sound = av.AudioFrame("fltp", "mono", 1024)
            for channel in sound.planes:
                channel.update(bytes(channel.buffer_size))
            sound.pts, sound.sample_rate, sound.time_base = n * 1024, 16000, Fraction(1, 16000)
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


@pytest.mark.parametrize("extension", ["nut", "mov", "mp4", "ts"])
def test_the_cameras_own_video_and_audio_pass_through_beside_the_units(tmp_path: Path, extension: str) -> None:
    camera(tmp_path / "camera.mp4")
    data = STREAM.units(20, rate=Fraction(10))
    path = tmp_path / f"a.{extension}"
    with av.open(str(tmp_path / "camera.mp4")) as source, containers.open(path, "w") as out:
        out.add_stream(rate=10, width=640, height=360)
        passed = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        packets = [p for p in source.demux() if p.size]
        sent = [(p.stream.type, STREAM.seconds(p), bytes(p)) for p in packets]
        # In time order, so that the muxer need not hold much.
        for n, unit in enumerate(data):
            for p in [p for p in packets if n / 10 <= STREAM.seconds(p) < (n + 1) / 10]:
                p.stream = passed[p.stream.index]
                out.mux(p)
            out.mux(STREAM.packet(unit, n, Fraction(1, 10)))
    with containers.open(path) as source:
        assert [s.data for s in STREAM.samples(source)] == data
        assert sorted(stream.type for stream in source.other_streams) == ["audio", "video"]
    with containers.open(path) as source:
        # PyAV's streams must not be touched once their container is closed.
        read = [(p.stream and p.stream.type, STREAM.seconds(p), bytes(p)) for p in source.demux(*source.other_streams)]
    assert [unit for kind, _, unit in read if kind is None] == data
    for kind in ("audio", "video"):
        times = [time for type_, time, _ in read if type_ == kind]
        expected = [time for type_, time, _ in sent if type_ == kind and 0 <= time < 2]
        tolerance = Fraction(1, 90000)
        assert len(times) >= len(expected)
        assert all(any(abs(a - b) <= tolerance for b in times) for a in expected)


def test_a_stream_beside_that_was_not_asked_for_is_not_read(tmp_path: Path) -> None:
    camera(tmp_path / "camera.mp4")
    with av.open(str(tmp_path / "camera.mp4")) as source, containers.open(tmp_path / "a.nut", "w") as out:
        out.add_stream(rate=10, width=640, height=360)
        audio = out.add_stream_from_template(source.streams.audio[0])
        out.mux(STREAM.packet(STREAM.units(1)[0], 0, Fraction(1, 10)))
        for p in source.demux(audio=0):
            if p.size:
                p.stream = audio
                out.mux(p)
    with containers.open(tmp_path / "a.nut") as source:
        assert len(list(source.demux())) == 1
