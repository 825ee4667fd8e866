"""dv_metadata: frames pass, and what was found in them is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lxml import etree

from duoview.errors import ContainerNotFoundError
from duoview.plugins.analytics import read_records
from duoview.plugins.analytics.onvif import NAMESPACES
from duoview.plugins.errors import OptionError
from duoview.plugins.filters.dv_metadata import Metadata
from duoview.plugins.graph import Graph
from duoview.plugins.testing import check_stage, looked_at, picture


def frames(count: int) -> list:
    return [looked_at(picture(pts), [((10.0 + pts, 8.0, 40.0 + pts, 50.0), 0)], ids=[1]) for pts in range(count)]


def test_a_chain_tracks_triggers_and_writes(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    text = (f"dv_track,dv_trigger@gate=on=dwell:zones=0 0 1 1:seconds=0.3,"
            f"dv_metadata=url={path}:source=cam1:start_utc='2026-05-04T13\\:00\\:00Z'")
    given = frames(8)
    out = list(Graph.parse(text).process(given))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["pts"] for line in lines] == [frame.pts for frame in out] == list(range(8))
    assert [line["objects"][0].get("track") for line in lines] == [None, *[1] * 7]
    assert [bool(line.get("events")) for line in lines] == [False] * 4 + [True] * 4
    assert lines[4]["events"][0]["trigger"] == "dv_trigger@gate" and lines[3]["utc"] == "2026-05-04T13:00:00.300000Z"
    assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in zip(given, out, strict=True))


def test_the_file_is_finished_at_the_end_of_the_stream(tmp_path: Path) -> None:
    stage = Metadata(url=str(tmp_path / "out.xml"), start_utc="2026-05-04T13:00:00+02:00")
    list(stage.process(frames(3)))
    root = etree.parse(str(tmp_path / "out.xml"))
    times = [frame.get("UtcTime") for frame in root.findall(".//tt:Frame", NAMESPACES)]
    assert times[0] == "2026-05-04T11:00:00.000000Z" and len(times) == 3
    list(Metadata(url=str(tmp_path / "out.ts")).process(frames(3)))
    assert [content["pts"] for _, content in read_records(tmp_path / "out.ts")] == [0, 1, 2]


def test_nothing_is_opened_before_the_first_frame(tmp_path: Path) -> None:
    Metadata(url=str(tmp_path / "out.vtt")).close()
    Graph.parse(f"dv_metadata={tmp_path / 'out.vtt'}")
    assert not list(tmp_path.iterdir())


def test_it_keeps_the_rules_of_stages(tmp_path: Path) -> None:
    check_stage(lambda: Metadata(url=str(tmp_path / "out.jsonl")))


@pytest.mark.parametrize(("text", "message"), [
    ("dv_metadata", "option 'url' must be given"), ("dv_metadata=out.csv", "analytics output 'out.csv': expected mqtt://"),
    ("dv_metadata=out.csv:format=json", "expected one of auto, jsonl, mqtt"),
    ("dv_metadata=a.vtt:start_utc=2026-05-04", "start_utc='2026-05-04': expected a time as 2026-05-04T13:00:00Z"),
    ("dv_metadata=a.vtt:start_utc=noon", "start_utc='noon': expected a time as"),
    ("dv_metadata=a.vtt:topic=x", "topic='x' belongs to mqtt, not to webvtt"),
])
def test_wrong_options_are_said_when_the_graph_is_read(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Graph.parse(text)
    assert message in str(caught.value)


def test_no_message_shows_a_password() -> None:
    assert repr(Metadata(url="mqtt://cam:se'cret@host")).count("mqtt://***@host") == 1
    with pytest.raises(OptionError) as caught:
        Metadata(url="mqqt://cam:secret@host")
    assert "'mqqt://***@host'" in str(caught.value) and "secret" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_said_at_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(ContainerNotFoundError, match="nowhere"):
        list(Metadata(url=str(tmp_path / "nowhere" / "a.vtt")).process(frames(1)))
