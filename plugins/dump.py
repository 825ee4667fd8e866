"""A graph in words: its filters, the native runs they were put into, and its typed links; as text or for graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .flow import Flow
from .links import Link, LinkType
from .native import NativeFilters
from .wiring import FilterPads, Wiring

_COLOURS = {LinkType.VIDEO: "black", LinkType.AUDIO: "blue", LinkType.ACCESS_UNITS: "darkgreen"}


def describe_graph(
    filters: Sequence[FilterPads], wiring: Wiring, groups: Sequence[Sequence[int]], flows: Sequence[Flow]
) -> str:
    """One paragraph for each native run or stage in the order they work in: a line for each filter, its links below."""
    lines: list[str] = []
    for number, (group, flow) in enumerate(zip(groups, flows, strict=True), 1):
        kind = f"native run {number}" if isinstance(flow, NativeFilters) else f"stage {number}"
        lines.append(f"{kind}: {', '.join(wiring.names[index] for index in group)}")
        for index in group:
            place = f", column {filters[index].column}" if filters[index].column else ""
            lines.append(f"  {wiring.names[index]}{place}")
            lines += [f"    {line}" for line in _pad_lines(index, filters, wiring)]
        for pad in range(len(flow.output_types)):
            link = flow.link_at(pad)
            if link is not None:
                lines.append(f"  output {pad} gave {_properties(link)}")
    return "\n".join(lines)


def dot_graph(
    filters: Sequence[FilterPads], wiring: Wiring, groups: Sequence[Sequence[int]], flows: Sequence[Flow]
) -> str:
    """A digraph in graphviz' language; each native run is a cluster, links between pads bear their type."""
    lines = ["digraph graph_of_filters {", "  rankdir=LR;", "  node [shape=box];"]
    for number, (group, flow) in enumerate(zip(groups, flows, strict=True), 1):
        nodes = [f"n{index} [label={_quoted(wiring.names[index])}];" for index in group]
        if isinstance(flow, NativeFilters):
            lines.append(f"  subgraph cluster_{number} {{")
            lines.append(f"    label={_quoted(f'native run {number}')}; style=dashed;")
            lines += [f"    {node}" for node in nodes]
            lines.append("  }")
        else:
            lines += [f"  {node}" for node in nodes]
    for link in wiring.links:
        kind = filters[link.source].outputs[link.source_pad]
        lines.append(f"  n{link.source} -> n{link.target} {_arrow(kind, link.source_pad, link.target_pad)};")
    for side, pads in (("i", wiring.inputs), ("o", wiring.outputs)):
        for number, pad in enumerate(pads):
            lines.append(f"  {side}{number} [shape=plaintext, label={_quoted(f'[{pad.name}]')}];")
            ends = f"{side}{number} -> n{pad.filter}" if side == "i" else f"n{pad.filter} -> {side}{number}"
            lines.append(f"  {ends} {_arrow(pad.type, pad.index, pad.index)};")
    return "\n".join([*lines, "}"])


def _pad_lines(index: int, filters: Sequence[FilterPads], wiring: Wiring) -> Iterator[str]:
    opened = {(pad.filter, pad.index): pad.name for pad in wiring.inputs}
    for pad, kind in enumerate(filters[index].inputs):
        origin = next(
            (
                f"{wiring.names[link.source]}:{link.source_pad}"
                for link in wiring.links
                if (link.target, link.target_pad) == (index, pad)
            ),
            "",
        )
        yield f"input {pad}, {kind.value}, from {origin or '[' + opened[index, pad] + ']'}"
    opened = {(pad.filter, pad.index): pad.name for pad in wiring.outputs}
    for pad, kind in enumerate(filters[index].outputs):
        goal = next(
            (
                f"{wiring.names[link.target]}:{link.target_pad}"
                for link in wiring.links
                if (link.source, link.source_pad) == (index, pad)
            ),
            "",
        )
        yield f"output {pad}, {kind.value}, to {goal or '[' + opened[index, pad] + ']'}"


def _properties(link: Link) -> str:
    if link.type is LinkType.AUDIO:
        parts = [f"{link.sample_rate} Hz", link.layout or "", link.format or ""]
    else:
        parts = [f"{link.width}x{link.height}" if link.width else "", link.format or ""]
    parts += [f"time base {link.time_base}" if link.time_base else "", f"{link.rate} frames/s" if link.rate else ""]
    return " ".join(part for part in (link.type.value, *parts) if part)


def _arrow(kind: LinkType, source_pad: int, target_pad: int) -> str:
    return f"[label={_quoted(f'{source_pad}:{target_pad} {kind.value}')}, color={_COLOURS[kind]}]"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
