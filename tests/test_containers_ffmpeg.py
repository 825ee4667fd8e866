"""FFmpeg's tools on our files: ffprobe sees the stream, `ffmpeg -c copy` moves it, and it reads back the same."""

from __future__ import annotations

import io
import json
import os
import runpy
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from duoview.plugins import containers

STREAM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("golden") / "access_unit_stream.py")))
RATE, GOP = STREAM.RATE, STREAM.GOP
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg command is not installed")
needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="the ffprobe command is not installed")
FOURCC_FORMATS = ["nut", "mov", "avi"]
SMALL, LARGE = (20, 60, 200, 900, 5000), (150_000, 200, 300, 60, 500, 400_000)


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(
        ["ffmpeg", "-nostdin", "-y", "-v", "error", *map(str, arguments)], check=True, capture_output=True, timeout=60
    )


def probe(path: Path, *entries: str) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", *entries, "-of", "json", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return dict(json.loads(done.stdout))


@needs_ffmpeg
@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("nut", "mov"),
        ("nut", "avi"),
        ("nut", "mkv"),
        ("nut", "nut"),
        ("mov", "nut"),
        ("mov", "mkv"),
        ("avi", "nut"),
        ("mp4", "mp4"),
        ("ts", "ts"),
    ],
)
def test_a_remuxed_file_has_the_same_units_times_and_keys(
    tmp_path: Path, source: str, target: str, sizes: tuple[int, ...]
) -> None:
    data = STREAM.units(40, sizes=sizes)
    STREAM.write(tmp_path / f"a.{source}", data)
    ffmpeg("-i", tmp_path / f"a.{source}", "-map", "0", "-c", "copy", tmp_path / f"b.{target}")
    read = STREAM.read(tmp_path / f"b.{target}")
    assert [s.data for s in read] == data
    assert [s.pts * RATE for s in read] == list(range(40))
    assert [s.dts * RATE for s in read] == list(range(40))
    assert [s.key for s in read] == [n % GOP == 0 for n in range(40)]
    with containers.open(tmp_path / f"b.{target}") as opened:
        for frame in (25, 10, 9, 39):
            opened.seek(Fraction(frame) / RATE + Fraction(1, 1000))
            assert bytes(next(opened.demux())) == data[frame // GOP * GOP]


@needs_ffmpeg
def test_a_remux_to_mkv_and_back_is_the_same(tmp_path: Path) -> None:
    data = STREAM.units(40)
    STREAM.write(tmp_path / "a.nut", data)
    ffmpeg("-i", tmp_path / "a.nut", "-map", "0", "-c", "copy", tmp_path / "b.mkv")
    ffmpeg("-i", tmp_path / "b.mkv", "-map", "0", "-c", "copy", tmp_path / "c.nut")
    assert [s.data for s in STREAM.read(tmp_path / "c.nut")] == data


@needs_ffmpeg
def test_a_matroska_file_cut_off_gives_every_unit_before_the_cut(tmp_path: Path) -> None:
    data = STREAM.units(40, sizes=(300,))
    STREAM.write(tmp_path / "a.nut", data)
    ffmpeg("-i", tmp_path / "a.nut", "-map", "0", "-c", "copy", tmp_path / "b.mkv")
    whole = (tmp_path / "b.mkv").read_bytes()
    for cut in range(whole.index(data[3]), len(whole), 997):
        read = [s.data for s in STREAM.read(io.BytesIO(whole[:cut]))]
        assert read == data[: len(read)]
        assert len(read) >= sum(whole.index(unit) + len(unit) <= cut for unit in data)


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["avi", "mkv"])
def test_avi_and_matroska_can_be_read_from_a_pipe(tmp_path: Path, extension: str) -> None:
    data = STREAM.units(40, sizes=(300,))
    STREAM.write(tmp_path / "a.nut", data)
    ffmpeg("-i", tmp_path / "a.nut", "-map", "0", "-c", "copy", tmp_path / f"b.{extension}")
    reader, writer = os.pipe()
    with subprocess.Popen(["cat", str(tmp_path / f"b.{extension}")], stdout=writer):
        os.close(writer)
        assert [s.data for s in STREAM.read(f"pipe:{reader}")] == data
    os.close(reader)


