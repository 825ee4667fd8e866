"""Bad input, full disks, broken pipes and signals: one clear line, a non-zero exit, and what was done is kept."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

import duoview
from duoview.pipelines.command import main

SOURCE = "testsrc=size=64x48:rate=25:duration=0.4"
COMMAND = [sys.executable, "-P", "-m", "duoview.pipelines"]


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coded") / "in.nut"
    assert main(["encode", "-f", "lavfi", "-i", f"{SOURCE},format=yuv420p", "-q", "30", "-g", "4", str(path)]) == 0
    return path


@pytest.fixture
def files(tmp_path: Path, coded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    data = coded.read_bytes()
    Path("good.nut").write_bytes(data)
    Path("empty").write_bytes(b"")
    Path("text").write_bytes(b"not a video at all\n" * 40)
    Path("head.nut").write_bytes(data[:90])
    Path("cut.nut").write_bytes(data[: len(data) // 2])
    with av.open("video.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for packet in stream.encode(av.VideoFrame(64, 48, "yuv420p")) + stream.encode(None):
            container.mux(packet)
    Path("cut.mp4").write_bytes(Path("video.mp4").read_bytes()[:200])
    return tmp_path


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["encode", "-i", "missing.mp4", "o.nut"], ["missing.mp4", "No such file", "check the name"]),
        (["encode", "-i", "in_*.png", "o.nut"], ["in_*.png", "-pattern_type glob"]),
        (["encode", "-i", "empty", "o.nut"], ["empty", "Invalid data"]),
        (["encode", "-i", "text", "o.nut"], ["text", "no media file"]),
        (["encode", "-i", "cut.mp4", "o.nut"], ["cut.mp4", "cut off"]),
        (["encode", "-i", ".", "o.nut"], [".", "directory"]),
        (["encode", "-i", "good.nut", "o.nut"], ["good.nut", "duoview decode"]),
        (["encode", "-i", "video.mp4", "-profile", "none", "o.nut"], ["profile 'none'", "bundled: s"]),
        (["encode", "-i", "video.mp4", "-device", "cuda", "o.nut"], ["cuda"]),
        (["encode", "-i", "video.mp4", "nowhere/o.nut"], ["nowhere/o.nut", "no such"]),
        (["encode", "-i", "video.mp4", "o.xyz"], ["o.xyz", "nut"]),
        (["encode", "-i", "video.mp4", "-y", "video.mp4"], ["video.mp4", "is the input itself"]),
        (["encode", "-ss", "9", "-i", "video.mp4", "o.nut"], ["video.mp4", "not one video frame", "from 9 s on"]),
        (["encode", "-i", "video.mp4", "-ss", "9", "o.nut"], ["o.nut", "nothing was encoded"]),
        (["encode", "-f", "lavfi", "-i", "color=size=16400x16:duration=0.04", "o.nut"], ["16400x16", "16384x16384"]),
        (["encode", "-i", "video.mp4", "-f", "nut", "/dev/full"], ["/dev/full", "no space left"]),
        (["decode", "-i", "missing.nut", "o.mp4"], ["missing.nut", "no such file"]),
        (["decode", "-i", "empty", "o.mp4"], ["empty"]),
        (["decode", "-i", "text", "o.mp4"], ["text"]),
        (["decode", "-i", "video.mp4", "o.mp4"], ["video.mp4", "no duoview stream"]),
        (["decode", "-i", "head.nut", "o.mp4"], ["head.nut"]),
        (["decode", "-i", "good.nut", "-profile", "none", "o.mp4"], ["profile 'none'"]),
        (["decode", "-i", "good.nut", "nowhere/o.mp4"], ["nowhere/o.mp4", "No such file"]),
        (["decode", "-i", "good.nut", "-f", "nut", "/dev/full"], ["/dev/full", "No space left"]),
        (["decode", "-ss", "9", "-i", "good.nut", "o.mp4"], ["good.nut", "not one frame"]),
        (["probe", "video.mp4"], ["video.mp4", "no duoview stream"]),
        (["probe", "missing.nut"], ["missing.nut", "no such file"]),
    ],
)
def test_a_failure_is_one_line_that_names_its_cause_and_exit_code_1(
    words: list[str], parts: list[str], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("duoview: ") and err.count("\n") == 1, err
    assert all(part in err for part in parts), err
    assert not (files / "o.nut").exists() and not (files / "o.mp4").exists()


def add_sound(path: str, video: str) -> None:
    """The video once more, with a tone beside it."""
    with (
        av.open(video) as source,
        av.open("sine=duration=0.2", format="lavfi") as tone,
        av.open(path, "w") as container,
    ):
        copy = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream("pcm_s16le", rate=44_100, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
        for frame in tone.decode(audio=0):
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


@pytest.mark.parametrize(
    "words",
    [
        *(["encode", "-i", "cut.mp4", f"o.{name}"] for name in ("dv", "nut", "mp4")),
        *(["encode", "-i", "sound.mov", "-vf", "scale=w=0/0", f"o.{name}"] for name in ("dv", "nut", "mp4")),
        ["encode", "-i", "sound.mov", "-c:a", "copy", "o.dv"],
        ["decode", "-i", "head.nut", "o.mp4"],
        ["decode", "-i", "good.nut", "-profile", "none", "o.png"],
        ["decode", "-i", "good.nut", "-vf", "scale=w=0/0", "o.mp4"],
        ["decode", "-i", "good.nut", "-pix_fmt", "yuv42p", "o.mp4"],
    ],
)
def test_an_existing_output_stays_as_it_was_when_nothing_comes_to_be_written(words: list[str], files: Path) -> None:
    add_sound("sound.mov", "video.mp4")
    Path(words[-1]).write_bytes(b"precious")
    assert main([words[0], "-y", *words[1:]]) in (1, 2)
    assert Path(words[-1]).read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["decode", "-i", "good.nut", "-crv", "3", "o.mp4"], ["unknown option -crv", "did you mean -crf?", "libx264"]),
        (["decode", "-i", "good.nut", "-c:v", "libx2654", "o.mp4"], ["-c:v libx2654", "did you mean 'libx265'"]),
        (["decode", "-i", "good.nut", "-c:v", "copy", "o.mp4"], ["-c:v copy", "libx264"]),
        (["decode", "-i", "good.nut", "o.xyz"], ["o.xyz", "-f"]),
        (["decode", "-i", "good.nut", "-"], ["-f nut"]),
        (["decode", "-i", "good.nut", "-pix_fmt", "yuv42p", "o.mp4"], ["-pix_fmt yuv42p", "yuv420p"]),
        (["decode", "-i", "good.nut", "-vf", "dv_encode", "o.mp4"], ["dv_encode", "video frames"]),
        (["decode", "-i", "good.nut", "-map", "0:a", "o.mp4"], ["-map 0:a", "matches no stream"]),
        (["encode", "-i", "video.mp4", "-vf", "scael=8", "o.nut"], ["column 1", "did you mean 'scale'"]),
        (["encode", "-i", "video.mp4", "-vf", "crop=900:9", "o.nut"], ["crop", "64x48"]),
        (["encode", "-i", "video.mp4", "-vf", "split[a][b]", "o.nut"], ["-vf split", "one output", "[b] of video"]),
        (["encode", "-i", "video.mp4", "-vf", "null;hflip", "o.nut"], ["-vf null;hflip", "one input", "[hflip:0]"]),
        (["encode", "-i", "video.mp4", "-vf", "testsrc", "o.nut"], ["one input of video frames", "found none"]),
        (["encode", "-i", "video.mp4", "-vf", "anull", "o.nut"], ["one input of video", "[in] of audio frames"]),
        (["encode", "-i", "video.mp4", "-vf", "dv_encode", "o.nut"], ["one output of video", "[out] of access units"]),
        (["encode", "-i", "video.mp4", "-map", "0:a", "o.nut"], ["-map 0:a", "matches no stream", "0:0 video"]),
    ],
)
def test_wrong_values_for_a_file_are_usage_errors(
    words: list[str], parts: list[str], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(part in err for part in parts), err


def test_a_stream_cut_off_in_the_middle_decodes_up_to_there(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "-i", "cut.nut", "o.mp4"]) == 0
    with av.open("o.mp4") as container:
        assert 3 <= len(list(container.decode(video=0))) < 10


def test_damaged_units_are_concealed_and_reported_and_decoding_goes_on(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(Path("good.nut").read_bytes())
    with duoview.open("good.nut") as container:
        second = bytes([*container.demux()][1])
    data[data.index(second) + len(second) - 1] ^= 0xFF  # the CRC of its payload, however small that is
    Path("bad.nut").write_bytes(data)
    capsys.readouterr()
    assert main(["decode", "-i", "bad.nut", "o.mp4"]) == 0
    err = capsys.readouterr().err
    assert "1 damaged access units, 3 frames concealed" in err and "CRC" in err
    with av.open("o.mp4") as container:
        assert len(list(container.decode(video=0))) == 10


@pytest.mark.parametrize(("place", "time"), [(2, "0.080"), (7, "0.280"), (8, "0.320")])
def test_a_damaged_input_packet_alone_is_skipped_and_reported(
    place: int, time: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with av.open("clip.avi", "w") as container, av.open(f"{SOURCE},format=yuv420p", format="lavfi") as source:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for frame in source.decode(video=0):
            container.mux(stream.encode(frame.reformat(format="rgb24")))
    data = bytearray(Path("clip.avi").read_bytes())
    start = [index for index in range(len(data)) if data[index : index + 4] == b"\x89PNG"][place]
    data[start : start + 40] = bytes(40)
    Path("clip.avi").write_bytes(data)
    assert main(["encode", "-i", "clip.avi", "o.nut"]) == 0
    assert f"clip.avi: packet at {time} s skipped" in capsys.readouterr().err
    with duoview.open("o.nut") as container:
        assert len([*container.demux()]) == 8  # libav's PNG parser joins the next picture to the damaged one


def test_frames_written_before_the_disk_is_full_do_not_hide_the_error(coded: Path) -> None:
    # Pictures so large that not one fits the pipe's buffer: the command is still writing when the reader is gone.
    with subprocess.Popen(
        [*COMMAND, "decode", "-i", str(coded), "-vf", "scale=640:480", "-f", "rawvideo", "-c:v", "rawvideo", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.returncode == 1 and "roken pipe" in err and "Traceback" not in err


def test_what_was_encoded_before_a_failure_is_in_the_finished_file(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("a", "96x64"), ("b", "64x48")):
        with av.open(f"{name}.h264", "w") as container:
            with av.open(f"testsrc=size={size}:rate=25:duration=0.12,format=yuv420p", format="lavfi") as source:
                stream = container.add_stream("libx264", rate=25)
                stream.width, stream.height = map(int, size.split("x"))
                for frame in source.decode(video=0):
                    container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    Path("ab.h264").write_bytes(Path("a.h264").read_bytes() + Path("b.h264").read_bytes())
    assert main(["encode", "-i", "ab.h264", "-vf", "crop=80:60", "o.nut"]) == 2
    assert "crop (column 1): cannot take frames of 64x48 yuv420p" in capsys.readouterr().err
    with duoview.open("o.nut") as container:
        assert len([*container.demux()]) == 3 and container.damaged == 0


def test_a_stream_of_another_profile_is_refused_with_both_hashes(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(duoview.Profile("s").folder, "other")
    manifest = Path("other/profile.json")
    manifest.write_text(manifest.read_text() + "\n")
    assert main(["encode", "-i", "video.mp4", "-profile", "other", "o.nut"]) == 0
    capsys.readouterr()
    assert main(["decode", "-i", "o.nut", "o.mp4"]) == 1
    err = capsys.readouterr().err
    assert duoview.Profile("s").sha256.hex()[:12] in err and duoview.Profile("other").sha256.hex()[:12] in err
    assert not Path("o.mp4").exists()
    assert main(["decode", "-i", "o.nut", "-profile", "other", "o.mp4"]) == 0


def test_standard_input_and_output_are_pipes(coded: Path, tmp_path: Path) -> None:
    words = [*COMMAND, "decode", "-loglevel", "error", "-i", "-", "-f", "yuv4mpegpipe", "-"]
    done = subprocess.run(words, input=coded.read_bytes(), capture_output=True, check=True)
    assert done.stdout.startswith(b"YUV4MPEG2 W64 H48") and done.stdout.count(b"FRAME") == 10 and done.stderr == b""


def test_seeking_in_a_pipe_reads_up_to_the_start(coded: Path, tmp_path: Path) -> None:
    words = [*COMMAND, "decode", "-loglevel", "error", "-ss", "0.2", "-i", "-", "-f", "yuv4mpegpipe", "-"]
    done = subprocess.run(words, input=coded.read_bytes(), capture_output=True, check=True)
    assert done.stdout.count(b"FRAME") == 5


def test_sigint_finishes_the_file_and_exits_with_255(tmp_path: Path) -> None:
    out = tmp_path / "out.nut"
    words = ["encode", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25", "-progress", "-", str(out)]  # without an end
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = 0
        while told < 6:
            line = process.stdout.readline()
            assert line, "it ended by itself"
            if line.startswith(b"frame="):
                told = int(line.removeprefix(b"frame="))
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=300)
        finally:
            process.kill()  # does nothing where it has ended
    assert process.returncode == 255
    with duoview.open(out) as container:
        assert len([*container.demux()]) >= told and container.damaged == 0


def test_the_environment_needs_no_terminal(coded: Path, tmp_path: Path) -> None:
    words = [*COMMAND, "decode", "-i", str(coded), str(tmp_path / "o.mp4")]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, "TERM": "dumb"})
    assert done.returncode == 0 and done.stdout == b"" and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(("answer", "code"), [(b"y", 0), (b"n", 1)])
def test_on_a_terminal_an_existing_file_is_asked_about_and_progress_is_a_bar(
    answer: bytes, code: int, tmp_path: Path
) -> None:
    out = tmp_path / "out.nut"
    out.write_bytes(b"precious")
    terminal, side = pty.openpty()
    words = [*COMMAND, "encode", "-f", "lavfi", "-i", SOURCE, "-frames:v", "4", str(out)]
    with subprocess.Popen(words, stdin=side, stdout=side, stderr=side) as process:
        os.close(side)
        shown = b""
        while b"Overwrite? [y/N]" not in shown:
            shown += os.read(terminal, 1000)
        os.write(terminal, answer + b"\n")
        with contextlib.suppress(OSError):  # Linux's way to tell that the other side of a terminal was closed
            while chunk := os.read(terminal, 1000):
                shown += chunk
    os.close(terminal)
    assert process.returncode == code
    assert (b"[####################] 100% frame=    4" in shown) == (code == 0)
    assert (out.read_bytes() == b"precious") == (code == 1)
