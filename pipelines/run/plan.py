"""What a command line of ``duoview run`` asks for: inputs, graphs, and what each output is made of.

After ffmpeg: ``-map "[label]"`` takes an output of a ``-filter_complex``, ``-map 0:v`` an input; without ``-map`` an
output takes the graph's only output that is left, else the first input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from duoview.pipelines.credentials import redact_url
from duoview.pipelines.errors import UsageError
from duoview.pipelines.options import CommandLine, FileArguments
from duoview.pipelines.segment_file import FORMATS
from duoview.plugins.analytics.sinks import SINKS, format_of
from duoview.plugins.errors import OptionError, suggestion
from duoview.plugins.graph import Graph
from duoview.plugins.links import LinkType

_INPUT_MAP = re.compile(r"(\d+)(?::([va]))?(?::0)?")
_PAD = re.compile(r"(\d+)(?::v(?::0)?)?")
_OF_OURS = ("q", "g", "machine", "profile")
OURS = frozenset(("duoview", "dv_encode"))


@dataclass(frozen=True)
class InputPlan:
    """An input; `name` is how messages and metrics call it."""

    url: str = field(repr=False)
    name: str = ""
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: tuple[float, float] = (5.0, 10.0)
    mode: str = "auto"


@dataclass(frozen=True)
class CopyPlan:
    """Packets of an input as they are: into segments where `segment` (seconds) is given, else into one file."""

    input: int
    url: str = field(repr=False)
    format: str
    audio: bool
    segment: float | None
    duration: Fraction | None


@dataclass(frozen=True)
class FramePlan:
    """What an output pad of a graph gives, into a file or stream.

    kind: ``units`` (access units as they are), ``encode`` (frames by libavcodec), ``analytics``.
    """

    pad: str
    kind: str
    url: str = field(repr=False)
    format: str | None
    codec: str | None
    codec_options: dict[str, str]


@dataclass(frozen=True)
class GraphPlan:
    """A graph, the input of each of its input pads, and its outputs."""

    graph: Graph
    inputs: dict[str, int]
    outputs: tuple[FramePlan, ...]
    duration: Fraction | None = None


@dataclass(frozen=True)
class Plan:
    """All of a command line."""

    inputs: tuple[InputPlan, ...]
    graphs: tuple[GraphPlan, ...]
    copies: tuple[CopyPlan, ...]


class Planner:
    """Reads a command line; `stages` are those of shared detectors."""

    def __init__(self, line: CommandLine, stages: Any) -> None:
        self._line, self._stages = line, stages
        self._inputs = tuple(_input(number, item) for number, item in enumerate(line.inputs))
        self._graphs: list[GraphPlan] = []
        self._copies: list[CopyPlan] = []

    def plan(self) -> Plan:
        """The plan. Raises UsageError and the graphs' own errors; nothing is left open then."""
        if not self._inputs:
            raise UsageError("run needs an input: -i URL, or a configuration: -c pipelines.yaml")
        if not self._line.outputs:
            raise UsageError("run needs an output: a file name, a URL, or - for a pipe")
        urls = [output.url for output in self._line.outputs if not output.url.startswith("mqtt")]
        twice = next((url for url in urls if urls.count(url) > 1), None)
        if twice is not None:
            raise UsageError(f"{redact_url(twice)}: given for {urls.count(twice)} outputs; expected a name for each")
        try:
            for text in self._line.globals.get("filter_complex", ()):
                self._add_graph(Graph.parse(text, stages=self._stages), f"-filter_complex {text}")
            for output in self._line.outputs:
                self._add_output(output)
            for graph in self._graphs:
                taken = [one.pad for one in graph.outputs]
                left = [pad.name for pad in graph.graph.outputs if pad.name not in taken]
                if left:
                    raise UsageError(f"[{left[0]}]: nothing takes it; expected -map \"[{left[0]}]\" before an output, "
                                     "or nullsink in the graph")
        except BaseException:
            for graph in self._graphs:
                graph.graph.close()
            raise
        return Plan(self._inputs, tuple(self._graphs), tuple(self._copies))

    def _add_graph(self, graph: Graph, where: str, inputs: dict[str, int] | None = None) -> None:
        self._graphs.append(GraphPlan(graph, inputs or {}, ()))
        if inputs is not None:
            return
        found: dict[str, int] = {}
        unnamed = []
        for pad in graph.inputs:
            match = _PAD.fullmatch(pad.name)
            if pad.type is not LinkType.VIDEO:
                raise UsageError(f"{where}: [{pad.name}] takes {pad.type.value}; inputs give video frames only")
            if match is None and re.fullmatch(r"\d+:.*", pad.name):
                raise UsageError(f"{where}: [{pad.name}]: expected the video of an input, as [{pad.name[0]}:v]")
            if match is None:
                unnamed.append(pad.name)
            else:
                found[pad.name] = self._checked(int(match[1]), f"{where}: [{pad.name}]")
        # As ffmpeg does: what has no number takes the inputs that nothing reads yet, in their order.
        free = [number for number in range(len(self._inputs))
                if number not in found.values() and not any(number in one.inputs.values() for one in self._graphs)]
        for pad_name in unnamed:
            if not free:
                raise UsageError(f"{where}: [{pad_name}] has no input left; write which, as [0:v]")
            found[pad_name] = free.pop(0)
        if not found:
            raise UsageError(f"{where}: it reads no input; `run` feeds graphs with inputs, as [0:v]")
        self._graphs[-1] = replace(self._graphs[-1], inputs=found)

    def _checked(self, number: int, where: str) -> int:
        if number >= len(self._inputs):
            raise UsageError(f"{where}: there is no input {number}; they are counted from 0 to {len(self._inputs) - 1}")
        return number

    def _add_output(self, output: FileArguments) -> None:
        maps = output.get("map", ())
        labels = [text for text in maps if text.startswith("[")]
        if labels and len(maps) > 1:
            raise UsageError(f"{' '.join(f'-map {text}' for text in maps)}: one graph output goes into an output; "
                             "sound goes along with -c copy only")
        copy = output.get("c:v", output.get("c")) == "copy"
        if labels:
            self._add_mapped(output, labels[0].strip("[]"), copy)
        elif copy:
            self._add_copy(output, maps)
        else:
            self._add_simple(output, maps)

    def _add_mapped(self, output: FileArguments, label: str, copy: bool) -> None:
        for number, graph in enumerate(self._graphs):
            pad = next((pad for pad in graph.graph.outputs if pad.name == label), None)
            if pad is None:
                continue
            if label in (one.pad for one in graph.outputs):
                raise UsageError(f"-map [{label}]: it goes into another output already; use split in the graph")
            if output.get("vf"):
                raise UsageError(f"-vf: [{label}] comes out of a graph; write {output.get('vf')} there")
            if pad.type is not LinkType.ACCESS_UNITS and copy:
                raise UsageError(f"-c copy: [{label}] gives frames; expected an encoder, as -c:v duoview or libx264")
            if pad.type is LinkType.VIDEO and not _is_analytics(output) and self._is_ours(output):
                raise UsageError(f"{redact_url(output.url)}: [{label}] gives frames; end that branch with "
                                 "dv_encode, or choose an encoder, as -c:v libx264")
            self._take(number, label, pad.type, output)
            return
        names = [pad.name for graph in self._graphs for pad in graph.graph.outputs]
        raise UsageError(f"-map [{label}]: no graph has such an output{suggestion(label, names)}; there is "
                         f"{', '.join(f'[{name}]' for name in names) or 'no -filter_complex'}")

    def _add_simple(self, output: FileArguments, maps: Sequence[str]) -> None:
        """Frames of an input, through -vf and an encoder; or the graph output that is left, where nothing is mapped."""
        left = [(pad.name, graph) for graph in self._graphs for pad in graph.graph.outputs
                if pad.name not in (one.pad for one in graph.outputs)]
        if not maps and left:
            self._add_mapped(output, left[0][0], copy=False)
            return
        number = self._mapped_input(maps[0])[0] if maps else 0
        if len(maps) > 1:
            raise UsageError("-map: of an input that is decoded one video goes into an output; sound goes along with "
                             "-c copy only")
        text = output.get("vf", "")
        if self._is_ours(output) and not _is_analytics(output):
            options = [f"{key}={output.get(key)}" for key in _OF_OURS if output.get(key) is not None]
            encoder = "dv_encode" + ("=" if options else "") + ":".join(options)
            text = f"{text}, {encoder}" if text else encoder
        graph = Graph.parse(text or "null", stages=self._stages)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.inputs[0].type is not LinkType.VIDEO:
            graph.close()
            raise UsageError(f"-vf {text}: expected one input and one output of video; use -filter_complex")
        self._add_graph(graph, "-vf", {graph.inputs[0].name: number})
        self._take(len(self._graphs) - 1, graph.outputs[0].name, graph.outputs[0].type, output)

    def _take(self, number: int, pad: str, kind: LinkType, output: FileArguments) -> None:
        graph = self._graphs[number]
        if kind is LinkType.AUDIO:
            raise UsageError(f"[{pad}] gives sound, which `run` does not encode")
        units = kind is LinkType.ACCESS_UNITS
        what = "units" if units else "analytics" if _is_analytics(output) else "encode"
        for key in _OF_OURS:
            if output.get(key) is not None and (self._line.globals.get("filter_complex") or not self._is_ours(output)):
                raise UsageError(f"-{key}: belongs to our encoder; in a graph write it there, as dv_encode={key}=...")
        if what != "encode" and output.codec_options:
            raise UsageError(f"unknown option -{next(iter(output.codec_options))}")
        codec = output.get("c:v", output.get("c"))
        if units and codec not in (None, "copy", *OURS):
            raise UsageError(f"-c:v {codec}: [{pad}] gives access units, which are written as they are; encode frames "
                             "with it, in front of dv_encode")
        plan = FramePlan(pad, what, output.url, output.get("f"), codec if what == "encode" else None,
                         dict(output.codec_options))
        duration = output.get("t")
        if graph.outputs and duration != graph.duration:
            raise UsageError("-t: all outputs of a graph end together; give each of them the same -t")
        self._graphs[number] = replace(graph, outputs=(*graph.outputs, plan), duration=duration)

    @staticmethod
    def _is_ours(output: FileArguments) -> bool:
        return output.get("c:v", output.get("c", "duoview")) in OURS

    def _mapped_input(self, text: str) -> tuple[int, str]:
        match = _INPUT_MAP.fullmatch(text)
        if match is None:
            raise UsageError(f"-map {text}: expected 0, 0:v, 0:a, or \"[label]\" of a graph's output")
        return self._checked(int(match[1]), f"-map {text}"), match[2] or ""

    def _add_copy(self, output: FileArguments, maps: Sequence[str]) -> None:
        found = [self._mapped_input(text) for text in maps] or [(0, "v")]
        numbers = {number for number, _ in found}
        if len(numbers) > 1:
            raise UsageError("-map: packets of one input go into an output; write an output for each input")
        kinds = {kind for _, kind in found}
        if kinds == {"a"}:
            raise UsageError("-map 0:a: sound alone is not copied; map the video too, as -map 0")
        for key in ("vf", *_OF_OURS):
            if output.get(key) is not None:
                raise UsageError(f"-{key}: belongs to an encoder, but -c copy leaves packets as they are")
        if output.codec_options:
            raise UsageError(f"unknown option -{next(iter(output.codec_options))}")
        segment = output.get("segment_time")
        segments = output.get("f") == "segment" or segment is not None
        format_ = output.get("segment_format", "mkv") if segments else output.get("f", output.url.rpartition(".")[2])
        format_ = {"matroska": "mkv", "mpegts": "ts"}.get(format_, format_)
        if not segments and (output.url == "-" or "://" in output.url):
            raise UsageError(f"{redact_url(output.url)}: packets are copied into files; publish a camera's with "
                             "ffmpeg -c copy")
        if format_ not in FORMATS:
            raise UsageError(f"{output.url}: packets are copied into {', '.join(FORMATS)}, not {format_!r}; or write "
                             "segments with -f segment")
        self._copies.append(CopyPlan(numbers.pop(), output.url, format_, "" in kinds or "a" in kinds,
                                     float(segment if segment is not None else 60) if segments else None,
                                     output.get("t")))


def _is_analytics(output: FileArguments) -> bool:
    """Whether an output takes what was found in frames: by -f, or by its name where no encoder is named."""
    if output.get("f") in SINKS:
        return True
    if output.get("f") is not None or output.get("c:v", output.get("c")) is not None:
        return False
    try:
        return format_of(output.url) != "data"
    except OptionError:
        return False


def _input(number: int, item: FileArguments) -> InputPlan:
    options = {name: str(item.get(name)) for name in ("rtsp_transport", "framerate", "video_size")
               if item.get(name) is not None}
    timeout = item.get("timeout")
    read = 10.0 if timeout is None else timeout / 1e6
    return InputPlan(item.url, f"{number}:{redact_url(item.url)}", item.get("f"), options, (min(5.0, read), read),
                     item.get("mode", "auto"))
