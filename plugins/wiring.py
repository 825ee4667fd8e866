"""Which pad is linked to which: labels and neighbourhood resolved in libavfilter's order.

Filter by filter, in the order of the text, each input label looks for the same label among outputs from there on, each
output label among inputs from there on; an output without label takes the next filter's first free input without one. A
first filter with one unlabelled input is labelled ``in``, a last one with one unlabelled output ``out``. What finds no
partner is an open pad of the graph. Nothing here knows native filters from stages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import LinkError
from .grammar import LabelText
from .links import LinkType

FIRST_INPUT, LAST_OUTPUT = "in", "out"


@dataclass(frozen=True)
class FilterPads:
    """A filter as far as links are concerned: the types of its pads and the labels written at them, in pad order."""

    label: str
    column: int
    inputs: tuple[LinkType, ...]
    outputs: tuple[LinkType, ...]
    input_labels: tuple[LabelText, ...] = ()
    output_labels: tuple[LabelText, ...] = ()


@dataclass(frozen=True)
class PadLink:
    """A link from output pad `source_pad` of filter `source` to input pad `target_pad` of filter `target`."""

    source: int
    source_pad: int
    target: int
    target_pad: int


@dataclass(frozen=True)
class Pad:
    """An open pad of a graph: what callers push into or pull from.

    `name` is its label, ``in`` or ``out`` where libavfilter's parser supplies that, else ``filter:pad``.
    """

    name: str
    type: LinkType
    filter: int
    index: int


@dataclass(frozen=True)
class Wiring:
    """All links of a graph and its open pads, in the order of the text."""

    links: tuple[PadLink, ...]
    inputs: tuple[Pad, ...]
    outputs: tuple[Pad, ...]
    names: tuple[str, ...]


def wire(chains: Sequence[Sequence[FilterPads]]) -> Wiring:
    """Link the filters of all chains.

    Raises LinkError for more labels than pads, for pads of different types, for two open outputs of one name, for two
    open inputs of one name and different types, for a label that is the name of an open pad without one, and for
    filters in a circle.
    """
    filters = [item for chain in chains for item in chain]
    follows = [index + 1 < len(chain) for chain in chains for index in range(len(chain))]
    search = _Search(filters)
    for index, item in enumerate(filters):
        search.check_labels(item)
        search.link_inputs(index)
        search.link_outputs(index, follows[index])
    _check_types(filters, search.links)
    _refuse_circles(filters, search.links)
    names = unique_names([item.label for item in filters])
    for opened in (search.open_inputs, search.open_outputs):
        _refuse_taken_names(filters, names, opened)
    inputs = tuple(
        Pad(label or f"{names[node]}:{pad}", filters[node].inputs[pad], node, pad)
        for node, pad, label in search.open_inputs
    )
    outputs = tuple(
        Pad(label or f"{names[node]}:{pad}", filters[node].outputs[pad], node, pad)
        for node, pad, label in search.open_outputs
    )
    _check_open(filters, inputs, outputs)
    return Wiring(tuple(search.links), inputs, outputs, names)


def order_of(count: int, links: Sequence[PadLink]) -> list[int]:
    """Filters 0 to `count` - 1, each behind all it is fed by; those of a circle are left out."""
    missing = [0] * count
    for link in links:
        missing[link.target] += 1
    ready = [index for index in range(count) if not missing[index]]
    for index in ready:  # grows while it is read
        for link in links:
            if link.source == index:
                missing[link.target] -= 1
                if not missing[link.target]:
                    ready.append(link.target)
    return ready


def forward_links(filters: Sequence[FilterPads], links: Sequence[PadLink]) -> list[PadLink]:
    """All links but those that lead back: into the second input of ``feedback``, which libavfilter has for circles."""
    feedback = [item.label.partition("@")[0] == "feedback" for item in filters]
    return [link for link in links if not (feedback[link.target] and link.target_pad == 1)]


def check_circles(filters: Sequence[FilterPads], links: Sequence[PadLink], groups: Sequence[Sequence[int]]) -> None:
    """Raise LinkError where a link leads back into another group than it comes out of: what is between is no run."""
    forward = forward_links(filters, links)
    for link in links:
        if link not in forward and not any({link.source, link.target} <= set(group) for group in groups):
            raise LinkError(f"{_place(filters[link.source])} feeds back into {_place(filters[link.target])} from "
                            "another native run; between the two only filters of libavfilter may stand")


def unique_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, numbered from the second of a kind on: ``null``, ``null#2``; a label written so keeps its name."""
    seen: Counter[str] = Counter()
    taken = set(labels)
    names = []
    for label in labels:
        seen[label] += 1
        name = label
        while seen[label] > 1 and name in taken:
            name = f"{label}#{seen[label]}"
            seen[label] += name in taken
        taken.add(name)
        names.append(name)
    return tuple(names)


