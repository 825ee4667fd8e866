"""``dv_encode`` of pipelines that run: no frame waits for others, since a crash would take all that wait with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_human import Human
from duoview.plugins.filters.dv_machine import Machine
from duoview.plugins.filters.dv_texture import Texture
from duoview.plugins.graph import Graph
from duoview.plugins.stage import Stage
from duoview.plugins.stream_batch import StreamBatch


def live_stages(shared: StreamBatch) -> dict[str, type[Stage]]:
    """The stages that code, as pipelines run them: without latency, and with networks shared as `shared` says."""
    return {stage.name: type(stage.__name__, (stage,), {"__doc__": stage.__doc__, "__module__": __name__,
                                                        "stream_batch": shared})
            for stage in (LiveEncode, Machine, Human, Texture)}


class LiveEncode(Encode):
    """Encode frames for machines: every frame becomes an access unit at once, unless latency=full is asked for."""

    latency: ClassVar[str] = "zero"


def machine_choices(graph: Graph) -> Iterator[str]:
    """What to tell of the encoders of a graph whose machine codec ``auto`` chose: which, and why."""
    for flow in graph.flows:
        if isinstance(flow, Encode) and flow.chosen is not None:
            yield f"{flow.label}: machine codec {flow.machine}, chosen by auto: {flow.chosen.reason}"
