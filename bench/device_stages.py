"""Where the time of a frame goes on the device: each stage between two events, beside the least that it could take.

The stages are the calls that the machine layer of `duoview.device` makes: a network, or a kernel of ours by its name.
An event is recorded on the stream before and after each; a stage's time is the sum of what lies between over a frame,
the median of the frames. On a CPU the clock takes the place of events.

The floor of a stage is the greater of two: multiply-adds over those that a product of float32 matrices reaches a
second here (networks alone), and bytes over those that a copy on the device moves a second. A network's bytes are its
weights, inputs and outputs, each once, as if nothing in between left the chip; a kernel's are the arrays that it is
given, scratch and room for what is coded left out. A stage at 1 of its floor cannot be faster; the limiting stage is
the one that takes longest. It is launches that hold a stage back where it takes about as long as so many operators
without work do, and more than twice its floor.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.device_layer import DeviceLayer
from bench.limits import Floors, graph_of, macs_of_network
from duoview.device import DeviceNetworks
from duoview.device.networks import ArrayNetwork
from duoview.export.torch_device import TorchDeviceNetworks


@dataclass(frozen=True)
class Stage:
    """A stage of a frame: calls, milliseconds, the two floors in milliseconds, what holds it back, floor over time.

    launches: operators that are launched, in all calls.
    """

    name: str
    calls: float
    launches: float
    milliseconds: float
    arithmetic_ms: float
    memory_ms: float
    limit: str
    of_floor: float


@dataclass
class _Taken:
    """One stage over the frames so far: (begin, end) marks and work by frame."""

    marks: defaultdict[int, list[tuple[Any, Any]]] = field(default_factory=lambda: defaultdict(list))
    macs: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    bytes: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    launches: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(_size(one) for one in value)
    return int(getattr(value, "nbytes", 0))


class Recorder:
    """Marks around stages, and the work that they do."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        self.frame = 0
        self.taken: defaultdict[str, _Taken] = defaultdict(_Taken)

    def mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, begin: Any, end: Any) -> float:
        return begin.elapsed_time(end) if self.cuda else 1e3 * (end - begin)

    def around(self, name: str, call: Any, given: tuple[Any, ...], named: dict[str, Any], *, macs: int = 0,
               moved: int = 0, launches: int = 1) -> Any:
        """Call, with marks; ``moved`` bytes are read or written beside what comes back."""
        begin = self.mark()
        made = call(*given, **named)
        end = self.mark()
        one = self.taken[name]
        one.marks[self.frame].append((begin, end))
        one.macs[self.frame] += macs
        one.launches[self.frame] += launches
        one.bytes[self.frame] += moved + _size(made)
        return made


class _Network:
    def __init__(self, name: str, network: ArrayNetwork, recorder: Recorder) -> None:
        self.name, self.network, self.recorder = name, network, recorder
        self.graph = graph_of(network)
        self.weights = _size([one for one in self.graph.constants.values() if isinstance(one, Tensor)])
        self.macs: dict[tuple[Any, ...], int] = {}

    def __call__(self, **inputs: Any) -> Any:
        shapes = tuple((name, tuple(one.shape)) for name, one in sorted(inputs.items()))
        if shapes not in self.macs:
            self.macs[shapes] = macs_of_network(self.graph, {name: torch.as_tensor(one, device=self.graph.device)
                                                             for name, one in inputs.items()})
        return self.recorder.around(self.name, self.network, (), inputs, macs=self.macs[shapes],
                                    moved=self.weights + _size(list(inputs.values())),
                                    launches=len(self.graph.nodes))


class _Kernels:
    """A device's kernels with marks around those that are launched; what waits or measures sizes is passed on."""

    #: What is launched, as it is called here, and how many of its first arrays are no scratch.
    WORK: ClassVar = {"clear": ("clearing", None), "pad_picture": ("padding", None),
                      "narrow_values": ("hyper symbols", None), "widen_symbols": ("symbols to float", None),
                      "quantise_half": ("rounding to symbols", None), "dequantise_half": ("symbols back", None),
                      "luma": ("luma", None), "block_motion": ("motion search", 4),
                      "vector_errors": ("errors of vectors", 6), "compensate": ("moving the latent", 4),
                      "touched": ("what P frames change", None), "update_reference": ("reference of the search", None),
                      "gather_half": ("coding order", None), "encode": ("rANS encode", 2),
                      "decoder": ("rANS decode, opening", 1), "decode": ("rANS decode", 2),
                      "finish": ("rANS decode, finish", None)}

    def __init__(self, kernels: Any, recorder: Recorder) -> None:
        self._kernels, self._recorder = kernels, recorder

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._kernels, name)
        if name not in self.WORK:
            return found
        label, arrays = self.WORK[name]

        def call(*given: Any, **named: Any) -> Any:
            moved = _size(given[:arrays]) + _size([one for one in named.values() if one is not named.get("status")])
            made = self._recorder.around(label, found, given, named, moved=moved)
            return _Kernels(made, self._recorder) if name == "decoder" else made

        return call


