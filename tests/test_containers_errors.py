"""What goes wrong with files is one ContainerError that names the file, what happened and what would be right."""

from __future__ import annotations

import errno
import io
import os
import runpy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from duoview.errors import ContainerError, ContainerFormatError, ContainerNotFoundError, ContainerPipeError, Error
from duoview.plugins import containers

STREAM = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("golden") / "access_unit_stream.py")))
FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full to write to")


def plain_video(path: Path) -> None:
    """A video that is none of ours."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(12):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["missing.nut", "missing.ts", "missing.dv", "no/folder.mp4"])
def test_a_missing_input_is_a_file_not_found_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{name}: cannot read: no such file or folder") as caught:
        containers.open(tmp_path / name)
    assert isinstance(caught.value, ContainerNotFoundError)
    assert isinstance(caught.value, Error)
    assert caught.value.name == str(tmp_path / name)


def test_a_folder_is_no_input_and_no_output(tmp_path: Path) -> None:
    (tmp_path / "a.nut").mkdir()
    for mode in ("r", "w"):
        with pytest.raises(ContainerError, match=r"a\.nut: is a folder, expected a file"):
            containers.open(tmp_path / "a.nut", mode)


@pytest.mark.parametrize("extension", ["mp4", "mkv", "nut", "ts"])
def test_a_video_of_another_codec_is_named_as_foreign(tmp_path: Path, extension: str) -> None:
    plain_video(tmp_path / f"a.{extension}")
    with pytest.raises(
        ContainerFormatError, match=r"no duoview stream .*streams: #0 video h264.*encode it with duoview"
    ):
        containers.open(tmp_path / f"a.{extension}")


def test_a_data_stream_of_somebody_else_is_named_as_foreign(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_data_stream("bin_data")
        stream.time_base = Fraction(1, 10)
        for n in range(5):
            packet = STREAM.packet(b"GPMF" + bytes(50), n, Fraction(1, 10))
            packet.stream = stream
            out.mux(packet)
    with pytest.raises(ContainerFormatError, match="streams: #0 data bin_data"):
        containers.open(tmp_path / "a.mp4")


@pytest.mark.parametrize(("count", "samples", "searched"), [(70_000, 1, 65_536), (520, 1 << 18, 512)])
def test_the_search_for_a_stream_keeps_a_bounded_number_of_packets_and_bytes(
    count: int, samples: int, searched: int
) -> None:
    file = io.BytesIO()
    with av.open(io.BytesIO(), "w", "wav") as camera, containers.open(file, "w", "nut") as out:
        out.add_stream(rate=STREAM.RATE, width=640, height=360)
        other = out.add_stream_from_template(camera.add_stream("pcm_mulaw", rate=48_000))
        for n in range(count):
            packet = STREAM.packet(bytes(samples), n * samples, Fraction(1, 48_000))
            packet.stream = other
            out.mux(packet)
        out.mux(STREAM.packet(STREAM.units(1)[0], 30 * count * samples // 48_000, Fraction(1, 30)))
    file.seek(0)
    message = rf"none of the first {searched} packets \({searched * samples} bytes; the search ends there\)"
    with pytest.raises(ContainerFormatError, match=message):
        containers.open(file)


@pytest.mark.parametrize(
    ("name", "format_", "message"),
    [
        ("a.xyz", None, "extension 'xyz' names no format that holds a duoview stream; known: nut"),
        ("a", None, "a name without an extension names no format"),
        ("a.nut", "flv", "format 'flv' names no format"),
        ("a.mkv", None, "Matroska is read but not written here; write NUT, then ffmpeg"),
        ("pipe:1", "mp4", "mp4 cannot be written to a pipe, its index needs seeking; use nut or mpegts"),
        ("pipe:x", None, "expected pipe:, or pipe: and the number of an open descriptor"),
    ],
)
def test_an_output_that_cannot_be_is_refused_at_once(name: str, format_: str | None, message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        containers.open(name, "w", format_)


def test_an_output_in_a_missing_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ContainerNotFoundError, match="no such file or folder"):
        containers.open(tmp_path / "no" / "a.nut", "w")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_without_permission_is_refused_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ContainerError, match="permission denied"):
        containers.open(tmp_path / "a.nut", "w")


@pytest.mark.parametrize("mode", ["a", "rw", ""])
def test_an_unknown_mode_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match="expected 'r' or 'w'"):
        containers.open("a.nut", mode)  # type: ignore[call-overload]


@needs_full_device
@pytest.mark.parametrize("format_", ["nut", "mov", "avi", "mp4", "mpegts", "dv"])
def test_a_full_disk_is_one_clear_error(format_: str) -> None:
    with pytest.raises(ContainerError, match=r"/dev/full: cannot \w+: no space left on the device") as caught:
        STREAM.write(FULL, STREAM.units(40, sizes=(20_000,)), format=format_)
    assert caught.value.errno == errno.ENOSPC
    assert not getattr(caught.value, "__notes__", [])


class FillsUp(io.BytesIO):
    """A file object on a disk that fills up."""

    def write(self, data: Any) -> int:
        if self.tell() > 20_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("format_", ["nut", "mpegts", "dv"])
def test_what_was_written_before_the_disk_was_full_stays(format_: str) -> None:
    data = STREAM.units(60, sizes=(1000,))
    file = FillsUp()
    with pytest.raises(ContainerError, match="no space left on the device; what was written so far stays"):
        STREAM.write(file, data, format=format_)
    read = [s.data for s in STREAM.read(io.BytesIO(file.getvalue()))]
    assert read == data[: len(read)]
    assert len(read) >= 10


@pytest.mark.parametrize("format_", ["nut", "mpegts", "dv"])
def test_a_reader_that_goes_away_is_a_broken_pipe_error(format_: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError, match="its reader went away") as caught:
            STREAM.write(f"pipe:{writer}", STREAM.units(20), format=format_)
        assert isinstance(caught.value, ContainerPipeError)
    finally:
        os.close(writer)


def test_an_error_inside_the_with_block_keeps_its_name_and_the_file(tmp_path: Path) -> None:
    data = STREAM.units(5)
    with pytest.raises(ZeroDivisionError), containers.open(tmp_path / "a.mov", "w") as out:
        out.add_stream(rate=STREAM.RATE, width=640, height=360)
        out.mux(STREAM.packet(unit, n, 1 / STREAM.RATE) for n, unit in enumerate(data))
        raise ZeroDivisionError
    assert [s.data for s in STREAM.read(tmp_path / "a.mov")] == data


@pytest.mark.parametrize("extension", ["nut", "mov", "avi", "mp4", "ts", "dv"])
@pytest.mark.parametrize("announced", [False, True])
def test_a_failure_before_the_first_packet_leaves_an_existing_file_alone(
    tmp_path: Path, extension: str, announced: bool
) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(b"precious")
    with pytest.raises(ZeroDivisionError), containers.open(path, "w") as out:
        if announced:
            out.add_stream(rate=STREAM.RATE, width=640, height=360)
        raise ZeroDivisionError
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("extension", ["nut", "mov", "avi", "mp4", "ts", "dv"])
def test_a_stream_without_packets_that_is_closed_replaces_an_existing_file(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(b"old")
    with containers.open(path, "w") as out:
        out.add_stream(rate=STREAM.RATE, width=640, height=360)
    with pytest.raises(ContainerFormatError):
        containers.open(path)
    assert path.read_bytes() != b"old"


def test_misuse_of_an_output_is_named(tmp_path: Path) -> None:
    unit = STREAM.units(1)[0]
    base = 1 / STREAM.RATE
    with containers.open(tmp_path / "a.nut", "w") as out:
        with pytest.raises(ContainerError, match=r"call add_stream\(\) first"):
            out.mux(STREAM.packet(unit, 0, base))
        with pytest.raises(ContainerError, match="size 20000x2, expected 1x1 to 16384x16384"):
            out.add_stream(rate=30, width=20_000, height=2)
        with pytest.raises(ContainerError, match="both must be positive"):
            out.add_stream(rate=0, width=2, height=2)
        out.add_stream(rate=STREAM.RATE, width=640, height=360)
        with pytest.raises(ContainerError, match="has a duoview stream already"):
            out.add_stream(rate=30, width=2, height=2)
        with pytest.raises(ContainerError, match="the packet holds no access unit"):
            out.mux(STREAM.packet(b"something else", 0, base))
        with pytest.raises(ContainerError, match="packet without pts"):
            out.mux(STREAM.packet(unit, None, base))
        out.mux(STREAM.packet(unit, 5, base))
        with pytest.raises(ContainerError, match="dts 5 follows 5: packets must come in decode order"):
            out.mux(STREAM.packet(unit, 5, base))
    with pytest.raises(ContainerError, match="the container is closed"):
        out.mux(STREAM.packet(unit, 6, base))
    out.close()


def test_a_size_that_a_video_stream_cannot_announce_names_the_formats_that_can(tmp_path: Path) -> None:
    with (
        containers.open(tmp_path / "a.nut", "w") as out,
        pytest.raises(ContainerFormatError, match="write MP4, MPEG-TS"),
    ):
        out.add_stream(rate=30, width=16384, height=16384)
    with containers.open(tmp_path / "a.dv", "w") as out:
        out.add_stream(rate=30, width=16384, height=16384)


@pytest.mark.parametrize("extension", ["avi", "mp4"])
def test_reordering_where_the_format_cannot_is_named(tmp_path: Path, extension: str) -> None:
    with containers.open(tmp_path / f"a.{extension}", "w") as out:
        out.add_stream(rate=STREAM.RATE, width=640, height=360)
        with pytest.raises(ContainerFormatError, match="pts 2 differs from dts 0"):
            out.mux(STREAM.packet(STREAM.units(1)[0], 2, 1 / STREAM.RATE, dts=0))


def test_a_variable_rate_in_avi_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ContainerFormatError, match=r"AVI has a constant frame rate, and 0\.033333 s is no multiple of 1/25"
    ):
        STREAM.write(
            tmp_path / "a.avi", STREAM.units(2), pts=[0, 33_333], time_base=Fraction(1, 1_000_000), rate=Fraction(25)
        )


@pytest.mark.parametrize("pts", [[0, 60_002], [60_002]])
def test_a_gap_that_avi_cannot_fill_is_named(pts: list[int]) -> None:
    with pytest.raises(ContainerFormatError, match="dts 60002 follows 0, but avi stores at most 60001 ticks between"):
        STREAM.write(io.BytesIO(), STREAM.units(len(pts)), pts=pts, format="avi")
    file = io.BytesIO()
    STREAM.write(file, STREAM.units(len(pts)), pts=[tick - (tick > 0) for tick in pts], format="avi")
    assert STREAM.read(io.BytesIO(file.getvalue()))[-1].pts * STREAM.RATE == 60_001


def test_a_stream_that_the_format_cannot_hold_is_named(tmp_path: Path) -> None:
    plain_video(tmp_path / "camera.mp4")
    with (
        av.open(str(tmp_path / "camera.mp4")) as source,
        containers.open(tmp_path / "a.dv", "w") as out,
        pytest.raises(ContainerFormatError, match="one duoview stream and nothing beside it"),
    ):
        out.add_stream_from_template(source.streams[0])


@pytest.mark.parametrize("value", ["-1", "soon", "1/0"])
def test_a_bad_bundle_option_is_named(tmp_path: Path, value: str) -> None:
    with pytest.raises(ContainerError, match=r"option bundle_seconds is .*, expected 0 to 10"):
        containers.open(tmp_path / "a.ts", "w", options={"bundle_seconds": value})


def test_asking_for_a_stream_that_is_not_there_is_named(tmp_path: Path) -> None:
    STREAM.write(tmp_path / "a.nut", STREAM.units(3))
    source = containers.open(tmp_path / "a.nut")
    with source, pytest.raises(ContainerError, match=r"no other stream \[7\]; there are: none"):
        list(source.demux(SimpleNamespace(index=7)))
    with pytest.raises(ContainerError, match="the container is closed"):
        next(source.demux())


@pytest.mark.parametrize("format_", ["nut", "mov", "avi", "mp4", "mpegts", "dv"])
def test_a_rate_or_time_base_too_fine_for_32_bits_is_named(format_: str) -> None:
    with containers.open(io.BytesIO(), "w", format_) as out:
        for rate, base in ((Fraction(30), Fraction(1, 3_000_000_000)), (Fraction(1, 3_000_000_000), Fraction(1, 30))):
            with pytest.raises(ContainerError, match="numerators and denominators go up to 2147483647"):
                out.add_stream(rate=rate, width=2, height=2, time_base=base)


@pytest.mark.parametrize("format_", ["nut", "mov", "avi", "mp4", "mpegts", "dv"])
def test_a_time_beyond_64_bits_is_named(format_: str) -> None:
    with containers.open(io.BytesIO(), "w", format_) as out:
        out.add_stream(rate=30, width=2, height=2, time_base=Fraction(1, 1_000_000_000))
        with pytest.raises(ContainerError, match="is beyond 4611686018427387903 ticks"):
            out.mux(STREAM.packet(STREAM.units(1)[0], 1 << 40, Fraction(1)))


@pytest.mark.parametrize("format_", ["nut", "mov", "avi", "mp4", "mpegts", "dv"])
@pytest.mark.parametrize(("seconds", "expected"), [(1e30, 50), (-1e30, 0)])
def test_a_seek_far_beyond_either_end_lands_on_the_last_or_first_key_unit(
    format_: str, seconds: float, expected: int
) -> None:
    file = io.BytesIO()
    data = STREAM.units(60)
    STREAM.write(file, data, format=format_)
    with containers.open(io.BytesIO(file.getvalue())) as source:
        source.seek(seconds)
        assert [s.data for s in STREAM.samples(source)] == data[expected:]


@pytest.mark.parametrize("seconds", [float("inf"), float("nan")])
def test_a_seek_to_no_number_is_named(seconds: float) -> None:
    file = io.BytesIO()
    STREAM.write(file, STREAM.units(1), format="nut")
    with containers.open(io.BytesIO(file.getvalue())) as source, pytest.raises(ValueError, match="a finite number"):
        source.seek(seconds)


def test_a_file_object_that_gives_text_is_named() -> None:
    with pytest.raises(ContainerError, match="read\\(\\) gives text, expected bytes: open the file in binary mode"):
        containers.open(io.StringIO("this is a text"))


class Breaks(io.BytesIO):
    """A file object on a disk that cannot be read beyond some place."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 16_000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def test_a_raw_file_that_cannot_be_read_to_its_end_is_a_container_error() -> None:
    file = io.BytesIO()
    STREAM.write(file, STREAM.units(60), format="dv")
    with pytest.raises(ContainerError, match="cannot read: Input/output error") as caught:
        containers.open(Breaks(file.getvalue()))
    assert caught.value.errno == errno.EIO


def test_options_for_a_raw_file_are_refused_by_name_when_reading_too() -> None:
    file = io.BytesIO()
    STREAM.write(file, STREAM.units(1), format="dv")
    with pytest.raises(ContainerFormatError, match="the dv format has no options, got probesize"):
        containers.open(io.BytesIO(file.getvalue()), options={"probesize": "32"})
