"""One camera of a pipelines.yaml at work: its sources, its graph, its recordings, each in a thread of its own."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from duoview.errors import Error
from duoview.events import Event
from duoview.pipelines.backoff import Backoff
from duoview.pipelines.console import Console
from duoview.pipelines.destination import unused
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.outputs import OutputSettings
from duoview.pipelines.packet_ring import PacketRing
from duoview.pipelines.recorder import Recorder
from duoview.pipelines.retention.archive import Archive, oldest_segment
from duoview.pipelines.source_status import SourceStatus
from duoview.pipelines.unit_recorder import UnitRecorder
from duoview.plugins.containers.failure import FAILURES
from duoview.plugins.errors import LinkError, suggestion
from duoview.plugins.graph import Graph
from duoview.plugins.links import LinkType
from duoview.plugins.stage import Stage

from .configuration import NAME, CameraSection, OutputSection, Stream, clips_name, machine_name, recording_names
from .event_journal import EventJournal, events_path
from .graph_output import AnalyticsOutput, Discarded, EncodedFile, GraphOutput, RenewedOutput, UnitsFile
from .graph_runner import GraphRunner, RunningGraph, Watch
from .live_encode import machine_choices
from .packet_runner import PacketRunner
from .recording import ClipRecording, Origin, Recording, RecordingStatus, UnitRecording

_RING_MARGIN = 2.0  # seconds: a detector tells of an event a moment after its packets came


@dataclass(frozen=True)
class Surroundings:
    """What the cameras of a process share.

    stages: of graphs, for detectors that are shared. folder: of recordings, None where nothing is recorded. log: of
    everything. step, delay: are told of a camera's name and of what its graph took. full: is told when writing failed.
    """

    stages: Mapping[str, type[Stage]]
    folder: Path | None
    log: logging.Logger
    step: Callable[[str, str, float], None] = lambda camera, stage, seconds: None
    delay: Callable[[str, float], None] = lambda camera, seconds: None
    full: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class OutputStatus:
    """A moment of one output of a graph."""

    name: str
    items: int
    bytes: int
    lost: int
    failure: str


@dataclass(frozen=True)
class CameraStatus:
    """A moment of a camera. waiting: frames and packets in its sources' queues; problem: empty where all is well."""

    name: str
    sources: tuple[SourceStatus, ...]
    waiting: tuple[tuple[int, int], ...]
    outputs: tuple[OutputStatus, ...]
    recordings: tuple[RecordingStatus, ...]
    graph_failures: int
    frames_lost: int
    events: int
    problem: str = ""


class CameraError(Error, ValueError):
    """A camera's section is wrong in a way that only its graph tells: the camera, and what."""

    def __init__(self, camera: str, error: Exception) -> None:
        super().__init__(f"camera {camera}: {error}")
        self.camera = camera
        self.reason = str(error)