@needs_ffmpeg
def test_matroska_rounds_variable_times_to_milliseconds(tmp_path: Path) -> None:
    pts = [0, 33_333, 50_001, 121_007, 155_003]
    STREAM.write(tmp_path / "a.nut", STREAM.units(5), pts=pts, time_base=Fraction(1, 1_000_000))
    ffmpeg("-i", tmp_path / "a.nut", "-map", "0", "-c", "copy", tmp_path / "b.mkv")
    read = [s.pts for s in STREAM.read(tmp_path / "b.mkv")]
    assert all(abs(a - Fraction(b, 1_000_000)) <= Fraction(1, 1000) for a, b in zip(read, pts, strict=True))


@needs_ffmpeg
def test_a_transport_stream_moved_by_ffmpeg_keeps_audio_in_step(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=2:r=48000", "-c:a", "aac", "-f", "mpegts", tmp_path / "tone.ts")
    data = STREAM.units(60, sizes=(300,))
    with av.open(str(tmp_path / "tone.ts")) as tone, containers.open(tmp_path / "a.ts", "w") as out:
        out.add_stream(rate=RATE, width=640, height=360)
        audio = out.add_stream_from_template(tone.streams.audio[0])
        start = tone.streams.audio[0].start_time
        assert start is not None
        packets: list[Any] = [p for p in tone.demux(audio=0) if p.size]
        for n, unit in enumerate(data):
            out.mux(STREAM.packet(unit, n, 1 / RATE))
            while packets and packets[0].pts - start < (n + 1) * 3000:
                packets[0].pts -= start
                packets[0].dts -= start
                packets[0].stream = audio
                out.mux(packets.pop(0))
    ffmpeg("-i", tmp_path / "a.ts", "-map", "0", "-c", "copy", tmp_path / "b.ts")
    times = {}
    for name in "ab":
        with containers.open(tmp_path / f"{name}.ts") as source:
            read = [(p.stream is None, STREAM.seconds(p)) for p in source.demux(*source.other_streams)]
        times[name] = [[t for own, t in read if own], [t for own, t in read if not own]]
    assert times["a"] == times["b"]
    assert times["b"][0] == [n / RATE for n in range(60)]


@needs_ffprobe
@pytest.mark.parametrize("extension", FOURCC_FORMATS)
def test_ffprobe_sees_size_rate_tag_and_key_frames(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, STREAM.units(40))
    entries = "stream=codec_type,codec_tag_string,width,height,avg_frame_rate:packet=flags,pts_time,size"
    shown = probe(path, "-show_entries", entries)
    (stream,) = shown["streams"]
    assert (stream["codec_type"], stream["codec_tag_string"]) == ("video", "DUOV")
    assert (stream["width"], stream["height"], stream["avg_frame_rate"]) == (640, 360, "30/1")
    assert [n for n, packet in enumerate(shown["packets"]) if packet["flags"].startswith("K")] == [0, 10, 20, 30]
    assert len(shown["packets"]) == 40


@pytest.mark.parametrize("extension", FOURCC_FORMATS)
def test_pyav_sees_a_video_stream_its_rate_and_key_frames(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, STREAM.units(40))
    with av.open(str(path)) as plain:
        (stream,) = plain.streams
        assert stream.type == "video"
        assert stream.average_rate == 30
        assert [n for n, p in enumerate(p for p in plain.demux() if p.size) if p.is_keyframe] == [0, 10, 20, 30]
    # PyAV does not show tag and size of an unknown codec; they stand in the file's header.
    head = path.read_bytes()
    assert b"DUOV" in head


@needs_ffprobe
@pytest.mark.parametrize("extension", ["mp4", "ts"])
def test_ffprobe_sees_a_data_stream(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    STREAM.write(path, STREAM.units(40))
    (stream,) = probe(path, "-show_entries", "stream=codec_type,codec_name")["streams"]
    assert (stream["codec_type"], stream["codec_name"]) == ("data", "bin_data")
