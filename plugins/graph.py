"""Filtergraphs in libavfilter's own text, mixing its filters with ours.

``Graph.parse("[0:v] fps=10, split [a][b]; [a] dv_encode=q=24 [units]; [b] scale=640:-2 [small]")`` runs each stretch of
native filters inside one av.filter.Graph and our stages between them; nothing runs before the first item is pulled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Self

import av
import av.filter

from .dump import describe_graph, dot_graph
from .errors import LinkError, OptionError, suggestion
from .flow import Flow, end_of_stream, item_time, more_input_needed
from .grammar import FilterText, OptionText, parse_text, split_options
from .links import ITEM_TYPES, Item, Link, LinkType
from .native import NativeFilters, Run
from .native_filter import DISCARDS, NativeFilter, read_native
from .options import describe_options
from .partition import native_runs
from .registry import find_stage, no_such_filter
from .scheduler import Edge, Node, Schedule
from .stage import Stage
from .timeline import Timeline
from .wiring import FilterPads, Pad, PadLink, Wiring, check_circles, forward_links, wire

QUEUE_LIMIT = 256


class Graph(Flow):
    """Filters linked with each other, used like a native PyAV graph.

    `inputs` and `outputs` name what is pushed and pulled. A graph with one of each is a flow like a stage; with others
    the pad is named: ``push(frame, "0:v")``, ``pull("small")``. `queue` bounds, in items, what may wait between two
    filters or at an output that is not pulled: beyond it a pull raises QueueFullError. What one native filter keeps
    inside libavfilter is that filter's affair.
    """

    def __init__(self, flows: Sequence[Flow], *, text: str = "", queue: int = QUEUE_LIMIT) -> None:
        """Chain flows that exist already. Raises LinkError, naming both pads, where neighbours do not fit."""
        if not flows:
            raise LinkError("a graph needs at least one filter")
        for flow in flows:
            for pads, side in ((flow.input_types, "input"), (flow.output_types, "output")):
                if len(pads) != 1:
                    raise LinkError(f"{flow.label}: it has {len(pads)} {side}s; a chain takes flows with one of each")
        filters = [FilterPads(flow.label, 0, flow.input_types, flow.output_types) for flow in flows]
        self._assemble(flows, filters, wire([filters]), [[index] for index in range(len(flows))], text, queue)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        stages: Mapping[str, type[Stage]] | None = None,
        rate: Fraction | None = None,
        sample_aspect: Fraction | None = None,
        threads: int = 0,
        queue: int = QUEUE_LIMIT,
    ) -> Self:
        """Make a graph from a filtergraph text.

        Args:
            text: chains separated by ``;`` of filters separated by ``,``, each
                ``[input]name@id=value:key=value[output]``, quoting, escaping and ``sws_flags=...;`` as in libavfilter.
            stages: further stages by filter name, beside ours and those of installed packages.
            rate: nominal frames per second of the video inputs, for filters that want it; frames do not carry it.
            sample_aspect: width to height of a sample of the video inputs; 1 where not given.
            threads: slice threads of native filters, 0 for one per core.
            queue: how many items may wait between two filters, or at an output that is not pulled.

        Raises GraphSyntaxError, FilterNotFoundError, OptionError or LinkError with the column in `text`.
        """
        written = parse_text(text)
        read: list[NativeFilter | Flow] = []
        pads: list[list[FilterPads]] = []
        for chain in written.chains:
            pads.append([])
            for item in chain:
                read.append(_read(item, stages, written.scale_options, len(read)))
                sides = read[-1].input_types, read[-1].output_types
                pads[-1].append(FilterPads(item.label, item.column, *sides, item.inputs, item.outputs))
        wiring = wire(pads)
        if not wiring.outputs:
            raise LinkError("all filters end in a null sink; a graph needs at least one open output")
        ends = {pad.filter for pad in wiring.outputs}
        opened = [index in ends for index in range(len(read))]
        filters = [item for chain in pads for item in chain]
        native = [isinstance(item, NativeFilter) for item in read]
        groups = native_runs(native, forward_links(filters, wiring.links), opened)
        check_circles(filters, wiring.links, groups)
        flows = [_flow(group, read, wiring, written.scale_options, threads) for group in groups]
        graph = cls.__new__(cls)
        graph._assemble(flows, filters, wiring, groups, text, queue)
        if rate is not None or sample_aspect is not None:
            for edge in graph._all_inputs():
                if edge.type is LinkType.VIDEO:
                    edge.before = Link(LinkType.VIDEO, rate=rate, sample_aspect=sample_aspect or Fraction(1))
        return graph

    def _assemble(
        self,
        flows: Sequence[Flow],
        filters: Sequence[FilterPads],
        wiring: Wiring,
        groups: Sequence[Sequence[int]],
        text: str,
        queue: int,
    ) -> None:
        if queue < 1:
            raise OptionError(f"queue={queue}: expected at least 1 item")
        self.flows = tuple(flows)
        self.text = text
        self.label = text or ", ".join(flow.label for flow in flows)
        self._filters, self._wiring, self._groups = tuple(filters), wiring, groups
        entries: dict[tuple[int, int], Edge] = {}  # by filter and pad
        exits: dict[tuple[int, int], Edge] = {}
        for link in wiring.links:
            if _group_of(groups, link.source) != _group_of(groups, link.target):
                place = f"the link from {wiring.names[link.source]} to {wiring.names[link.target]}"
                edge = Edge(filters[link.source].outputs[link.source_pad], place)
                exits[link.source, link.source_pad] = entries[link.target, link.target_pad] = edge
        self._inputs: dict[str, list[Edge]] = {}
        for pad in wiring.inputs:
            edge = entries[pad.filter, pad.index] = Edge(pad.type, pad.name)
            self._inputs.setdefault(pad.name, []).append(edge)
        self._outputs: dict[str, Edge] = {}
        for pad in wiring.outputs:
            self._outputs[pad.name] = exits[pad.filter, pad.index] = Edge(pad.type, pad.name)
        discards = []
        nodes = []
        for flow, group in zip(flows, groups, strict=True):
            ins = [entries[place] for place in _places(group, filters, entries, inputs=True)]
            outs = [exits[place] for place in _places(group, filters, exits, inputs=False)]
            if not outs:
                outs = [Edge(kind, wiring.names[group[0]]) for kind in flow.output_types]
                discards += outs
            nodes.append(Node(flow, ins, outs))
        self._schedule = Schedule(nodes, discards=discards, limit=queue)

    @property
    def inputs(self) -> tuple[Pad, ...]:
        """The open inputs in the order of the text; a label that several filters read is there once."""
        first: dict[str, Pad] = {}
        for pad in self._wiring.inputs:
            first.setdefault(pad.name, pad)
        return tuple(first.values())

    @property
    def outputs(self) -> tuple[Pad, ...]:
        """The open outputs in the order of the text."""
        return self._wiring.outputs

    @property
    def input_types(self) -> tuple[LinkType, ...]:
        """What each open input takes."""
        return tuple(pad.type for pad in self.inputs)

    @property
    def output_types(self) -> tuple[LinkType, ...]:
        """What each open output gives."""
        return tuple(pad.type for pad in self.outputs)

    @property
    def input(self) -> LinkType:  # type: ignore[override]
        """What is pushed. Raises LinkError unless the graph has one input."""
        return self._input_edges(None)[0].type

    @property
    def output(self) -> LinkType:  # type: ignore[override]
        """What is pulled. Raises LinkError unless the graph has one output."""
        return self._output_edge(None).type

    @property
    def before(self) -> Link | None:
        """What is known of the only input before the first item: rate and sample aspect."""
        return self._input_edges(None)[0].before

    @before.setter
    def before(self, link: Link | None) -> None:
        for edge in self._input_edges(None):
            edge.before = link

    @property
    def link(self) -> Link | None:  # type: ignore[override]
        """The only output's properties; None before the first item came through."""
        return self._output_edge(None).link

    def describe(self, pad: int | str, link: Link | None) -> None:
        """Tell what is known of an input, by its name or its number in `inputs`: rate and sample aspect."""
        for edge in self._input_edges(pad):
            edge.before = link

    def link_at(self, pad: int | str) -> Link | None:
        """The properties of an output, by its name or its number in `outputs`; None before its first item."""
        return self._output_edge(pad).link

    def push(self, item: Item | None, pad: str | int | None = None) -> None:
        """Take one frame or packet; None marks the end of an input, or of all inputs where no pad is named.

        Raises LinkError for an item of the wrong kind, for an unknown pad, and when a graph with several inputs is
        given an item without one; av.EOFError after the end.
        """
        if item is None and pad is None:
            for edge in self._all_inputs():
                edge.ended = True
            return
        edges = self._input_edges(pad)
        if item is None:
            for edge in edges:
                edge.ended = True
            return
        first = edges[0]
        expected = ITEM_TYPES[first.type]
        if not isinstance(item, expected):
            raise LinkError(
                f"input {first.name} takes {first.type.value} (av.{expected.__name__}), not a {type(item).__name__}"
            )
        if first.ended:
            raise end_of_stream()
        for edge in edges:
            edge.put(item, edge.before)

    def pull(self, pad: str | int | None = None) -> Any:
        """Give the next item of an output; av.BlockingIOError when more input is needed, av.EOFError when drained.

        Raises LinkError for an unknown pad and when a graph with several outputs is asked without one, QueueFullError
        when more waits in the graph than `queue`.
        """
        item = self._schedule.poll(self._output_edge(pad))
        if item is None:
            raise more_input_needed()
        return item

    def ready(self) -> Iterator[Any]:
        """Pull the only output until more input is needed or its end is reached. LinkError where there are several."""
        self._output_edge(None)
        return super().ready()

    def feed(self, item: Item | None, pad: int) -> None:
        self.push(item, pad)

    def poll(self, pad: int) -> Any:
        return self._schedule.poll(self._output_edge(pad))

    @property
    def makes_items(self) -> bool:
        """Whether the graph has sources of its own."""
        return any(not item.inputs for item in self._filters)

    def run(
        self, items: Iterable[Item] | Mapping[str, Iterable[Item]] | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Feed all inputs to their ends and give what comes out as (output name, item), for any number of both.

        Args:
            items: for each input its items, by name; for a graph with one input the items alone.

        The input that lags most in time is fed next, the output that lags most is pulled first. Raises what `push` and
        `pull` raise, and LinkError, before anything runs, when the inputs given are not those that the graph has.
        """
        return self._run(self._iterators(items))

    def __iter__(self) -> Iterator[Any]:
        """All items of a graph with sources of its own and one output. Raises LinkError for other graphs."""
        if self._inputs:
            names = self._names(self._inputs)
            raise LinkError(f"the graph has inputs ({names}): use process(items), run(items) or push and pull")
        edge = self._output_edge(None)
        return (item for name, item in self._run({}) if name == edge.name)

    def observe(self, told: Callable[[str, float], None] | None) -> None:
        """Have every filter's work told: its label (native filters' together), and the seconds of one step of it."""
        self._schedule.observe = told

    def reset(self) -> None:
        """Forget all items and state of every filter, as after a seek; a graph's own sources begin again."""
        self._schedule.reset()

    def close(self) -> None:
        """Release what the filters hold, and drop what waits between them; the graph has ended, until a reset."""
        self._schedule.close()

    def dump(self, form: str = "text") -> str:
        """Describe filters, native runs and typed links, as ``text`` or, for graphviz, as ``dot``."""
        forms = {"text": describe_graph, "dot": dot_graph}
        if form not in forms:
            raise OptionError(f"dump: form={form!r}: expected text or dot{suggestion(form, forms)}")
        return forms[form](self._filters, self._wiring, self._groups, self.flows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<duoview.Graph {self.label}>"

    def _run(self, feeds: dict[str, Iterator[Item]]) -> Iterator[tuple[str, Any]]:
        fed = dict.fromkeys(feeds, float("-inf"))
        waiting = dict(self._outputs)
        moved: set[str] = set()  # outputs that gave something since an input was fed
        while waiting:
            for name in sorted(waiting, key=lambda name: (waiting[name].next_time(), not waiting[name].queue)):
                if name in moved and feeds and _runs_ahead(waiting[name], min(fed[pad] for pad in feeds)):
                    continue
                try:
                    item = self._schedule.poll(waiting[name])
                except av.error.EOFError:
                    del waiting[name]
                    break
                if item is None:
                    continue
                moved.add(name)
                yield name, item
                break
            else:
                moved.clear()
                if not feeds:
                    raise more_input_needed()  # a source of the graph's own has nothing yet
                name = min(feeds, key=lambda name: fed[name])
                given = next(feeds[name], None)
                self.push(given, name)
                if given is None:
                    del feeds[name]
                else:
                    fed[name] = item_time(given)

    def _iterators(self, items: Iterable[Item] | Mapping[str, Iterable[Item]] | None) -> dict[str, Iterator[Item]]:
        if items is not None and not isinstance(items, Mapping):
            self._input_edges(None)
            return {next(iter(self._inputs)): iter(items)}
        given = dict(items or {})
        for name in given:
            self._input_edges(name)
        missing = [name for name in self._inputs if name not in given]
        if missing:
            raise LinkError(f"no items for input {', '.join(missing)}; the graph has {self._names(self._inputs)}")
        return {name: iter(given[name]) for name in given}

    def _all_inputs(self) -> Iterator[Edge]:
        return itertools.chain.from_iterable(self._inputs.values())

    def _input_edges(self, pad: str | int | None) -> list[Edge]:
        return self._chosen(self._inputs, pad, "input")

    def _output_edge(self, pad: str | int | None) -> Edge:
        return self._chosen(self._outputs, pad, "output")

    def _chosen(self, pads: Mapping[str, Any], pad: str | int | None, side: str) -> Any:
        if pad is None:
            if len(pads) == 1:
                return next(iter(pads.values()))
            names = f"{len(pads)} {side}s ({self._names(pads)}): name one" if pads else f"no {side}"
            raise LinkError(f"the graph has {names}")
        if isinstance(pad, str) and pad in pads:
            return pads[pad]
        if isinstance(pad, int) and 0 <= pad < len(pads):
            return list(pads.values())[pad]
        near = suggestion(pad, pads) if isinstance(pad, str) else ""
        raise LinkError(f"no {side} {pad!r}{near}; the graph has {self._names(pads) or 'none'}")

    @staticmethod
    def _names(pads: Iterable[str]) -> str:
        return ", ".join(pads)


def _read(
    item: FilterText, stages: Mapping[str, type[Stage]] | None, scale_options: Sequence[OptionText], position: int
) -> NativeFilter | Flow:
    stage = find_stage(item.name, stages)
    if stage is None:
        if item.name not in av.filter.filters_available:
            raise no_such_filter(item.name, item.column, stages or ())
        return read_native(item, scale_options, position)
    options = split_options(item.options)
    when = [option for option in options if option.key == "enable"]
    if not when or any(option.name == "enable" for option in describe_options(stage.Options)):
        return stage.from_text(options, label=item.label, column=item.column)
    options = tuple(option for option in options if option.key != "enable")
    return Timeline(stage.from_text(options, label=item.label, column=item.column), when[-1])


def _flow(
    group: Sequence[int],
    read: Sequence[NativeFilter | Flow],
    wiring: Wiring,
    scale_options: tuple[OptionText, ...],
    threads: int,
) -> Flow:
    only = read[group[0]]
    if isinstance(only, Flow):
        return only
    filters = tuple(item for item in (read[index] for index in group) if isinstance(item, NativeFilter))
    inner = [link for link in wiring.links if link.source in group and link.target in group]
    links = tuple(
        PadLink(group.index(link.source), link.source_pad, group.index(link.target), link.target_pad) for link in inner
    )
    fed = {(link.target, link.target_pad) for link in links}
    given = {(link.source, link.source_pad) for link in links}
    entries = [(node, pad) for node, item in enumerate(filters) for pad in range(len(item.input_types))]
    exits = [(node, pad) for node, item in enumerate(filters) for pad in range(len(item.output_types))]
    left = tuple(place for place in exits if place not in given)
    # A run that only ends in null sinks is pulled there: nothing else would make it work.
    left = left or tuple((node, 0) for node, item in enumerate(filters) if item.text.name in DISCARDS)
    run = Run(filters, links, tuple(place for place in entries if place not in fed), left, scale_options)
    return NativeFilters.of_run(run, threads=threads)


def _runs_ahead(output: Edge, fed: float) -> bool:
    """Whether an output that a source could fill for ever is later already than what the inputs were fed up to."""
    return output.sourced and not output.queue and output.time > fed


def _group_of(groups: Sequence[Sequence[int]], index: int) -> int:
    return next(number for number, group in enumerate(groups) if index in group)


def _places(
    group: Sequence[int], filters: Sequence[FilterPads], edges: Mapping[tuple[int, int], Edge], *, inputs: bool
) -> list[tuple[int, int]]:
    """The pads of a group's filters that have an edge, in the order in which its flow numbers them."""
    counts = [(index, len(filters[index].inputs if inputs else filters[index].outputs)) for index in group]
    return [(index, pad) for index, count in counts for pad in range(count) if (index, pad) in edges]
