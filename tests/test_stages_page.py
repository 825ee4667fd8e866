"""docs/stages.md: its graphs can be read, its Python runs, and it speaks of every stage there is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from duoview.plugins.graph import Graph
from duoview.plugins.registry import OURS
from duoview.plugins.testing import picture

PAGE = Path(__file__).parents[1] / "docs" / "stages.md"
FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("detector_files.py"))))


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    FILES.looking_detector(tmp_path / "yolox_nano.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_graphs_on_the_page_can_be_read(folder: Path) -> None:
    found = blocks("graph")
    assert len(found) == 4
    for text in found:
        Graph.parse(text)


def test_the_python_on_the_page_runs(folder: Path) -> None:
    with av.open("in.mp4", "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for pts in range(3):
            container.mux(stream.encode(picture(pts)))
        container.mux(stream.encode(None))
    (folder / "page.py").write_text("\n".join(blocks("python")))
    names = runpy.run_path(str(folder / "page.py"), run_name="page")
    assert len((folder / "out.jsonl").read_text().splitlines()) == 3
    suite = names["TestBrighten"]()
    for rule in suite.rules():
        getattr(suite, rule)()


def test_every_stage_of_the_second_half_of_a_pipeline_has_its_row() -> None:
    told = set(re.findall(r"^\| `(dv_\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert told == set(OURS) - {"dv_encode", "dv_machine", "dv_human", "dv_texture", "dv_detect"}