class _Search:
    def __init__(self, filters: Sequence[FilterPads]) -> None:
        self.filters = filters
        self.links: list[PadLink] = []
        self.open_inputs: list[tuple[int, int, str | None]] = []
        self.open_outputs: list[tuple[int, int, str | None]] = []
        self.input_names = [[label.name for label in item.input_labels] for item in filters]
        self.output_names = [[label.name for label in item.output_labels] for item in filters]
        if len(filters[0].inputs) == 1 and not self.input_names[0]:
            self.input_names[0] = [FIRST_INPUT]
        if len(filters[-1].outputs) == 1 and not self.output_names[-1]:
            self.output_names[-1] = [LAST_OUTPUT]
        self._linked_inputs: set[tuple[int, int]] = set()
        self._linked_outputs: set[tuple[int, int]] = set()

    def check_labels(self, item: FilterPads) -> None:
        for labels, pads, side in (
            (item.input_labels, item.inputs, "input"),
            (item.output_labels, item.outputs, "output"),
        ):
            if len(labels) > len(pads):
                extra = labels[len(pads)]
                has = f"{len(pads) or 'no'} {side}{'s' * (len(pads) != 1)}"
                raise LinkError(
                    f"{item.label} (column {item.column}): it has {has}, so the label [{extra.name}] (column "
                    f"{extra.column}) has no pad"
                )

    def link_inputs(self, index: int) -> None:
        names = self.input_names[index]
        for pad in range(len(self.filters[index].inputs)):
            if (index, pad) in self._linked_inputs:
                continue
            label = names[pad] if pad < len(names) else None
            if label is not None:
                for other in range(index, len(self.filters)):
                    free = self._find(self.output_names[other], label, other, self._linked_outputs)
                    if free is not None:
                        self._link(other, free, index, pad)
                        break
                else:
                    self.open_inputs.append((index, pad, label))
            else:
                self.open_inputs.append((index, pad, None))

    def link_outputs(self, index: int, follows: bool) -> None:
        names = self.output_names[index]
        for pad in range(len(self.filters[index].outputs)):
            if (index, pad) in self._linked_outputs:
                continue
            label = names[pad] if pad < len(names) else None
            if not self._find_input(index, pad, label, follows):
                self.open_outputs.append((index, pad, label))

    def _find_input(self, index: int, pad: int, label: str | None, follows: bool) -> bool:
        if label is not None:
            for other in range(index, len(self.filters)):
                free = self._find(self.input_names[other], label, other, self._linked_inputs)
                if free is not None:
                    self._link(index, pad, other, free)
                    return True
            return False
        if follows:
            labelled = len(self.input_names[index + 1])
            for other_pad in range(labelled, len(self.filters[index + 1].inputs)):
                if (index + 1, other_pad) not in self._linked_inputs:
                    self._link(index, pad, index + 1, other_pad)
                    return True
        return False

    @staticmethod
    def _find(names: Sequence[str], label: str, node: int, linked: set[tuple[int, int]]) -> int | None:
        for pad, name in enumerate(names):
            if name == label and (node, pad) not in linked:
                return pad
        return None

    def _link(self, source: int, source_pad: int, target: int, target_pad: int) -> None:
        self.links.append(PadLink(source, source_pad, target, target_pad))
        self._linked_outputs.add((source, source_pad))
        self._linked_inputs.add((target, target_pad))


def _check_types(filters: Sequence[FilterPads], links: Sequence[PadLink]) -> None:
    for link in links:
        left, right = filters[link.source], filters[link.target]
        given, taken = left.outputs[link.source_pad], right.inputs[link.target_pad]
        if given is not taken:
            raise mismatch(left, link.source_pad, right, link.target_pad)


def mismatch(left: FilterPads, left_pad: int, right: FilterPads, right_pad: int) -> LinkError:
    """The error for a link between pads of different types, which names both and what would bridge them."""
    given, taken = left.outputs[left_pad], right.inputs[right_pad]
    return LinkError(
        f"{_place(left)} gives {given.value} on output pad {left_pad}, but {_place(right)} takes {taken.value} "
        f"on input pad {right_pad}{_BRIDGES.get((given, taken), '')}"
    )


_BRIDGES = {
    (LinkType.VIDEO, LinkType.ACCESS_UNITS): "; put dv_encode between them",
    (LinkType.ACCESS_UNITS, LinkType.VIDEO): "; put dv_machine, dv_texture or dv_human between them",
}


def _place(item: FilterPads) -> str:
    return f"{item.label} (column {item.column})" if item.column else item.label


def _refuse_circles(filters: Sequence[FilterPads], links: Sequence[PadLink]) -> None:
    links = forward_links(filters, links)
    left = set(range(len(filters))) - set(order_of(len(filters), links))
    if not left:
        return
    # Going upstream among what is left never ends: it comes back to a filter that was passed.
    path = [min(left)]
    while path[-1] not in path[:-1]:
        path.append(next(link.source for link in links if link.target == path[-1] and link.source in left))
    circle = path[path.index(path[-1]) :][::-1]
    shown = " -> ".join(_place(filters[index]) for index in circle)
    raise LinkError(f"filters feed each other in a circle: {shown}; a link can only lead on")


def _refuse_taken_names(
    filters: Sequence[FilterPads], names: Sequence[str], opened: Sequence[tuple[int, int, str | None]]
) -> None:
    labelled = {label: node for node, _, label in opened if label is not None}
    for node, pad, label in opened:
        name = f"{names[node]}:{pad}"
        if label is None and name in labelled:
            raise LinkError(
                f"the label [{name}] of {_place(filters[labelled[name]])} is also the name of a pad of "
                f"{_place(filters[node])} that has no label; give one of them another label"
            )


def _check_open(filters: Sequence[FilterPads], inputs: Sequence[Pad], outputs: Sequence[Pad]) -> None:
    for index, pad in enumerate(inputs):
        for other in inputs[:index]:
            if other.name == pad.name and other.type is not pad.type:
                raise LinkError(
                    f"input [{pad.name}] goes to {_place(filters[other.filter])}, which takes {other.type.value}, and "
                    f"to {_place(filters[pad.filter])}, which takes {pad.type.value}; give one of them another label"
                )
    for index, pad in enumerate(outputs):
        for other in outputs[:index]:
            if other.name == pad.name:
                raise LinkError(
                    f"two open outputs are labelled [{pad.name}]: of {_place(filters[other.filter])} and of "
                    f"{_place(filters[pad.filter])}; give one of them another label"
                )
