"""Who works next: flows linked by bounded queues, driven by what is polled.

A poll asks the flow behind the wanted output; that flow gives what it has, else is fed. Of several inputs the one that
lags most in time is fed first, and what feeds it is asked in turn. An input that gets nothing from outside does not
hold up others that wait already, since a filter may want those alone (concat does). Nothing runs outside of `poll`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import av

from .errors import QueueFullError
from .flow import Flow, end_of_stream, item_time
from .links import Item, Link, LinkType

_NEVER = float("-inf")


class Edge:
    """A queue between two flows, or between the outside and a flow."""

    __slots__ = (
        "before", "closed", "ended", "link", "name", "queue", "source", "source_pad", "sourced", "target", "target_pad",
        "time", "timed", "told", "type",
    )  # fmt: skip

    def __init__(self, kind: LinkType, name: str) -> None:
        self.type = kind
        self.name = name
        self.source: Node | None = None
        self.source_pad = 0
        self.target: Node | None = None
        self.target_pad = 0
        self.sourced = False  # some filter upstream makes frames of its own, so more can always be had
        self.timed = False  # times of its items decide something, and are worth reading
        self.before: Link | None = None  # of a graph's input: what was told of it
        self.reset()

    def reset(self) -> None:
        """Forget items and state, not what the edge joins."""
        self.queue: deque[tuple[Any, Link | None, float]] = deque()  # with times in seconds
        self.ended = False  # nothing is put after this
        self.closed = False  # nobody reads any more: what is put is dropped
        self.told = False  # the target knows of the end
        self.time = _NEVER  # of the last item taken out, in seconds
        self.link: Link | None = None  # the properties that came with the last item taken out

    def put(self, item: Item, link: Link | None) -> None:
        """Queue an item; where nobody reads any more it is dropped, as if it had been taken out."""
        time = item_time(item) if self.timed else _NEVER
        if self.closed:
            self.time = time
        else:
            self.queue.append((item, link, time))

    def get(self) -> tuple[Any, Link | None]:
        """Take the next item out, with the properties of its link."""
        item, link, self.time = self.queue.popleft()
        return item, link

    def next_time(self) -> float:
        """Time of the next item as far as it is known."""
        return self.queue[0][2] if self.queue else self.time

    def last_time(self) -> float:
        """Time of the last item that was put."""
        return self.queue[-1][2] if self.queue else self.time


class Node:
    """A flow with its edges, one per pad."""

    __slots__ = ("fed_alone", "flow", "inputs", "known", "outputs")

    def __init__(self, flow: Flow, inputs: Sequence[Edge], outputs: Sequence[Edge]) -> None:
        self.flow = flow
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.known: list[Link | None] = [None] * len(self.inputs)
        self.fed_alone = 0  # items fed without an output while another input got nothing
        for pad, edge in enumerate(self.inputs):
            edge.target, edge.target_pad = self, pad
        for pad, edge in enumerate(self.outputs):
            edge.source, edge.source_pad = self, pad


class Schedule:
    """The nodes of a graph. `limit` bounds every queue, in items."""

    def __init__(self, nodes: Sequence[Node], *, discards: Sequence[Edge] = (), limit: int) -> None:
        """`nodes` come behind all that feed them; `discards` are outputs that lead into a null sink."""
        self.nodes = tuple(nodes)
        self._discards = tuple(discards)
        self._limit = limit
        #: Told of the work of each flow: its label, and the seconds that one item, or the want of more, took.
        self.observe: Callable[[str, float], None] | None = None
        several_ends = sum(edge.target is None for node in nodes for edge in node.outputs) > 1  # null sinks too
        for node in self.nodes:
            makes = not node.inputs or node.flow.makes_items
            sourced = makes or any(edge.sourced for edge in node.inputs)
            for edge in node.inputs:
                edge.timed = edge.timed or len(node.inputs) > 1
            for edge in node.outputs:
                edge.sourced = sourced
                edge.timed = (sourced and len(node.outputs) > 1) or (several_ends and edge.target is None)

    def poll(self, edge: Edge) -> Any:
        """The next item of an output, None when more input is needed. Raises av.EOFError at its end.

        Raises QueueFullError when a queue of the graph, or of an output that nobody pulls, is full.
        """
        while not edge.queue:
            if edge.ended:
                self._discard(float("inf"))
                raise end_of_stream()
            if not self._fill(edge):
                self._discard(float("inf"))
                return None
        if self._discards:
            self._discard(edge.next_time())  # may raise: the item must still be in its queue then
        item, edge.link = edge.get()
        return item

    def reset(self) -> None:
        """Forget all items and the state of every flow."""
        for node in self.nodes:
            node.flow.reset()
            node.fed_alone = 0
            node.known = [None] * len(node.inputs)
            for edge in (*node.inputs, *node.outputs):
                edge.reset()

    def close(self) -> None:
        """Drop what waits and release what the flows hold; nothing goes in or comes out before a reset."""
        for node in self.nodes:
            node.flow.close()
            for edge in (*node.inputs, *node.outputs):
                edge.queue.clear()
                edge.ended = True

    def _fill(self, edge: Edge) -> bool:
        """Work until the edge has an item or its end; False when that needs more from outside."""
        node = edge.source
        assert node is not None  # an input of the graph is never asked
        while True:
            if self._take(node, edge):
                if len(node.outputs) > 1:
                    self._take_others(node, edge, all_there_is=edge.sourced)
                return True
            if len(node.outputs) > 1 and self._take_others(node, edge, all_there_is=True):
                continue  # what made them may have made one for this edge as well
            if not self._give(node):
                return False

    def _take(self, node: Node, edge: Edge) -> bool:
        """Move one item, or the end, from a node to its edge; False when the node needs more input."""
        if edge.ended:
            return False
        try:
            item = node.flow.poll(edge.source_pad) if self.observe is None else self._observed(node, edge)
        except av.error.EOFError:
            edge.ended = True
            self._close_if_done(node)
            return True
        if item is None:
            return False
        node.fed_alone = 0
        edge.put(item, node.flow.link_at(edge.source_pad))
        if len(edge.queue) > self._limit:
            remedy = "pull it too, or end it with nullsink in the text"
            remedy = self._lacking(edge) if edge.target is not None else remedy
            where = self._where(edge)
            raise QueueFullError(
                f"{len(edge.queue)} items wait {where}, more than the limit of {self._limit}; {remedy}"
            )
        return True

    def _observed(self, node: Node, edge: Edge) -> Any:
        assert self.observe is not None
        began = perf_counter()
        try:
            return node.flow.poll(edge.source_pad)
        finally:
            self.observe(node.flow.label, perf_counter() - began)

    def _take_others(self, node: Node, wanted: Edge, *, all_there_is: bool) -> bool:
        """Empty the node's other outputs, which must not pile up inside; a source is not driven on for them.

        Unless `all_there_is` is wanted, one item of each will do: the rest is fetched before the node is fed again.
        """
        moved = False
        for edge in node.outputs:
            if edge is wanted:
                continue
            while not edge.ended and not (edge.sourced and edge.last_time() >= wanted.last_time()):
                if not self._take(node, edge):
                    break
                moved = True
                if not all_there_is:
                    break
        return moved

    def _give(self, node: Node) -> bool:
        """Feed a node one item, and one of each input that lags behind it, or an end; False when nothing can be had."""
        edges: Sequence[Edge] = node.inputs
        if len(edges) > 1:
            edges = sorted(edges, key=Edge.next_time)
        starving: Edge | None = None
        fed: Edge | None = None
        for edge in edges:
            if edge.told:
                continue
            if fed is not None and edge.next_time() >= fed.time:
                break  # filters that join inputs give nothing before all have come to the same time
            # A source upstream could be driven for ever while another input lags: it waits for that one.
            if not edge.queue and not edge.ended and edge.source is not None and not (starving and edge.sourced):
                self._fill(edge)
            if edge.queue:
                self._feed(node, edge, starving)
                fed = edge
            elif edge.ended:
                edge.told = True
                node.flow.feed(None, edge.target_pad)
                return True
            elif fed is None:
                starving = starving or edge
        return fed is not None

    def _feed(self, node: Node, edge: Edge, starving: Edge | None) -> None:
        if starving is not None:
            node.fed_alone += 1
            if node.fed_alone > self._limit:
                remedy = "push items there, or None to end it"
                if starving.source is not None:
                    remedy = "feed that branch too, or raise queue= if its filters hold back that many"
                raise QueueFullError(
                    f"{node.flow.label} was fed {self._limit} items {self._where(edge)} and gives nothing: "
                    f"nothing comes on {starving.name}; {remedy}"
                )
        item, link = edge.get()
        pad = edge.target_pad
        if link is not node.known[pad]:
            node.known[pad] = link
            node.flow.describe(pad, link)
        node.flow.feed(item, pad)

    def _lacking(self, edge: Edge) -> str:
        assert edge.target is not None
        starved = [other.name for other in edge.target.inputs if not other.queue and not other.ended]
        return f"its reader waits for {', '.join(starved)}" if starved else "its reader is not asked for anything"

    @staticmethod
    def _where(edge: Edge) -> str:
        return f"on {edge.name}" if edge.target is not None else f"on output {edge.name}"

    def _close_if_done(self, node: Node) -> None:
        """When nobody reads a node any more, nobody reads its inputs either."""
        if not all(edge.ended or edge.closed for edge in node.outputs):
            return
        for edge in node.inputs:
            if not edge.closed:
                edge.closed = True
                edge.queue.clear()
                if edge.source is not None:
                    self._close_if_done(edge.source)

    def _discard(self, until: float) -> None:
        """Work for the null sinks, up to a time; one that is fed by a source only as far as others are."""
        for edge in self._discards:
            while edge.queue or not edge.ended:
                if edge.time >= until or (edge.sourced and until == float("inf")):
                    break
                if not edge.queue and not self._fill(edge):
                    break
                if edge.queue:
                    edge.get()
