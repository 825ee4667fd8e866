"""Metrics of a running pipeline in Prometheus' form: counters are read from the cameras when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from duoview.errors import BackendUnavailableError
from duoview.pipelines.connection import State

if TYPE_CHECKING:
    from duoview.pipelines.run.supervisor import Snapshot

_SHORT = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)  # seconds


class Metrics:
    """A registry of its own. `observe_step`, `observe_delay`, `observe_batch` may be called from any thread."""

    def __init__(self) -> None:
        """Raises BackendUnavailableError without prometheus_client."""
        try:
            import prometheus_client
        except ImportError as error:
            raise BackendUnavailableError(
                f"metrics need the package prometheus_client ({error}): pip install 'duoview[live]'"
            ) from error
        self.registry: Any = prometheus_client.CollectorRegistry()
        self._snapshot: Callable[[], Snapshot] | None = None

        def histogram(name: str, what: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Any:
            return prometheus_client.Histogram(name, what, labels, buckets=buckets, registry=self.registry)

        self._steps = histogram("duoview_stage_seconds", "Work of one step of a filter", ("source", "stage"), _SHORT)
        self._delays = histogram("duoview_end_to_end_seconds", "From a frame's arrival to the last output of its graph",
                                 ("source",), _SHORT)
        self._batches = histogram("duoview_detection_batch_frames", "Frames in one run of a detector", (),
                                  (1, 2, 4, 8, 16, 32, 64))
        self._detections = histogram("duoview_detection_seconds", "One run of a detector", (), _SHORT)
        self.registry.register(self)

    def watch(self, snapshot: Callable[[], Snapshot]) -> None:
        """Have the counters read from here."""
        self._snapshot = snapshot

    def observe_step(self, camera: str, stage: str, seconds: float) -> None:
        """A filter of a camera's graph worked."""
        self._steps.labels(camera, stage).observe(seconds)

    def observe_delay(self, camera: str, seconds: float) -> None:
        """All outputs of a frame are written."""
        self._delays.labels(camera).observe(seconds)

    def observe_batch(self, frames: int, seconds: float) -> None:
        """A detector ran."""
        self._batches.observe(frames)
        self._detections.observe(seconds)

    def collect(self) -> Iterable[Any]:
        """What prometheus_client asks a collector for."""
        if self._snapshot is not None:
            yield from _families(self._snapshot())


def _families(snapshot: Snapshot) -> Iterable[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    def family(kind: Any, name: str, what: str, labels: tuple[str, ...],
               samples: Mapping[tuple[str, ...], float]) -> Any:
        made = kind(name, what, labels=labels)
        for key, value in samples.items():
            made.add_metric(key, value)
        return made

    counter, gauge = CounterMetricFamily, GaugeMetricFamily
    sources = [source for camera in snapshot.cameras for source in camera.sources]
    for name, what, read in (
        ("frames", "Frames handed out", lambda one: one.frames),
        ("packets", "Packets that arrived", lambda one: one.packets),
        ("reconnects", "Connections after the first", lambda one: one.reconnects),
        ("losses", "Attempts and connections that failed", lambda one: one.losses),
        ("stalls", "Silences of a connected source", lambda one: one.stalls),
    ):
        yield family(counter, f"duoview_source_{name}", what, ("source",), {(one.name,): read(one) for one in sources})
    yield family(counter, "duoview_source_dropped", "What was not handed out", ("source", "cause"),
                 {(one.name, cause.value): count for one in sources for cause, count in one.dropped.items()})
    yield family(gauge, "duoview_source_state", "1 for the present state", ("source", "state"),
                 {(one.name, state.value): float(one.state is state) for one in sources for state in State})
    yield family(gauge, "duoview_source_lag_seconds", "By which decoding is behind", ("source",),
                 {(one.name,): one.lag for one in sources})
    waiting: dict[tuple[str, ...], float] = {}
    for camera in snapshot.cameras:
        for source, (frames, packets) in zip(camera.sources, camera.waiting, strict=True):
            waiting[source.name, "frames"], waiting[source.name, "packets"] = float(frames), float(packets)
    yield family(gauge, "duoview_queue_depth", "Items that nobody took yet", ("source", "queue"), waiting)
    outputs = {(camera.name, one.name): one for camera in snapshot.cameras for one in camera.outputs}
    yield family(counter, "duoview_output_items", "Frames or access units written", ("source", "output"),
                 {key: one.items for key, one in outputs.items()})
    yield family(counter, "duoview_output_lost", "Items that could not be written", ("source", "output"),
                 {key: one.lost for key, one in outputs.items()})
    yield family(counter, "duoview_layer_bytes", "Bytes of access units and of encoded pictures", ("source", "layer"),
                 {key: one.bytes for key, one in outputs.items()})
    for name, what, reading in (
        ("graph_failures", "How often a graph failed and began anew", lambda one: one.graph_failures),
        ("frames_lost", "Frames that no graph took", lambda one: one.frames_lost),
        ("events", "Events that began", lambda one: one.events),
    ):
        yield family(counter, f"duoview_{name}", what, ("source",),
                     {(one.name,): reading(one) for one in snapshot.cameras})
    recordings = [one for camera in snapshot.cameras for one in camera.recordings]
    for name, what, of in (
        ("segments", "Complete segments", lambda one: one.segments),
        ("bytes", "Payload of complete segments", lambda one: one.bytes),
        ("seconds", "Length of complete segments", lambda one: one.seconds),
        ("lost_packets", "Packets that were not recorded", lambda one: one.lost),
        ("overflowed_packets", "Packets before events that did not fit into memory", lambda one: one.overflowed),
        ("failures", "Failures to write", lambda one: one.failures),
    ):
        yield family(counter, f"duoview_recorded_{name}", what, ("recording",),
                     {(one.name,): of(one) for one in recordings})
    yield family(counter, "duoview_retention_removed_segments", "Segments that were removed", ("tier", "why"),
                 {(tier, why): count for (tier, why), count in snapshot.removed.items()})
    if snapshot.device_bytes is not None:
        yield family(gauge, "duoview_device_memory_bytes", "Of the GPU that codecs have", (),
                     {(): float(snapshot.device_bytes)})
    if snapshot.device_limit is not None:
        yield family(gauge, "duoview_device_memory_limit_bytes", "Of the GPU that codecs may have", (),
                     {(): float(snapshot.device_limit)})
    if snapshot.free_bytes is not None:
        yield family(gauge, "duoview_disk_free_bytes", "Free on the disk of the recordings", (),
                     {(): float(snapshot.free_bytes)})
