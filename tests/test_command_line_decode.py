"""``duoview decode``: both views as video and images, with the source's colours, times and sound."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import duoview
from duoview.pipelines.command import main
from duoview.pipelines.console import Console
from duoview.pipelines.outputs import OutputSettings, VideoOutput
from duoview.sequence import Colour

SOURCE = "testsrc=size=64x48:rate=25:duration=0.4"


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coded") / "in.nut"
    assert main(["encode", "-f", "lavfi", "-i", f"{SOURCE},format=yuv420p", "-q", "30", "-g", "4", str(path)]) == 0
    return path


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_the_machine_view_is_written_as_x264_with_the_streams_times(coded: Path, tmp_path: Path) -> None:
    out = tmp_path / "machine.mp4"
    assert main(["decode", "-i", str(coded), str(out)]) == 0
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", Fraction(25))
        frames = list(container.decode(video=0))
    assert [float(frame.time) for frame in frames] == pytest.approx([index / 25 for index in range(10)])


def test_lossless_output_is_what_the_decoder_gives(coded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nut"
    assert main(["decode", "-i", str(coded), "-c:v", "ffv1", "-pix_fmt", "bgr0", str(out)]) == 0
    decoder = duoview.Decoder()
    with duoview.open(coded) as container:
        want = [frame.to_ndarray(format="rgb24") for packet in container.demux() for frame in decoder.decode(packet)]
    got = [frame.to_ndarray(format="rgb24") for frame in frames_of(out)]
    assert len(got) == len(want) == 10
    assert all(np.array_equal(left, right) for left, right in zip(got, want, strict=True))


def test_encoder_options_and_filters_reach_the_output(coded: Path, tmp_path: Path) -> None:
    words = ["-vf", "scale=32:24,hflip", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "40", "-g", "2"]
    assert main(["decode", "-i", str(coded), *words, str(tmp_path / "out.mkv")]) == 0
    frames = frames_of(tmp_path / "out.mkv")
    assert (frames[0].width, frames[0].height) == (32, 24)
    assert [bool(frame.key_frame) for frame in frames[:4]] == [True, False, True, False]


def test_filters_may_branch_join_and_bring_sources_and_a_rate_follows_them(coded: Path, tmp_path: Path) -> None:
    graph = "color=white:s=8x8[c];[in]split[a][b];[a]scale=16:12[s];[b][s]overlay[o];[o][c]overlay=x=24:shortest=1[out]"
    words = ["-vf", graph, "-r", "5", "-c:v", "ffv1", "-pix_fmt", "yuv444p"]
    assert main(["decode", "-i", str(coded), *words, str(tmp_path / "out.nut")]) == 0
    frames = frames_of(tmp_path / "out.nut")
    assert {(frame.width, frame.height) for frame in frames} == {(64, 48)}
    times = [frame.time for frame in frames]
    assert times == pytest.approx([times[0] + index / 5 for index in range(len(frames))]) and len(frames) > 1
    assert all((frame.to_ndarray(format="rgb24")[2:6, 26:30] > 240).all() for frame in frames)


def test_the_human_view_tells_its_provenance_beside_it(coded: Path, tmp_path: Path) -> None:
    out = tmp_path / "human.mp4"
    words = ["-view", "human", "-steps", "2", "-seed", "7", "-frames:v", "3"]
    assert main(["decode", "-i", str(coded), *words, str(out)]) == 0
    document = json.loads((tmp_path / "human.mp4.json").read_text())
    (segment,) = document["segments"]
    assert (segment["first_frame"], segment["frames"], segment["concealed"]) == (0, 3, 0)
    assert segment["provenance"]["view"] == "human" and segment["provenance"]["coded_layers"] == ["machine"]
    assert (segment["provenance"]["steps"], segment["provenance"]["seed"]) == (2, 7)
    assert segment["provenance"]["profile_sha256"] == duoview.Profile("s").sha256.hex()
    shares = segment["generated_share"]
    assert 0 < shares["least"] <= shares["mean"] <= shares["greatest"] < 1
    assert len(frames_of(out)) == 3


@pytest.mark.parametrize("name", ["human.mp4", "human.mkv", "human.nut", "human.mov", "human.avi"])
def test_the_files_own_metadata_says_that_it_was_generated(coded: Path, tmp_path: Path, name: str) -> None:
    for view, generated in (("human", True), ("machine", False)):
        out = tmp_path / view / name
        out.parent.mkdir()
        words = ["-view", view, *(["-steps", "1"] if generated else [])]
        assert main(["decode", "-i", str(coded), *words, "-frames:v", "1", str(out)]) == 0
        with av.open(str(out)) as container:
            told = {key.lower(): value for key, value in container.metadata.items()}.get("comment")
        assert (told is not None) == generated == (tmp_path / view / f"{name}.json").exists()
        if told is not None:
            made = json.loads(told)["generated"]
            assert (made["view"], made["steps"], made["seed"], made["coded_layers"]) == ("human", 1, 0, ["machine"])


def test_image_sequences_and_stills_are_outputs(coded: Path, tmp_path: Path) -> None:
    assert main(["decode", "-i", str(coded), "-frames:v", "3", str(tmp_path / "out_%02d.png")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out_01.png", "out_02.png", "out_03.png"]
    assert main(["decode", "-i", str(coded), "-frames:v", "1", "-q:v", "2", str(tmp_path / "still.jpg")]) == 0
    (still,) = frames_of(tmp_path / "still.jpg")
    assert (still.width, still.height) == (64, 48)


def test_a_second_picture_for_one_image_file_is_an_error_that_keeps_the_first(
    coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decode", "-i", str(coded), str(tmp_path / "still.png")]) == 1
    assert "expected a pattern like out_%04d.png, or -frames:v 1" in capsys.readouterr().err
    assert len(frames_of(tmp_path / "still.png")) == 1


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        (["-ss", "0.2"], [], [0.0, 0.04, 0.08, 0.12, 0.16]),
        (["-ss", "0.2", "-t", "0.08"], [], [0.0, 0.04]),
        ([], ["-ss", "0.24", "-t", "0.08"], [0.0, 0.04]),
        ([], ["-r", "5"], [0.0, 0.2]),
    ],
)
def test_a_part_is_decoded_exactly_also_from_between_key_frames(
    before: list[str], after: list[str], times: list[float], coded: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "part.nut", tmp_path / "whole.nut"
    lossless = ["-c:v", "ffv1", "-pix_fmt", "bgr0"]
    assert main(["decode", *before, "-i", str(coded), *after, *lossless, str(out)]) == 0
    frames = frames_of(out)
    assert [float(frame.time) for frame in frames] == pytest.approx(times)
    if "-ss" in before:
        assert main(["decode", "-i", str(coded), *lossless, str(whole)]) == 0
        assert np.array_equal(frames[0].to_ndarray(format="rgb24"), frames_of(whole)[5].to_ndarray(format="rgb24"))


def test_sound_passes_through_to_the_output(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        with av.open(f"{SOURCE},format=yuv420p", format="lavfi") as source:
            for frame in source.decode(video=0):
                frame.pict_type = 0
                container.mux(video.encode(frame))
        container.mux(video.encode(None))
        with av.open("sine=sample_rate=8000:duration=0.4", format="lavfi") as source:
            for samples in source.decode(audio=0):
                container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    assert main(["encode", "-i", str(tmp_path / "in.mkv"), "-map", "0", str(tmp_path / "mid.nut")]) == 0
    assert main(["decode", "-i", str(tmp_path / "mid.nut"), "-map", "0", str(tmp_path / "out.mkv")]) == 0
    with av.open(str(tmp_path / "in.mkv")) as before, av.open(str(tmp_path / "out.mkv")) as after:
        want, got = (b"".join(bytes(p) for p in c.demux(audio=0) if p.size) for c in (before, after))
        assert got == want and len(want) == 6400


@pytest.mark.parametrize("size", ["65x47", "64x47"])
def test_odd_sizes_are_written_whole_with_full_chroma(size: str, tmp_path: Path) -> None:
    graph = f"testsrc=size=64x48:rate=25:duration=0.08,scale={size.replace('x', ':')}"
    assert main(["encode", "-f", "lavfi", "-i", graph, str(tmp_path / "odd.nut")]) == 0
    assert main(["decode", "-i", str(tmp_path / "odd.nut"), str(tmp_path / "odd.mp4")]) == 0
    frame = frames_of(tmp_path / "odd.mp4")[0]
    assert (f"{frame.width}x{frame.height}", frame.format.name) == (size, "yuv444p")


def rgb_frame(pts: int, colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> av.VideoFrame:
    samples = np.empty((size[1], size[0], 3), np.uint8)
    samples[:] = colour
    frame = av.VideoFrame.from_ndarray(samples, "rgb24").reformat(format="gbrp")
    frame.pts, frame.time_base, frame.color_range = pts, Fraction(1, 25), 2
    return frame


@pytest.mark.parametrize(
    ("source", "luma", "tags"),
    [
        (Colour(1, 1, 1, 1), 16 + 219 * 0.2126, (1, 1)),  # BT.709, limited
        (Colour(5, 6, 5, 2), 255 * 0.299, (5, 2)),  # BT.601, full
        (Colour(9, 14, 9, 1), 16 + 219 * 0.2627, (9, 1)),  # BT.2020, limited
        (Colour(2, 2, 2, 0), 16 + 219 * 0.299, (2, 1)),  # untagged: converted as libswscale does, left untagged
        (Colour(2, 2, 0, 2), 16 + 219 * 0.2126, (1, 1)),  # RGB source
    ],
)
def test_yuv_output_has_the_matrix_range_and_tags_of_the_source(
    source: Colour, luma: float, tags: tuple[int, int], tmp_path: Path
) -> None:
    output = VideoOutput(OutputSettings(str(tmp_path / "out.mp4"), codec_options={"crf": "1"}), Console())
    output.describe(source, Fraction(0))
    output.write(rgb_frame(0, (255, 0, 0)))
    output.close()
    (frame,) = frames_of(tmp_path / "out.mp4")
    plane = np.frombuffer(frame.planes[0], np.uint8)  # type: ignore[call-overload]
    assert plane[0] == pytest.approx(luma, abs=1.5)
    assert int(frame.colorspace) == tags[0]
    assert int(frame.color_range) in ((tags[1],) if tags[0] != 2 else (0, 1))


def test_a_picture_type_left_on_a_frame_does_not_become_a_key_frame(tmp_path: Path) -> None:
    output = VideoOutput(OutputSettings(str(tmp_path / "out.mp4")), Console())
    for pts in range(5):
        frame = rgb_frame(pts, (pts * 20, 0, 0))
        frame.pict_type = 1
        output.write(frame)
    output.close()
    assert [bool(frame.key_frame) for frame in frames_of(tmp_path / "out.mp4")] == [True, False, False, False, False]


def test_variable_frame_rate_keeps_every_time_stamp(coded: Path, tmp_path: Path) -> None:
    out = tmp_path / "vfr.mp4"
    assert main(["decode", "-i", str(coded), "-vf", "select='not(eq(mod(n,4),1))'", str(out)]) == 0
    times = [index / 25 for index in range(10) if index % 4 != 1]
    assert [float(frame.time) for frame in frames_of(out)] == pytest.approx(times)


def test_later_frames_of_another_size_are_scaled_to_the_first_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = VideoOutput(OutputSettings(str(tmp_path / "out.mp4")), Console())
    output.write(rgb_frame(0, (9, 9, 9)))
    output.write(rgb_frame(1, (9, 9, 9), (32, 24)))
    output.close()
    assert [(frame.width, frame.height) for frame in frames_of(tmp_path / "out.mp4")] == [(64, 48), (64, 48)]
    assert "frames of 32x24 are scaled to the first one's 64x48" in capsys.readouterr().err
