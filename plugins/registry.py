"""Which filter name means which stage: ours, and those that installed packages offer.

A package offers stages through the entry-point group ``duoview.stages``, each entry named as the filter. Nothing is
imported before its name is used, and nothing is registered by importing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import av.filter

from .errors import FilterNotFoundError, LinkError, suggestion
from .stage import Stage

ENTRY_POINT_GROUP = "duoview.stages"
OURS = {
    "dv_encode": "duoview.plugins.filters.dv_encode:Encode",
    "dv_machine": "duoview.plugins.filters.dv_machine:Machine",
    "dv_human": "duoview.plugins.filters.dv_human:Human",
    "dv_texture": "duoview.plugins.filters.dv_texture:Texture",
    "dv_detect": "duoview.plugins.filters.dv_detect:Detect",
    "dv_guard": "duoview.plugins.filters.dv_guard:Guard",
    "dv_generated": "duoview.plugins.filters.dv_generated:Generated",
    "dv_mark": "duoview.plugins.filters.dv_mark:Mark",
    "dv_track": "duoview.plugins.filters.dv_track:Track",
    "dv_trigger": "duoview.plugins.filters.dv_trigger:Trigger",
    "dv_roi": "duoview.plugins.filters.dv_roi:Roi",
    "dv_mask": "duoview.plugins.filters.dv_mask:Mask",
    "dv_metadata": "duoview.plugins.filters.dv_metadata:Metadata",
    "dv_draw": "duoview.plugins.filters.dv_draw:Draw",
}


@dataclass(frozen=True)
class StageEntry:
    """Where a stage comes from: its filter name, ``module:Class`` and the installed package, None for our own."""

    name: str
    target: str
    package: str | None


def stage_entries() -> tuple[StageEntry, ...]:
    """List every stage that can be named in a graph, ours first, without importing any."""
    entries = [StageEntry(name, target, None) for name, target in OURS.items()]
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        entries.append(StageEntry(point.name, point.value, point.dist.name if point.dist is not None else "unknown"))
    return tuple(entries)


def load_stage(entry: StageEntry) -> type[Stage]:
    """Import a stage. Raises LinkError when it is no Stage or its name belongs to another filter."""
    module, _, attribute = entry.target.partition(":")
    stage = getattr(importlib.import_module(module), attribute.strip(), None)
    origin = f"{entry.name}: {entry.target}" + (f" of package {entry.package}" if entry.package else "")
    if not (isinstance(stage, type) and issubclass(stage, Stage)):
        raise LinkError(f"{origin} is no duoview.Stage")
    if entry.package is not None and (entry.name in av.filter.filters_available or entry.name in OURS):
        raise LinkError(f"{origin} takes the name of a built-in filter; it needs another name")
    return stage


def find_stage(name: str, extra: Mapping[str, type[Stage]] | None = None) -> type[Stage] | None:
    """The stage of this name: from `extra` first, then ours, then installed packages; None where there is none."""
    if extra and name in extra:
        return extra[name]
    if name in av.filter.filters_available:
        return None  # an installed package cannot take a native filter's name away
    for entry in stage_entries():
        if entry.name == name:
            return load_stage(entry)
    return None


def no_such_filter(name: str, column: int, extra: Iterable[str] = ()) -> FilterNotFoundError:
    """The error for a name that neither we nor libavfilter know, with the nearest name that exists."""
    known = [entry.name for entry in stage_entries()] + sorted(extra) + sorted(av.filter.filters_available)
    return FilterNotFoundError(
        f"filtergraph, column {column}: no filter {name!r}{suggestion(name, known)}; `duoview filters` lists ours"
    )
