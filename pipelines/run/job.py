"""A planned command line at work: until its inputs end, its times are over, something fails, or somebody stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duoview.errors import Error
from duoview.pipelines.backoff import Backoff
from duoview.pipelines.console import Console
from duoview.pipelines.errors import MediaError, media_error
from duoview.pipelines.live_packet import LivePacket
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.outputs import OutputSettings
from duoview.pipelines.recorder import Recorder
from duoview.pipelines.segment_file import SegmentFile
from duoview.pipelines.source_status import SourceStatus
from duoview.pipelines.stream_layout import StreamLayout
from duoview.plugins.containers.failure import FAILURES

from .graph_output import AnalyticsOutput, EncodedFile, GraphOutput, UnitsFile
from .graph_runner import GraphRunner, RunningGraph, Watch
from .packet_runner import PacketRunner
from .plan import CopyPlan, FramePlan, Plan

_FINISH = 30.0  # seconds for all files to be finished
_CLOSE = 12.0  # seconds for a source to let go of a peer that hangs


class CopiedFile:
    """Packets as they are into one file; a camera that comes back with other streams ends it with an error."""

    def __init__(self, path: Path, format: str) -> None:
        self._path, self._format = path, format
        self._file: SegmentFile | None = None
        self._layout: StreamLayout | None = None
        self.items = self.bytes = 0

    def write(self, packet: LivePacket) -> None:
        """Add a packet; those before the first key frame are left out. Raises MediaError."""
        try:
            if self._file is None:
                if not packet.is_video_key:
                    return
                self._layout, self._file = packet.layout, SegmentFile(self._path, self._format, packet.layout)
            if packet.layout != self._layout:
                raise MediaError(f"{self._path}: the camera's streams are others since it came back; one file holds "
                                 "those of its beginning; record with -f segment")
            self._file.write(packet)
        except Error:
            raise
        except FAILURES as error:
            raise media_error(str(self._path), "cannot write", error) from error
        self.items += packet.stream.type == "video"
        self.bytes += packet.packet.size

    def close(self) -> None:
        """Finish the file. May be called more than once. Raises MediaError."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close(sync=False)
        except FAILURES as error:
            raise media_error(str(self._path), "cannot finish", error) from error


class CopiedSegments:
    """Packets as they are into segments with an index, as `Recorder` writes them."""

    def __init__(self, url: str, seconds: float, format: str) -> None:
        """`url`: the folder and the recording's name. Raises duoview.Error, OSError."""
        path = Path(url)
        if not path.parent.is_dir():
            raise MediaError(f"{url}: no such folder {path.parent}; expected FOLDER/NAME of the recording")
        self._recorder = Recorder(path.parent, path.name, seconds=seconds, format=format)
        self.items = self.bytes = 0

    def write(self, packet: LivePacket) -> None:
        """Record a packet. Raises MediaError."""
        self._recorder.write(packet)
        self.items += packet.stream.type == "video"
        self.bytes += packet.packet.size

    def close(self) -> None:
        """End the last segment."""
        self._recorder.close()


