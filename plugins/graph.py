"""Filtergraphs in libavfilter's own text, mixing its filters with ours. Linear chains in this version.

``Graph.parse("fps=10, scale=640:-2, dv_encode=q=24")`` runs each stretch of native filters inside one
av.filter.Graph and our stages between them; nothing runs before the first item is pulled.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Self

import av
import av.filter

from .errors import LinkError
from .flow import Flow, end_of_stream
from .grammar import FilterText, parse_chain, split_options
from .links import Item, Link, LinkType
from .native import NativeFilters
from .registry import find_stage, no_such_filter
from .stage import Stage


class Graph(Flow):
    """A chain of filters with one input and one output, used like a native PyAV graph.

    `input` and `output` say what is pushed and pulled: video frames or access units.
    """

    def __init__(self, flows: Sequence[Flow], *, text: str = "") -> None:
        """Chain flows that exist already. Raises LinkError, naming both pads, where neighbours do not fit."""
        if not flows:
            raise LinkError("a graph needs at least one filter")
        for index, (left, right) in enumerate(itertools.pairwise(flows)):
            if left.output is not right.input:
                raise LinkError(
                    f"filter {index + 1}, {left.label}, gives {left.output.value} on output pad 0, but filter "
                    f"{index + 2}, {right.label}, takes {right.input.value} on input pad 0{_bridge(left)}"
                )
        self.flows = tuple(flows)
        self.text = text
        self.label = text or ", ".join(flow.label for flow in flows)
        self.input = flows[0].input
        self.output = flows[-1].output
        self._ended = False

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        stages: Mapping[str, type[Stage]] | None = None,
        rate: Fraction | None = None,
        sample_aspect: Fraction | None = None,
        threads: int = 0,
    ) -> Self:
        """Make a graph from a filtergraph text.

        Args:
            text: filters separated by commas, ``name@id=value:key=value``, quoting and escaping as in libavfilter.
            stages: further stages by filter name, beside ours and those of installed packages.
            rate: nominal frames per second of the input, for filters that want it; frames do not carry it.
            sample_aspect: width to height of a sample of the input; 1 where not given.
            threads: slice threads of native filters, 0 for one per core.

        Raises GraphSyntaxError, FilterNotFoundError, OptionError or LinkError with the column in `text`.
        """
        flows: list[Flow] = []
        run: list[FilterText] = []
        for item in parse_chain(text):
            stage = find_stage(item.name, stages)
            if stage is None:
                if item.name not in av.filter.filters_available:
                    raise no_such_filter(item.name, item.column, stages or ())
                run.append(item)
                continue
            if run:
                flows.append(NativeFilters(run, threads=threads))
                run = []
            flows.append(stage.from_text(split_options(item.options), label=item.label, column=item.column))
        if run:
            flows.append(NativeFilters(run, threads=threads))
        graph = cls(flows, text=text)
        if rate is not None or sample_aspect is not None:
            graph.before = Link(graph.input, rate=rate, sample_aspect=sample_aspect or Fraction(1))
        return graph

    @property
    def before(self) -> Link | None:
        """What is known of the input before the first item: rate and sample aspect."""
        return self.flows[0].before

    @before.setter
    def before(self, link: Link | None) -> None:
        self.flows[0].before = link

    @property
    def link(self) -> Link | None:  # type: ignore[override]
        """The output's properties; None before the first item came through."""
        return self.flows[-1].link

    def push(self, item: Item | None) -> None:
        """Take one frame or packet, None for the end of the stream."""
        if item is None:
            self._ended = True
        elif self._ended:
            raise end_of_stream()
        self.flows[0].push(item)

    def pull(self) -> Any:
        """Give the next output; av.BlockingIOError when more input is needed, av.EOFError when drained."""
        return self._pull(len(self.flows) - 1)

    def _pull(self, index: int) -> Any:
        flow = self.flows[index]
        while True:
            try:
                return flow.pull()
            except av.error.BlockingIOError:
                if index == 0:
                    raise
            try:
                item = self._pull(index - 1)
            except av.error.EOFError:
                flow.push(None)
                continue
            if flow.before != self.flows[index - 1].link:
                flow.before = self.flows[index - 1].link
            flow.push(item)

    def reset(self) -> None:
        """Forget all items and state of every filter, as after a seek."""
        for flow in self.flows:
            flow.reset()
        self._ended = False

    def close(self) -> None:
        """Release what the filters hold."""
        for flow in self.flows:
            flow.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<duoview.Graph {self.label}>"


def _bridge(left: Flow) -> str:
    if left.output is LinkType.VIDEO:
        return "; put dv_encode between them"
    return "; put dv_machine or dv_human between them"
