"""``-vf`` and ``-r``: what pictures go through before the encoder, or between the decoder and the output."""

from __future__ import annotations

from fractions import Fraction

from duoview.plugins.flow import Flow
from duoview.plugins.graph import Graph
from duoview.plugins.links import LinkType

from .errors import UsageError


def video_filters(text: str | None, rate: Fraction | None) -> tuple[Flow, ...]:
    """The filters of a graph text and those that give a frame rate, one behind the other; none where neither is given.

    Raises UsageError for a graph that is not from one video input to one video output, and the text's own errors.
    """
    flows: list[Flow] = []
    if text:
        graph = Graph.parse(text)
        for pads, side in ((graph.inputs, "input"), (graph.outputs, "output")):
            names = ", ".join(f"[{pad.name}] of {pad.type.value}" for pad in pads) or "none"
            if len(pads) != 1 or pads[0].type is not LinkType.VIDEO:
                raise UsageError(f"-vf {text}: expected one {side} of video frames, found {names}")
        flows.append(graph)
    if rate is not None:
        flows.append(Graph.parse(f"fps={rate}"))
    return tuple(flows)
