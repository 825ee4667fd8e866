"""``duoview run``: cameras and files through filtergraphs into files, recordings and analytics.

With ``-i`` it has ffmpeg's ear; with ``-c`` it runs the cameras of a pipelines.yaml.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction

from duoview.backends.batching import DEFAULT_WINDOW
from duoview.batching import LARGEST_BATCH
from duoview.encoder import MACHINES
from duoview.pipelines.console import LEVELS, Console
from duoview.pipelines.credentials import redact_url
from duoview.pipelines.destination import claim
from duoview.pipelines.errors import UsageError
from duoview.pipelines.interrupt import EXIT_CODE, Hangup, Interrupt, Interrupted
from duoview.pipelines.observability.log import FORMS
from duoview.pipelines.options import (
    ANYWHERE,
    COMMON_OPTIONS,
    FILES,
    GLOBAL_OPTIONS,
    STATUS_OPTIONS,
    CommandLine,
    CommandOption,
    Scope,
    help_lines,
    integer,
    memory,
    one_of,
    positive_duration,
    split,
    stats_wanted,
)
from duoview.pipelines.progress import Progress
from duoview.plugins.device_streams import DeviceStreams
from duoview.plugins.stream_batch import StreamBatch

from .configuration_file import json_schema, require_libraries
from .job import Job
from .live_encode import live_stages, machine_choices
from .plan import Planner
from .shared_detectors import DetectorPool

_INPUT, _OUTPUT = Scope.INPUT, Scope.OUTPUT
_MIB = 1 << 20
_TICK = 0.1  # seconds between two looks at what happens
# fmt: off
TABLE = (
    *GLOBAL_OPTIONS,
    CommandOption("filter_complex", "graph", "a filtergraph over inputs, [0:v] [1:v]; each one that shares no input "
                  "with others runs in a thread of its own", ANYWHERE, repeat=True, aliases=("lavfi",)),
    CommandOption("detect_batch", "n", "frames of several graphs in one run of a detector, at most (8)", ANYWHERE,
                  integer(1, LARGEST_BATCH)),
    CommandOption("detect_window", "time", "to wait for other graphs' frames (20ms)", ANYWHERE, positive_duration),
    CommandOption("batch", "n", "streams of several graphs in one run of a codec's networks, at most (1)", ANYWHERE,
                  integer(1, LARGEST_BATCH)),
    CommandOption("window", "time", "that a frame waits for those of other streams, at most (2ms)", ANYWHERE,
                  positive_duration),
    CommandOption("hwaccel", "name", "dv_encode and the views work on a GPU from frame to access unit, and all graphs "
                  "share it: none, cuda (none)", ANYWHERE, one_of("none", "cuda")),
    CommandOption("memory_limit", "bytes", "of the GPU that codecs of all graphs may have, with -hwaccel: 500M, 8Gi",
                  ANYWHERE, memory),
    CommandOption("f", "format", "input: libavformat's name; output: the same, segment, or of analytics: jsonl, mqtt, "
                  "onvif, webvtt, data, klv", FILES),
    CommandOption("rtsp_transport", "protocol", "tcp, udp, udp_multicast or http (tcp)", _INPUT,
                  one_of("tcp", "udp", "udp_multicast", "http")),
    CommandOption("timeout", "us", "microseconds without data after which a connection is lost (10000000)", _INPUT,
                  integer(1000)),
    CommandOption("mode", "mode", "when we are slower than the camera: auto, every_frame, freshest", _INPUT,
                  one_of("auto", "every_frame", "freshest")),
    CommandOption("framerate", "rate", "of a device, or of raw video", _INPUT),
    CommandOption("video_size", "WxH", "of a device, or of raw video", _INPUT),
    CommandOption("map", "[label]|0[:v]", "what goes into the output: an output of a graph, or an input", _OUTPUT,
                  repeat=True),
    CommandOption("vf", "graph", "filters for an input that is mapped itself", _OUTPUT, aliases=("filter",),
                  specifiers=("v",)),
    CommandOption("c", "codec", "duoview (the default), an encoder of libavcodec, copy: packets as they are", _OUTPUT,
                  specifiers=("v",), aliases=("codec",)),
    CommandOption("q", "0..63", "duoview: quality (24)", _OUTPUT, integer(0, 63)),
    CommandOption("g", "frames", "duoview: from one key frame to the next (50)", _OUTPUT, integer(1, 1 << 20)),
    CommandOption("machine", "codec", "duoview: neural, inner, or auto, by what was measured with the profile", _OUTPUT,
                  one_of(*MACHINES, "auto")),
    CommandOption("profile", "name", "duoview: bundled profile or folder", _OUTPUT),
    CommandOption("segment_time", "time", "copy: segments of this length, FOLDER/NAME as the output (60)", _OUTPUT,
                  positive_duration),
    CommandOption("segment_format", "format", "copy: mkv, mp4, mov, ts or nut (mkv)", _OUTPUT),
    CommandOption("t", "time", "stop after this long, by the times of the frames", _OUTPUT, positive_duration),
)
CONFIGURED = (
    *COMMON_OPTIONS,
    *STATUS_OPTIONS,
    CommandOption("c", "file", "the configuration; SIGHUP reads it again", ANYWHERE, aliases=("config",)),
    CommandOption("check", "", "check the configuration and its graphs, and do nothing", ANYWHERE),
    CommandOption("schema", "", "print the configuration's JSON Schema, and do nothing", ANYWHERE),
    CommandOption("t", "time", "stop after this long", ANYWHERE, positive_duration),
    CommandOption("log", "form", "text or json, on stderr (text)", ANYWHERE, one_of(*FORMS)),
)
# fmt: on


def usage() -> str:
    """The help of the command."""
    return "\n".join((
        "duoview run -i URL [-i URL ...] [-filter_complex graph] [output options] output [[output options] output ...]",
        "", *help_lines(TABLE), "",
        "duoview run -c pipelines.yaml [-check]      duoview run -schema", "", *help_lines(CONFIGURED)))  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    if any(word in ("-i", "--input") for word in arguments):
        return run_line(split(arguments, TABLE, codec_options=True))
    if not {word.lstrip("-") for word in arguments} & {"c", "config", "check", "schema"}:
        split(arguments, TABLE, codec_options=True)
        raise UsageError("run needs an input: -i URL, or a configuration: -c pipelines.yaml")
    line = split(arguments, CONFIGURED)
    if line.outputs:
        raise UsageError(f"{redact_url(line.outputs[0].url)}: with -c the outputs stand in the configuration")
    if line.globals.get("schema"):
        print(json_schema())
        return 0
    if "c" not in line.globals:
        raise UsageError("-check: expected the configuration with it: -c pipelines.yaml")
    require_libraries()
    with Interrupt() as interrupt, Hangup() as hangup:
        from .configured import run_configuration  # which needs them

        try:
            return run_configuration(line, interrupt, hangup)
        except Interrupted:
            return EXIT_CODE


def run_line(line: CommandLine) -> int:
    """Run what a command line with inputs says."""
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    with Interrupt() as interrupt:
        try:
            with interrupt.raising():
                shared = _shared(line)
                job = _open(line, shared, console)
        except Interrupted:
            return EXIT_CODE
        progress = Progress(console, url=line.globals.get("progress"), stats=stats_wanted(line))
        try:
            job.start()
            told = Told(job, progress)
            while not job.finished and not interrupt.requested:
                time.sleep(_TICK)
                told.tell()
        finally:
            try:
                job.stop()
                told.tell()
            finally:
                progress.finish()
        if shared.hwaccel != "none":
            console.info(memory_told(shared.devices))
        for status in job.statuses():
            dropped = sum(status.dropped.values())
            if status.reconnects or dropped:
                console.info(f"{status.name}: {status.reconnects} reconnects, {dropped} dropped")
        return EXIT_CODE if interrupt.requested else 0


def _shared(line: CommandLine) -> StreamBatch:
    """What all graphs share of networks. Raises UsageError."""
    hwaccel, limit = line.globals.get("hwaccel", "none"), line.globals.get("memory_limit")
    if limit is not None and hwaccel == "none":
        raise UsageError(f"-memory_limit {limit}: counts memory of a GPU; expected -hwaccel cuda with it")
    return StreamBatch(line.globals.get("batch", 1), float(line.globals.get("window", DEFAULT_WINDOW)), hwaccel,
                       DeviceStreams(memory_limit=limit))


def memory_told(devices: DeviceStreams) -> str:
    """How much memory of a GPU codecs had, and might have had."""
    allowed = "" if devices.memory_limit is None else f" of {devices.memory_limit / _MIB:.1f} allowed"
    return f"codecs on the GPU: {devices.memory_most / _MIB:.1f} MiB at most{allowed}"


def _open(line: CommandLine, shared: StreamBatch, console: Console) -> Job:
    """What a command line asks for, with its outputs open. Whatever is raised, nothing is left open."""
    pool = DetectorPool(batch=line.globals.get("detect_batch", 8),
                        window=float(line.globals.get("detect_window", Fraction(1, 50))))
    plan = Planner(line, {**pool.stages, **live_stages(shared)}).plan()
    try:
        for output in line.outputs:
            segments = output.get("f") == "segment" or output.get("segment_time") is not None
            asked = line.globals  # once, however many inputs there are
            for item in line.inputs:
                if not segments and not output.url.startswith("mqtt"):
                    claim(output.url, item.url, asked, console)
                    asked = {**line.globals, "y": True}
        job = Job(plan, console)
    except BaseException:
        for graph in plan.graphs:
            graph.graph.close()
        raise
    for graph in plan.graphs:
        for choice in machine_choices(graph.graph):
            console.info(choice)
    return job


class Told:
    """What a job has done since it was told the last time, for `Progress`."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job, self._progress = job, progress
        self._items = self._bytes = 0

    def tell(self) -> None:
        """Tell."""
        items, size, at = self._job.counts()
        self._progress.dropped = sum(sum(one.dropped.values()) for one in self._job.statuses())
        self._progress.advance(items - self._items, size - self._bytes, Fraction(at))
        self._items, self._bytes = items, size
