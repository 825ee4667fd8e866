"""``duoview filters``: the filters that graph strings and ``-vf`` may name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import av.filter

from duoview.plugins.errors import FilterNotFoundError, LinkError, OptionError, suggestion
from duoview.plugins.grammar import FilterText
from duoview.plugins.links import LinkType
from duoview.plugins.native import NativeFilters
from duoview.plugins.options import describe_options
from duoview.plugins.registry import find_stage, load_stage, stage_entries
from duoview.plugins.stage import stage_help, stage_summary

from .console import LEVELS, Console
from .errors import UsageError
from .options import ANYWHERE, COMMON_OPTIONS, CommandOption, help_lines, one_of, split

OUTPUT_FORMAT = CommandOption("of", "format", "how it is printed: text or json", ANYWHERE, one_of("text", "json"))
TABLE = (*COMMON_OPTIONS, OUTPUT_FORMAT, CommandOption("native", "", "list libavfilter's filters too", ANYWHERE))
_LETTERS = {LinkType.VIDEO: "V", LinkType.ACCESS_UNITS: "A"}


def usage() -> str:
    """The help of the command."""
    return "\n".join(("duoview filters [-native] [-of json]", "", *help_lines(TABLE)))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    line = split(arguments, TABLE)
    if line.inputs or line.outputs:
        raise UsageError("filters: takes no file; `duoview -h filter=NAME` shows one filter")
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    ours = our_filters(console)
    native = native_filters() if line.globals.get("native") else []
    if line.globals.get("of") == "json":
        document: dict[str, Any] = {"filters": ours}
        if line.globals.get("native"):
            document["native"] = native
        print(json.dumps(document, indent=1))
        return 0
    print("V = video frames, A = access units; input->output")
    for item in ours:
        print(f"  {item['input'][0].upper()}->{item['output'][0].upper()}  {item['name']:<14} {item['summary']}")
    for item in native:
        print(f"  V->V  {item['name']:<14} {item['summary']}")
    if not native:
        print(
            f"and {len(native_filters())} of libavfilter (duoview filters -native), and its others that need an option"
        )
    return 0


def our_filters(console: Console) -> list[dict[str, Any]]:
    """All stages that can be named, described; one that cannot be imported is warned about."""
    found: list[dict[str, Any]] = []
    for entry in stage_entries():
        try:
            stage = load_stage(entry)
        except (ImportError, LinkError) as error:
            console.warning(f"filter {entry.name} of package {entry.package or 'duoview'}: {error}")
            continue
        options = [
            {
                "name": item.name,
                "type": item.type,
                "default": item.default
                if isinstance(item.default, (int, float, str, type(None)))
                else str(item.default),
                "required": item.required,
                "allowed": item.allowed,
                "help": item.limits.help,
            }
            for item in describe_options(stage.Options)
        ]
        found.append(
            {
                "name": entry.name,
                "summary": stage_summary(stage),
                "input": stage.input.value,
                "inputs": list(stage.pads),
                "output": stage.output.value,
                "package": entry.package or "duoview",
                "options": options,
            }
        )
    return found


def native_filters() -> list[dict[str, str]]:
    """Filters of libavfilter that can stand in a linear chain, by name; those that need an option are left out."""
    found = []
    for name in sorted(av.filter.filters_available):
        try:
            NativeFilters([FilterText(name, None, None, 1)])
        except (LinkError, OptionError):
            continue  # it has other pads, or cannot be made without options
        found.append({"name": name, "summary": av.filter.Filter(name).description or ""})
    return found


def filter_help(name: str) -> str:
    """The help of one filter. Raises FilterNotFoundError."""
    stage = find_stage(name)
    if stage is not None:
        return stage_help(stage)
    if name in av.filter.filters_available:
        native = av.filter.Filter(name)
        return f"Filter {name}\n  {native.description}\n  Of libavfilter; `ffmpeg -h filter={name}` lists its options."
    known = [entry.name for entry in stage_entries()] + sorted(av.filter.filters_available)
    raise FilterNotFoundError(
        f"-h filter={name}: no filter {name!r}{suggestion(name, known)}; `duoview filters` lists ours"
    )
