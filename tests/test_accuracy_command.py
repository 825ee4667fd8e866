"""`duoview bench accuracy` from end to end: tiny clips, a detector made for the test, resuming, the report."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from duoview.detections import Detections
from duoview.detectors import COCO
from duoview.pipelines.command import main as duoview

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))
command = BENCH.module("bench.accuracy.command")
detection = BENCH.module("bench.accuracy.detection")
judge_module = BENCH.module("bench.accuracy.judge")
judges = BENCH.module("bench.accuracy.judges")
codec = BENCH.module("bench.accuracy.codec")
clips = BENCH.module("bench.accuracy.clip")

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command on one red clip, whose detector sees red, with two quick coders."""
    noise = np.random.default_rng(1).integers(-30, 16, (6, 64, 96, 1))
    pictures = np.clip(np.array([240, 48, 32]) + noise, 0, 255).astype(np.uint8)
    frames = [av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p") for picture in pictures]
    path = BENCH.write_clip(tmp_path / "red.mp4", frames, rate=5)
    judge = FILES.looking_detector(tmp_path / "red.onnx")

    def started(*more: str) -> int:
        arguments = ["--clips", str(path), "--judges", str(judge), "--codecs", "x264-veryfast", "x265-medium",
                     "--points", "6", "--below", "--out", str(tmp_path / "out"), *more]
        code: int = command.main(arguments)
        return code

    return started


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()]