class Camera:
    """A camera between `start` and `stop`. What goes wrong with it is logged, counted, and tried again."""

    def __init__(self, name: str, section: CameraSection, surroundings: Surroundings) -> None:
        """Make graph and sources; nothing is opened. Raises duoview.Error for what is wrong with the graph."""
        self.name, self.section = name, section
        self._around = surroundings
        self._graph = Graph.parse(section.graph, stages=surroundings.stages) if section.graph is not None else None
        if self._graph is not None:
            try:
                check_graph(self._graph, section)
            except BaseException:
                self._graph.close()
                raise
        self._sources: list[LiveSource] = []
        self._recordings: list[Recording] = []
        self._clips: ClipRecording | None = None
        self._journal: EventJournal | None = None
        self._outputs: dict[str, GraphOutput] = {}
        self._graph_runner: GraphRunner | None = None
        self._packet_runner: PacketRunner | None = None
        self._running: RunningGraph | None = None
        self._states: dict[str, Any] = {}
        self._not_started = ""  # why, where `start` failed

    def start(self) -> None:
        """Open recordings and start all threads. Raises duoview.Error, OSError; nothing is left open then."""
        section = self.section
        try:
            sinks = self._open_packet_recordings()
            frames_here = self._graph is not None and section.analysis is None
            if frames_here or sinks:
                audio = section.record is not None and section.record.audio
                source = self._source(section, self.name, frames=frames_here, packets=bool(sinks), audio=audio)
                self._sources.append(source)
                if sinks:
                    self._packet_runner = PacketRunner(self.name, source, sinks)
            if section.analysis is not None:
                self._sources.append(self._source(section.analysis, f"{self.name}/analysis", frames=True))
            if self._graph is not None:
                self._graph_runner = self._open_graph(self._graph, self._sources[-1])
        except BaseException as error:
            self._not_started = f"not started: {type(error).__name__}: {error}"
            self._release()
            raise
        for source in self._sources:
            source.start()
        for runner in (self._packet_runner, self._graph_runner):
            if runner is not None:
                runner.start()

    def request_stop(self) -> None:
        """Take no more from the camera; returns at once, so that many cameras that hang are waited for together."""
        for runner in (self._packet_runner, self._graph_runner):
            if runner is not None:
                runner.stop()
        for source in self._sources:
            source.close(0, discard=False)  # what waits is written by the runners

    def stop(self, timeout: float = 30.0) -> bool:
        """Finish all files, then let go of the camera; whether all threads ended within so many seconds."""
        self.request_stop()
        end = time.monotonic() + timeout
        runners = [runner for runner in (self._packet_runner, self._graph_runner) if runner is not None]
        ended = [runner.join(max(0.0, end - time.monotonic())) for runner in runners]
        ended += [source.close(max(0.0, end - time.monotonic())) for source in self._sources]
        if all(ended):
            self._release()
        return all(ended)

    @property
    def finished(self) -> bool:
        """Whether all of its threads ended by themselves: files have ends."""
        runners = [runner for runner in (self._packet_runner, self._graph_runner) if runner is not None]
        return all(runner.finished.is_set() for runner in runners)

    @property
    def error(self) -> BaseException | None:
        """What ended a thread of it that should go on."""
        for runner in (self._packet_runner, self._graph_runner):
            if runner is not None and runner.error is not None:
                return runner.error
        return None

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """Its recordings."""
        return tuple(self._recordings)

    def archives(self) -> list[Archive]:
        """Its recordings as retention sees them, each made anew."""
        folder = self._around.folder
        return [] if folder is None else [
            Archive(folder, name, kind, events=events_path(folder, self.name))
            for name, kind in recording_names(self.name, self.section)]

    def compact_events(self, archives: Sequence[Archive]) -> bool:
        """Shorten a journal of events that has grown large, by what its archives have just read; whether it was.

        Not while one of them could not be read: nobody knows which events its segments need. Recordings of the camera
        that its section does not name any more keep their events too. Raises OSError, ContainerFormatError. From any
        thread.
        """
        folder = self._around.folder
        if self._journal is None or folder is None or not self._journal.large:
            return False
        if not all(archive.read for archive in archives):
            return False
        return self._journal.compact(oldest_segment(folder, self.name, archives))

    def status(self) -> CameraStatus:
        """The present state and all counters."""
        sources = tuple(source.status() for source in self._sources)
        outputs = tuple(
            OutputStatus(pad, output.items, output.bytes, getattr(output, "lost", 0), getattr(output, "failure", ""))
            for pad, output in self._outputs.items())
        recordings = tuple(recording.status() for recording in self._recordings)
        running = self._running
        problems = [self._not_started] if self._not_started else []
        problems += [f"{one.name}: {one.state.value}" + (f" ({one.loss.reason})" if one.loss is not None else "")
                    for one in sources if one.state.value not in ("running", "ended", "closed")]
        problems += [f"{one.name}: {one.failure}" for one in outputs if one.failure]
        problems += [f"{kept.name}: {kept.failure}" for kept in recordings if kept.failure]
        if self.error is not None:
            problems.append(f"{type(self.error).__name__}: {self.error}")
        waiting = tuple(source.waiting() for source in self._sources)
        failures, lost = (running.failures, running.lost) if running is not None else (0, 0)
        events = self._journal.begun if self._journal is not None else 0
        return CameraStatus(self.name, sources, waiting, outputs, recordings, failures, lost, events,
                            "; ".join(problems))

    def log_changes(self) -> None:
        """Log the changes of state since the last call. For one thread."""
        for source in self._sources:
            self._log_state(source.status())

    def _log_state(self, status: SourceStatus) -> None:
        for transition in status.transitions:
            if transition.at <= self._states.get(status.name, float("-inf")):
                continue
            self._states[status.name] = transition.at
            loss = transition.loss
            fields = {"event": "source_state", "camera": self.name, "source": status.name,
                      "state": transition.state.value}
            words = f"{status.name}: {transition.state.value}"
            if loss is not None:
                fields.update(cause=loss.cause.value, reason=loss.reason)
                words += f": {loss.reason}"
            level = logging.INFO if loss is None else logging.WARNING
            self._around.log.log(level, words, extra={"fields": fields})

    def _source(
        self, stream: Stream, name: str, *, frames: bool = False, packets: bool = False, audio: bool = False
    ) -> LiveSource:
        return LiveSource(
            stream.url.get_secret_value(), name=name, format=stream.format, options=stream.options,
            timeout=(stream.timeout.open, stream.timeout.read), rate=stream.rate, backlog=stream.backlog,
            frames=frames, packets=packets, audio=audio, reconnect=Backoff().within(stream.timeout.read / 2),
        )  # fmt: skip

    def _open_packet_recordings(self) -> list[Recording]:
        section, folder = self.section, self._around.folder
        if folder is None:
            return []
        if self._graph is not None:
            self._journal = EventJournal(folder, self.name)
        if section.record is not None:
            recorder = Recorder(folder, self.name, seconds=section.record.segment, format=section.record.format)
            self._recordings.append(Recording(self.name, recorder, failed=self._recording_failed))
        if section.clips is not None:
            name = clips_name(self.name)
            clips = section.clips
            recorder = Recorder(folder, name, seconds=clips.segment, format=clips.format)
            ring = PacketRing(clips.pre + _RING_MARGIN, bytes=clips.memory)
            self._clips = ClipRecording(name, recorder, ring, after=clips.post, failed=self._recording_failed,
                                        overflowed=self._clips_cut_short)
            self._recordings.append(self._clips)
        return list(self._recordings)

    def _open_graph(self, graph: Graph, reader: LiveSource) -> GraphRunner:
        for pad in graph.outputs:
            self._outputs[pad.name] = self._open_output(pad.name, self.section.outputs[pad.name], pad.type)
        for choice in machine_choices(graph):
            self._around.log.info(f"{self.name}: {choice}", extra={"fields": {
                "event": "machine_chosen", "camera": self.name, "choice": choice}})
        (pad,) = graph.inputs
        self._running = RunningGraph(graph, {pad.name: self.name}, self._outputs)
        name, around = self.name, self._around
        watch = Watch(failed=self._graph_failed, event=self._happened,
                      step=lambda stage, seconds: around.step(name, stage, seconds),
                      delay=lambda seconds: around.delay(name, seconds))
        rate = (self.section.analysis or self.section).rate
        return GraphRunner(name, {name: reader}, [self._running], watch=watch, restart=True,
                           interval=0.0 if rate is None else 1 / rate)

    def _open_output(self, pad: str, section: OutputSection, kind: LinkType) -> GraphOutput:
        if section.record is not None:
            name = machine_name(self.name, pad)
            assert self._around.folder is not None  # the configuration was checked for it
            recorder = UnitRecorder(self._around.folder, name, seconds=section.record.segment,
                                    format=section.record.format)
            recording = Recording(name, recorder, failed=self._recording_failed)
            self._recordings.append(recording)
            return UnitRecording(recording, self._origin)
        if section.discard:
            return Discarded(pad, kind)
        make: Callable[[], GraphOutput]
        if section.analytics is not None:
            analytics = section.analytics
            make = lambda: AnalyticsOutput(  # noqa: E731
                analytics.url.get_secret_value(), analytics.format or "", source=self.name)
        else:
            encode = section.encode
            assert encode is not None
            url = encode.url.get_secret_value()
            if kind is LinkType.ACCESS_UNITS:
                make = lambda: UnitsFile(unused(url), encode.format)  # noqa: E731
            else:
                settings = OutputSettings(url, encode.format, encode.codec, encode.options)
                make = lambda: EncodedFile(replace(settings, url=unused(url)), Console(16))  # noqa: E731
        def failed(words: str) -> None:
            self._log("output_failed", f"output {pad}: {words}", output=pad)

        return RenewedOutput(make, failed=failed)

    def _origin(self) -> Origin:
        assert self._graph_runner is not None  # access units come out of it
        runner = self._graph_runner
        return Origin(runner.capture, runner.time, runner.generation)

    def _happened(self, event: Event) -> None:
        if event.ongoing and self._clips is not None:
            self._clips.trigger()
        if self._journal is None:
            return
        try:
            begins = self._journal.note(event)
        except OSError as error:
            self._log("event_not_noted", f"event {event.kind} cannot be noted: {error}")
            self._around.full()
            return
        if begins or not event.ongoing:
            self._around.log.info(f"{self.name}: {event.kind} {'begins' if begins else 'ends'}", extra={"fields": {
                "event": "event_begins" if begins else "event_ends", "camera": self.name, **event.to_dict()}})

    def _graph_failed(self, words: str) -> None:
        self._log("graph_failed", words)

    def _recording_failed(self, name: str, words: str) -> None:
        self._log("recording_failed", words, recording=name)
        self._around.full()

    def _clips_cut_short(self, name: str, words: str) -> None:
        self._around.log.warning(f"{self.name}: {words}", extra={"fields": {
            "event": "clips_cut_short", "camera": self.name, "reason": words, "recording": name}})

    def _log(self, event: str, words: str, **fields: str) -> None:
        self._around.log.error(f"{self.name}: {words}",
                               extra={"fields": {"event": event, "camera": self.name, "reason": words, **fields}})

    def _release(self) -> None:
        """Close what no thread closes: what a start that failed had opened, and graphs that never ran."""
        if self._graph is not None:
            self._graph.close()
        closes = [one.close for one in self._recordings] + [one.close for one in self._outputs.values()]
        for close in closes:
            try:
                close()
            except (Error, *FAILURES) as error:
                self._log("not_finished", str(error))
        if self._journal is not None:
            self._journal.close()