class _Networks(DeviceNetworks):
    """The same networks and kernels with marks around them."""

    def __init__(self, networks: TorchDeviceNetworks, recorder: Recorder) -> None:
        kernels: Any = _Kernels(networks.kernels, recorder)
        self._start(networks.profile, networks.backend, kernels, networks.device, networks.index, networks.stream)
        self._plain, self._recorder = networks, recorder

    def _load(self, name: str) -> ArrayNetwork:
        return _Network(name, self._plain[name], self._recorder)


def _stages(recorder: Recorder, whole: str, floors: Floors) -> list[Stage]:
    rows = []
    for name, one in recorder.taken.items():
        if name == whole:
            continue
        frames = list(one.marks)
        taken = statistics.median(sum(recorder.milliseconds(*pair) for pair in one.marks[n]) for n in frames)
        calls = statistics.median(len(one.marks[n]) for n in frames)
        arithmetic = 1e3 * statistics.median(one.macs[n] for n in frames) / floors.macs_a_second
        memory = 1e3 * statistics.median(one.bytes[n] for n in frames) / floors.bytes_a_second
        launches = statistics.median(one.launches[n] for n in frames)
        least = max(arithmetic, memory)
        limit = "launches" if floors.launches(taken / 1e3, launches, least / 1e3) else (
            "arithmetic" if arithmetic > memory else "memory")
        rows.append(Stage(name, calls, launches, taken, arithmetic, memory, limit, least / taken if taken else 1.0))
    return sorted(rows, key=lambda row: -row.milliseconds)


def stages(networks: TorchDeviceNetworks, pictures: list[Tensor], floors: Floors, *, frames: int, q: int
           ) -> dict[str, Any]:
    """Stages of P frames, encoded and decoded, of pictures (1, 3, H, W) uint8 on the device.

    Of each way: the stages by time, what lies between them (``rest_ms``: launches, waiting for what is read on the
    host, which are sizes, errors and coded bytes), the limiting stage. Beside that the floors, and whether the state
    after the last frame is that of an encoder without marks.
    """
    height, width = pictures[0].shape[2:]
    found: dict[str, Any] = {"frames": frames, "floors": asdict(floors), "how": __doc__.split("\n\n", 1)[1].strip()}
    plain = DeviceLayer(networks, width, height, q)
    sections = [plain.encode(pictures[n % len(pictures)], key=n == 0) for n in range(frames + 3)]
    for way in ("encode", "decode"):
        recorder = Recorder(networks.device)
        layer = DeviceLayer(_Networks(networks, recorder), width, height, q)
        for n in range(frames + 3):
            picture = pictures[n % len(pictures)]
            recorder.frame = n
            if n == 3:  # algorithms are chosen and the key frame is done
                recorder.taken.clear()
            begin = recorder.mark()
            if way == "encode":
                layer.encode(picture, key=n == 0)
            else:
                layer.decode(sections[n], key=n == 0)
            recorder.taken["frame"].marks[n].append((begin, recorder.mark()))
        if recorder.cuda:
            torch.cuda.synchronize()
        rows = _stages(recorder, "frame", floors)
        whole = statistics.median(recorder.milliseconds(*pairs[0]) for pairs in recorder.taken["frame"].marks.values())
        found[way] = {"frame_ms": whole, "rest_ms": whole - sum(row.milliseconds for row in rows),
                      "limiting": asdict(rows[0]), "stages": [asdict(row) for row in rows]}
        found[f"{way}_same"] = layer.is_where(plain)
    found["good"] = found["encode_same"] and found["decode_same"]
    return found
