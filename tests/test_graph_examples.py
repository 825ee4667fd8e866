"""The graphs of docs/filtergraphs.md run and give what is said beside them."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

import duoview
from duoview.plugins.links import LinkType

PAGE = Path(__file__).resolve().parent.parent / "docs" / "filtergraphs.md"
GRAPHS = re.findall(r"^```graph\n(.*?)\n```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
SOURCE = "testsrc2=size=64x48:rate=10:duration=0.5"


def outputs(number: int) -> dict[str, list[Any]]:
    """What graph `number` of the page, from 1, gives for half a second of pictures at every input."""
    found: dict[str, list[Any]] = {}
    with duoview.Graph.parse(GRAPHS[number - 1], rate=Fraction(10)) as graph:
        items = {}
        for pad in graph.inputs:
            assert pad.type is LinkType.VIDEO
            with av.open(SOURCE, format="lavfi") as container:
                items[pad.name] = list(container.decode(video=0))
        for name, item in graph.run(items):
            found.setdefault(name, []).append(item)
    return found


def size(frame: av.VideoFrame) -> tuple[int, int]:
    return frame.width, frame.height


def test_the_page_has_ten_graphs() -> None:
    assert len(GRAPHS) == 10


@pytest.mark.parametrize(
    ("number", "name", "count", "kind"),
    [
        (1, "out", 5, av.Packet),
        (2, "units", 5, av.Packet),
        (2, "preview", 1, av.VideoFrame),
        (3, "out", 5, av.VideoFrame),
        (4, "out", 5, av.VideoFrame),
        (5, "out", 5, av.VideoFrame),
        (6, "out", 5, av.Packet),
        (7, "out", 5, av.Packet),
        (8, "out", 5, av.VideoFrame),
        (9, "out", 3, av.Packet),
        (10, "out", 2, av.VideoFrame),
    ],
)
def test_each_graph_of_the_page_gives_its_items(number: int, name: str, count: int, kind: type) -> None:
    items = outputs(number)[name]
    assert len(items) == count and all(isinstance(item, kind) for item in items)


def test_the_pictures_have_the_sizes_that_the_texts_ask_for() -> None:
    assert size(outputs(2)["preview"][0]) == (48, 36)
    assert size(outputs(3)["out"][0]) == (128, 48)
    assert size(outputs(5)["out"][0]) == (64, 48)
    assert size(outputs(10)["out"][0]) == (64, 48)


def test_the_quality_of_the_machine_view_is_in_the_metadata() -> None:
    assert all(float(frame.metadata["lavfi.psnr.psnr_avg"]) > 10 for frame in outputs(4)["out"])


def test_the_blurred_frames_are_those_of_the_expression() -> None:
    with av.open(SOURCE, format="lavfi") as container:
        plain = [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
    blurred = [frame.to_ndarray().tobytes() for frame in outputs(8)["out"]]
    assert [left != right for left, right in zip(plain, blurred, strict=True)] == [False, False, True, True, True]