class Job:
    """The threads of a plan. Made, started, waited for and stopped by one thread."""

    def __init__(self, plan: Plan, console: Console, step: Callable[[str, float], None] | None = None) -> None:
        """Open what is written; `start` opens the inputs. Raises duoview.Error, OSError, and leaves nothing open."""
        self._console = console
        self._runners: list[GraphRunner | PacketRunner] = []
        self._outputs: list[GraphOutput] = []
        self._copies: list[CopiedFile | CopiedSegments] = []
        decoded = {number for graph in plan.graphs for number in graph.inputs.values()}
        copied = {copy.input for copy in plan.copies}
        audio = {copy.input for copy in plan.copies if copy.audio}
        self._sources = {
            number: LiveSource(item.url, name=item.name, format=item.format, options=item.options, timeout=item.timeout,
                               mode=item.mode, frames=number in decoded, packets=number in copied,
                               audio=number in audio, reconnect=Backoff().within(item.timeout[1] / 2))
            for number, item in enumerate(plan.inputs) if number in decoded | copied}
        unread = [item.name for number, item in enumerate(plan.inputs) if number not in self._sources]
        for name in unread:
            console.warning(f"input {name} goes into no output")
        try:
            self._add_graphs(plan, step)
            self._add_copies(plan)
        except BaseException:
            self._close_outputs()
            for graph in plan.graphs:
                graph.graph.close()
            raise

    def _add_graphs(self, plan: Plan, step: Callable[[str, float], None] | None) -> None:
        """One thread for graphs that share an input, directly or by others; a thread each for all else."""
        groups: list[tuple[set[int], list[RunningGraph]]] = []
        for item in plan.graphs:
            outputs = {one.pad: self._open(one) for one in item.outputs}
            inputs = {pad: str(number) for pad, number in item.inputs.items()}
            running = RunningGraph(item.graph, inputs, outputs, duration=item.duration)
            numbers, members = set(item.inputs.values()), [running]
            for group in [group for group in groups if group[0] & numbers]:
                groups.remove(group)
                numbers, members = numbers | group[0], [*group[1], *members]
            groups.append((numbers, members))
        for numbers, members in groups:
            sources = {str(number): self._sources[number] for number in sorted(numbers)}
            self._runners.append(GraphRunner("+".join(sources), sources, members, watch=Watch(step=step)))

    def _open(self, plan: FramePlan) -> GraphOutput:
        output: GraphOutput
        if plan.kind == "units":
            output = UnitsFile(plan.url, plan.format)
        elif plan.kind == "analytics":
            output = AnalyticsOutput(plan.url, plan.format or "")
        else:
            output = EncodedFile(OutputSettings(plan.url, plan.format, plan.codec, plan.codec_options), self._console)
        self._outputs.append(output)
        return output

    def _add_copies(self, plan: Plan) -> None:
        by_input: dict[int, list[tuple[CopyPlan, CopiedFile | CopiedSegments]]] = {}
        for item in plan.copies:
            made: CopiedFile | CopiedSegments
            if item.segment is None:
                made = CopiedFile(Path(item.url), item.format)
            else:
                made = CopiedSegments(item.url, item.segment, item.format)
            self._copies.append(made)
            by_input.setdefault(item.input, []).append((item, made))
        for number, pairs in by_input.items():
            durations = {item.duration for item, _ in pairs}
            if len(durations) > 1:
                raise MediaError(f"input {number}: copies of one input end together; give each of them the same -t")
            duration = durations.pop()
            self._runners.append(PacketRunner(str(number), self._sources[number], [made for _, made in pairs],
                                              duration=None if duration is None else float(duration)))

    def start(self) -> None:
        """Open the inputs and run."""
        for source in self._sources.values():
            source.start()
        for runner in self._runners:
            runner.start()

    @property
    def finished(self) -> bool:
        """Whether all is done, or something failed."""
        return all(runner.finished.is_set() for runner in self._runners) or self._failed() is not None

    def counts(self) -> tuple[int, int, float]:
        """Items and bytes written, and seconds up to which they are written."""
        items = sum(one.items for one in (*self._outputs, *self._copies))
        size = sum(one.bytes for one in (*self._outputs, *self._copies))
        return items, size, float(max((one.time for one in self._outputs), default=0))

    def statuses(self) -> list[SourceStatus]:
        """Of all inputs."""
        return [source.status() for source in self._sources.values()]

    def stop(self) -> None:
        """Finish all files, then let go of the inputs.

        Raises the first failure, and MediaError where a thread does not end within half a minute.
        """
        for runner in self._runners:
            runner.stop()
        end = time.monotonic() + _FINISH
        held = [runner for runner in self._runners if not runner.join(max(0.0, end - time.monotonic()))]
        end = time.monotonic() + _CLOSE
        for source in self._sources.values():
            source.close(0)
        for source in self._sources.values():
            source.close(max(0.0, end - time.monotonic()))
        failed: Any = self._failed()
        if failed is not None:
            raise failed
        if held:
            raise MediaError(f"{len(held)} of {len(self._runners)} threads did not end within {_FINISH:g} s: the "
                             "system, or a peer, holds them; their files may lack their ends")

    def _failed(self) -> BaseException | None:
        return next((runner.error for runner in self._runners if runner.error is not None), None)

    def _close_outputs(self) -> None:
        for close in [one.close for one in self._outputs] + [one.close for one in self._copies]:
            close()