def test_everything_is_written(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = tmp_path / "out"
    result = json.loads((out / "accuracy.json").read_text())
    assert {"cpu", "load_average", "commit", "versions"} <= result["machine"].keys()
    assert result["settings"]["span"] == {
        "low": 80, "high": 1500, "points": 6, "below": [], "more": 4, "step": 0.05,
        "per_pixel": False} and result["profile"] == "s"
    coded = [item for item in result["results"]["verdicts"] if item["codec"] != "source"]
    assert [item["base"] for item in coded] == ["x264-veryfast"] * 6 + ["x265-medium"] * 6
    assert all(item["accuracy"]["ap75"] == 1 and item["accuracy"]["kinds"] == ["red"] for item in coded)
    (entry,) = result["results"]["comparisons"]
    assert entry["percent"] is None and "they share less than 0.02 of accuracy" in entry["reason"]
    assert "they share less than" in (out / "report.md").read_text()
    assert "AP75 red 1.000" in capsys.readouterr().out


def test_the_page_holds_its_pictures_and_asks_for_nothing_else(run: Run, tmp_path: Path) -> None:
    assert run() == 0
    text = (tmp_path / "out" / "index.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 3  # source, and two coders
    assert "source, frame 0: 1 objects above 0.45 by red" in text and "x265-medium, key 2s at" in text
    assert text.count("data:image/png;base64,") == (find_spec("matplotlib") is not None)
    assert "http" not in text and "<script" not in text


def test_pictures_are_judged_together(tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    for number in range(5):
        picture = np.full((64 + 2 * number, 96, 3), (240, 48, 32), np.uint8)
        Image.fromarray(picture).save(tmp_path / "red" / f"{number}.png")
    judge = FILES.looking_detector(tmp_path / "red.onnx")
    assert command.main(["--stills", str(tmp_path / "red"), "--judges", str(judge), "--codecs", "jpeg", "--points", "6",
                         "--below", "--out", str(tmp_path / "out")]) == 0
    coded = [item for item in lines(tmp_path) if item["kind"] == "verdict"]
    assert len(coded) == 7 and {(item["frames"], item["width"], item["height"]) for item in coded} == {(5, 96, 72)}
    assert all(item["accuracy"]["objects"] == 5 and item["accuracy"]["ap75"] == 1 for item in coded)


def test_a_clip_with_nothing_to_judge_by_is_named_and_not_coded(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = BENCH.write_clip(tmp_path / "grey.mp4", BENCH.lavfi("color=color=black:size=96x64:rate=5", 6), rate=5)
    judge = FILES.looking_detector(tmp_path / "red.onnx")
    assert command.main(["--clips", str(path), "--judges", str(judge), "--codecs", "x264-veryfast", "--points", "6",
                         "--out", str(tmp_path / "out")]) == 0
    assert [item["kind"] for item in lines(tmp_path)] == ["verdict"] and lines(tmp_path)[0]["codec"] == "source"
    assert "grey@5: nothing to judge by: the judge finds nothing above 0.45" in capsys.readouterr().out
    assert "## Nothing to judge by" in (tmp_path / "out" / "report.md").read_text()


def test_the_best_setting_within_a_limit_is_measured_too(run: Run, tmp_path: Path) -> None:
    assert run("--no-pictures", "--bytes", "150", "1500", "--below", "200", "400") == 0
    results = json.loads((tmp_path / "out" / "accuracy.json").read_text())["results"]
    coded = [item for item in results["verdicts"] if item["codec"] != "source"]
    for base in ("x264-veryfast", "x265-medium"):
        known = {item["quality"]: item["bytes"] / 6 for item in lines(tmp_path)
                 if item["kind"] == "size" and item["codec"].startswith(base)}
        for limit in (200, 400):
            wanted = max((size for size in known.values() if size <= limit), default=None)
            measured = [item["bytes"] / 6 for item in coded if item["base"] == base and item["bytes"] / 6 <= limit]
            assert max(measured, default=None) == wanted
    assert [(item["limit"], item["base"]) for item in results["within"]] == [
        (limit, base) for limit in (200, 400) for base in ("x264-veryfast", "x265-medium")]
    assert "within 200 bytes a frame" in (tmp_path / "out" / "report.md").read_text()


def test_a_second_run_codes_nothing_and_says_the_same(
        run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--no-pictures") == 0
    before, first = lines(tmp_path), json.loads((tmp_path / "out" / "accuracy.json").read_text())["results"]

    def refused(*_: Any) -> Any:
        raise AssertionError("coded or looked again")

    monkeypatch.setattr(codec.Codec, "code", refused)
    monkeypatch.setattr(codec.Codec, "size", refused)
    monkeypatch.setattr(detection.DetectionJudge, "look", refused)
    assert run("--no-pictures") == 0
    assert lines(tmp_path) == before
    assert json.loads((tmp_path / "out" / "accuracy.json").read_text())["results"] == first


def test_a_run_that_was_stopped_goes_on_where_it_was(
        run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = codec.Codec.code
    coded: list[tuple[str, int]] = []
    allowed = 4

    def counted(self: Any, clip: Any, quality: int) -> Any:
        if len(coded) == allowed:
            raise KeyboardInterrupt
        coded.append((self.name, quality))
        return real(self, clip, quality)

    monkeypatch.setattr(codec.Codec, "code", counted)
    with pytest.raises(KeyboardInterrupt):
        run("--no-pictures")
    done, allowed = list(coded), 100
    coded.clear()
    assert run("--no-pictures") == 0
    assert len(done) == 4 and len(coded) == 8 and not set(done) & set(coded)


def test_another_version_of_a_coder_is_measured_again(
        run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--no-pictures") == 0
    before = len(lines(tmp_path))
    peer = BENCH.module("bench.accuracy.peer")
    monkeypatch.setattr(peer, "_libavcodec", lambda: "another")
    assert run("--no-pictures") == 0
    assert len(lines(tmp_path)) == 2 * before - 1  # all but the source's own verdict


def test_another_clip_of_the_same_name_is_measured_by_itself(run: Run, tmp_path: Path) -> None:
    assert run("--no-pictures", "--frames", "5") == 0
    assert run("--no-pictures") == 0
    found = json.loads((tmp_path / "out" / "accuracy.json").read_text())["results"]["verdicts"]
    assert {item["frames"] for item in found} == {6}


def test_what_was_measured_of_a_clip_holds_under_another_name(
        run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--no-pictures") == 0

    def refused(*_: Any) -> Any:
        raise AssertionError("coded again")

    monkeypatch.setattr(codec.Codec, "code", refused)
    renamed = shutil.copy(tmp_path / "red.mp4", tmp_path / "crimson.mp4")
    assert run("--no-pictures", "--clips", str(renamed)) == 0
    results = json.loads((tmp_path / "out" / "accuracy.json").read_text())["results"]
    names = {item["clip"] for part in ("verdicts", "comparisons") for item in results[part]}
    assert len(names) == 1 and names.pop().startswith("crimson")


def test_two_judges_of_one_name_are_refused(
        run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--judges", str(tmp_path / "red.onnx"), str(tmp_path / "red.onnx"))
    assert "--judges: two of the same name" in capsys.readouterr().err


def test_something_has_to_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([])
    assert "--clips or --stills: one of them is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--below", "0"], "--below 0: expected numbers above 0"),
        (["--more", "-1"], "--more -1: expected 0 or more"),
        (["--points", "5"], "--points 5: expected 6 or more"),
        (["--bytes", "100", "50"], "--bytes 100 50: expected two rising numbers above 0"),
        (["--fps", "quick"], "frame rate 'quick': expected full or a positive number"),
        (["--scales", "2"], "scale=2.0: expected above 0, at most 1"),
        (["--judges", "picodet"], "judge picodet: --weights, the folder of the networks, is needed"),
        (["--judges", "nobody"], "judge 'nobody': expected one of picodet, crossroad, yolox, fastestdet, "),
        (["--clips", "nowhere"], "nowhere: no such clip"),
        (["--frames", "0"], "--frames 0: expected 1 or more"),
        (["--profile", "none"], "no such bundled profile"),
    ],
)
def test_wrong_options_are_refused_by_name(
        run: Run, more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(*more)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def found(*objects: tuple[str, float, float]) -> Detections:
    """Class name, left edge and score of objects of 40x40."""
    return Detections(np.array([(x, 0, x + 40, 40) for _, x, _ in objects], np.float32).reshape(-1, 4),
                      np.array([score for *_, score in objects], np.float32),
                      np.array([COCO.index(name) for name, *_ in objects], np.int32), COCO, "m", 640, 360)


def test_cars_and_trucks_are_vehicles_and_what_is_seen_as_both_counts_once() -> None:
    merged = detection.grouped(found(("car", 0, 0.9), ("truck", 1, 0.8), ("person", 0, 0.7), ("dog", 300, 0.9),
                                   ("bus", 200, 0.5)), 0.6)
    assert [(item.name, item.box[0]) for item in merged] == [("vehicle", 0), ("person", 0), ("vehicle", 200)]
    other = Detections.none(("red", "blue"), "m", 8, 8)
    assert detection.grouped(other, 0.6) is other


def test_a_kind_with_few_objects_is_not_judged() -> None:
    source = [detection.grouped(found(("person", 0, 0.9), ("car", 100, 0.9)), 0.6)] * 4
    source += [detection.grouped(found(("person", 0, 0.9)), 0.6)]
    result = detection.judged(source, source, None)[0]
    assert (result.kinds, result.objects, result.ap75) == (("person",), 5, 1)
    nothing = detection.judged(source[:3], source[:3], None)[0]
    assert nothing.ap75 is None and "3 of person, 3 of vehicle above 0.45 in the source, 5 are" in nothing.reason


def test_truth_gives_real_average_precision_of_persons() -> None:
    average = BENCH.module("bench.average_precision")
    truth = [average.Reference(np.array([[0, 0, 40, 40.0], [100, 0, 140, 40]]), ("person",) * 2, np.zeros(2, bool))] * 5
    source = [detection.grouped(found(("person", 0, 0.9)), 0.6)] * 5
    result = detection.judged(source, source, truth)[0]
    assert result.ap75 == 1 and result.real_ap75 == pytest.approx(51 / 101)


def test_what_is_found_in_the_source_is_computed_once(tmp_path: Path) -> None:
    path = BENCH.write_clip(tmp_path / "a.mp4", BENCH.lavfi("color=color=red:size=96x64:rate=5", 3), rate=5)
    clip = clips.load(path)
    looked: list[int] = []
    judge = judges.open_named(str(FILES.looking_detector(tmp_path / "red.onnx")))
    look = judge.look

    def counted(frames: Any, of: Any) -> Any:
        looked.append(len(frames))
        return look(frames, of)

    judge.look = counted
    first = judge_module.SourceFindings(tmp_path / "kept").of(clip, judge)
    assert judge_module.SourceFindings(tmp_path / "kept").of(clip, judge) == first and looked == [3]
    (file,) = (tmp_path / "kept").iterdir()
    file.write_text(file.read_text().splitlines()[0] + "\n")  # cut off
    assert judge_module.SourceFindings(tmp_path / "kept").of(clip, judge) == first and looked == [3, 3]


def installed(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it, in a folder."""
    code = "import sys; from duoview.pipelines.command import main; sys.exit(main(['bench', 'accuracy', '--help']))"
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, env=kept | environment, capture_output=True,
                          text=True, check=False)


def test_outside_of_the_checkout_the_command_says_what_it_needs(tmp_path: Path) -> None:
    outside = installed(tmp_path)
    assert outside.returncode == 1 and outside.stderr.strip() == (
        "duoview: bench accuracy: it needs the checkout, whose folder bench/ is no part of the package; run it there, "
        "or put that folder on PYTHONPATH")


def test_with_the_checkout_on_the_path_the_command_is_the_benchmark(tmp_path: Path) -> None:
    inside = installed(tmp_path, PYTHONPATH=str(BENCH.ROOT))
    assert inside.returncode == 0 and inside.stdout.startswith("usage: duoview bench accuracy")


def test_a_benchmark_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert duoview(["bench", "acuracy"]) == 2
    assert "expected one of accuracy, views; did you mean 'accuracy'?" in capsys.readouterr().err
    assert duoview(["bench"]) == 2 and duoview(["bench", "-h"]) == 0
    assert "duoview bench NAME [OPTIONS]" in capsys.readouterr().out