def check_graph(graph: Graph, section: CameraSection) -> None:
    """Raise LinkError where the graph and the outputs of a section do not fit each other."""
    kinds = {pad.name: pad.type for pad in graph.outputs}
    names = ", ".join(kinds)
    if len(graph.inputs) != 1 or graph.inputs[0].type is not LinkType.VIDEO:
        found = ", ".join(f"[{pad.name}] of {pad.type.value}" for pad in graph.inputs) or "none"
        raise LinkError(f"graph: expected one input of video frames, found {found}")
    for pad, output in section.outputs.items():
        if output.record is not None and not re.fullmatch(NAME, pad):
            raise LinkError(f"outputs.{pad}.record: its label becomes the name of files; expected letters, digits, "
                            "'_', '-' and '.', as in [machine]")
        if pad not in kinds:
            raise LinkError(f"outputs.{pad}: no output of the graph{suggestion(pad, kinds)}; it has {names}")
        units = kinds[pad] is LinkType.ACCESS_UNITS
        if output.record is not None and not units:
            raise LinkError(f"outputs.{pad}.record: takes access units, but [{pad}] gives {kinds[pad].value}; end that "
                            "branch with dv_encode, or write it with encode or analytics")
        if output.analytics is not None and kinds[pad] is not LinkType.VIDEO:
            raise LinkError(f"outputs.{pad}.analytics: takes video frames, but [{pad}] gives {kinds[pad].value}")
        if output.encode is not None and units and (output.encode.codec or output.encode.options):
            raise LinkError(f"outputs.{pad}.encode: [{pad}] gives access units, which are written as they are; codec "
                            "and options belong to frames")
    for pad in kinds:
        if pad not in section.outputs:
            raise LinkError(f"outputs: nothing is said about [{pad}]; expected {pad}: with one of "
                            f"{', '.join(OutputSection.model_fields)}")
