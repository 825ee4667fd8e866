"""Cut a graph of native filters and stages into maximal native runs, each of which fits one av.filter.Graph.

A run must know the properties of all its inputs before its first frame, so no path may leave it through a stage and
come back into it. Filters are therefore put on levels: a stage lies one level above what feeds it, a native filter at
least as high as what feeds it; linked native filters of one level are a run. Native filters lie as high as their
readers allow, so that ``color`` is made by the run that reads it; not those with an open output, which would then have
to wait for a stage that it has nothing to do with.
"""

from __future__ import annotations

from collections.abc import Sequence

from .wiring import PadLink, order_of


def native_runs(native: Sequence[bool], links: Sequence[PadLink], opened: Sequence[bool]) -> list[list[int]]:
    """Group filters: native ones into runs, each stage alone, in an order in which each comes behind all that feed it.

    Args:
        native: for each filter whether it is libavfilter's.
        links: all links between the filters, without circles.
        opened: for each filter whether it has an open output.
    """
    order = order_of(len(native), links)
    levels = _levels(native, links, opened, order)
    group = list(range(len(native)))
    for link in links:
        if native[link.source] and native[link.target] and levels[link.source] == levels[link.target]:
            old, new = group[link.source], group[link.target]
            group = [new if item == old else item for item in group]
    members: dict[int, list[int]] = {}
    for index in range(len(native)):
        members.setdefault(group[index], []).append(index)
    # Within a run filters keep the order of the text, which libavfilter's choice of formats depends on.
    joined = [(group[link.source], group[link.target]) for link in links]
    between = [PadLink(source, 0, target, 0) for source, target in joined if source != target]
    return [members[index] for index in order_of(len(native), between) if index in members]


def _levels(
    native: Sequence[bool], links: Sequence[PadLink], opened: Sequence[bool], order: Sequence[int]
) -> list[int]:
    levels = [0] * len(native)
    for index in order:
        before = [levels[link.source] for link in links if link.target == index]
        levels[index] = max(before, default=0) + (not native[index])
    for index in reversed(order):
        after = [link.target for link in links if link.source == index]
        if native[index] and after and not opened[index]:
            levels[index] = min(levels[other] - (not native[other]) for other in after)
    return levels
