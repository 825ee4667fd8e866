"""Engines as files: what one was built of, for what and on what, and the plan that TensorRT wrote.

A plan alone says nothing that could be checked before TensorRT has read it, and TensorRT may crash over a plan that is
not its own. So plans lie behind a header of ours. Nothing here calls TensorRT.

    bytes 0..7: ``DUOVENG1``; 4 bytes: length of the header, little-endian; the header, JSON; the plan
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from duoview.errors import EngineFileError
from duoview.golden import GOLDEN_SEED, exact_inputs, grid_of, integers
from duoview.kernels import normals, philox

MAGIC = b"DUOVENG1"
#: No header of ours is longer.
MAX_HEADER = 1 << 24
#: Values of each output of a float network that are kept to compare with.
SAMPLES = 1024
#: Largest error of float networks by precision: root mean square of the difference over that of the CPU's values.
#: Beside a quantiser's edge an error far below a step flips one, also in float32; of few hyper symbols one is much.
TOLERANCES = {"fp32": 1e-2, "fp16": 1e-1, "int8": 1e-1}
#: Types of inputs and outputs, by their names in a signature.
KINDS: dict[str, type[np.generic]] = {
    "float": np.float32, "float16": np.float16, "uint8": np.uint8, "int8": np.int8, "int16": np.int16,
    "int32": np.int32, "int64": np.int64}

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class EngineMachine:
    """What an engine runs on; one that was built on another is not used.

    tensorrt: its version. cuda: the newest CUDA version that the driver supports, as 12040. device: the GPU's name.
    capability: its compute capability, ``9.0``. processors: how many multiprocessors it has; of one name there are
    several kinds, and slices of a GPU.
    """

    tensorrt: str
    cuda: int
    device: str
    capability: str
    processors: int


@dataclass(frozen=True)
class InputRange:
    """Shapes of one input that an engine takes: from `low` to `high`, fastest at `best`."""

    name: str
    low: Shape
    best: Shape
    high: Shape

    @classmethod
    def fixed(cls, name: str, shape: Shape) -> Self:
        """One shape and no other."""
        return cls(name, shape, shape, shape)

    @property
    def is_whole(self) -> bool:
        """True where `best` lies between two shapes of as many dimensions."""
        return (len(self.low) == len(self.best) == len(self.high)
                and all(0 < a <= b <= c for a, b, c in zip(self.low, self.best, self.high, strict=True)))

    def holds(self, shape: Shape) -> bool:
        """True for a shape within."""
        return len(shape) == len(self.low) and all(
            a <= n <= b for a, n, b in zip(self.low, shape, self.high, strict=True))

    def __str__(self) -> str:
        low, high = ("x".join(map(str, shape)) for shape in (self.low, self.high))
        return f"{self.name} {low}" + (f" to {high}" if low != high else "")


#: One optimisation profile of TensorRT: a range for every input.
Ranges = tuple[InputRange, ...]


@dataclass(frozen=True)
class EngineIdentity:
    """All that a plan depends on. Two engines with equal identities are the same engine.

    network: sha256 of the ONNX file. graph: that of what the exporter made of it for TensorRT. precision: that of the
    file, which is the engine's: networks are built strongly typed. profiles: shapes, one Ranges for each optimisation
    profile. flags: of the builder.
    """

    network: str
    graph: str
    precision: str
    profiles: tuple[Ranges, ...]
    machine: EngineMachine
    flags: tuple[str, ...]

    @property
    def key(self) -> str:
        """32 hexadecimal digits, in the engine's file name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """From what ``asdict`` made, after a detour through JSON. Raises KeyError, TypeError, ValueError."""
        profiles = tuple(
            tuple(InputRange(str(one["name"]), *(tuple(int(n) for n in one[end]) for end in ("low", "best", "high")))
                  for one in ranges) for ranges in fields["profiles"])
        machine = fields["machine"]
        if not profiles or not all(one.is_whole for ranges in profiles for one in ranges):
            raise ValueError("shapes that no input has")
        if fields["precision"] not in TOLERANCES:
            raise ValueError(f"precision {fields['precision']}")
        return cls(str(fields["network"]), str(fields["graph"]), str(fields["precision"]), profiles,
                   EngineMachine(str(machine["tensorrt"]), int(machine["cuda"]), str(machine["device"]),
                                 str(machine["capability"]), int(machine["processors"])),
                   tuple(map(str, fields["flags"])))

    def profile_for(self, shapes: Mapping[str, Shape]) -> int | None:
        """The first optimisation profile that takes inputs of these shapes."""
        for number, ranges in enumerate(self.profiles):
            if {one.name for one in ranges} == set(shapes) and all(one.holds(shapes[one.name]) for one in ranges):
                return number
        return None


@dataclass(frozen=True)
class GoldenOutput:
    """An output that an engine has to give: the digest of all integers, or some of the values and their tolerance."""

    shape: Shape
    sha256: str
    samples: str

    @classmethod
    def of(cls, output: Array, *, exact: bool, grid: int = 1) -> Self:
        """grid: what an exact output is multiplied by to be integers."""
        if exact:
            return cls(output.shape, hashlib.sha256(integers(output, grid)).hexdigest(), "")
        return cls(output.shape, "", base64.b64encode(_sampled(output).tobytes()).decode())

    def check(self, *, exact: bool) -> None:
        """Raises ValueError unless this is what ``of`` makes."""
        if exact and (len(self.sha256) != 64 or self.samples):
            raise ValueError("an output without the digest of its integers")
        size = int(np.prod(self.shape))
        kept = len(base64.b64decode(self.samples, validate=True))
        if not exact and (self.sha256 or size < 1 or kept != 4 * min(SAMPLES, size)):
            raise ValueError(f"{kept} bytes of samples of an output of {size} values")

    def error(self, output: Array, grid: int = 1) -> float:
        """0 for the right integers, else infinity; or the relative error of the sampled values."""
        if output.shape != self.shape:
            return float("inf")
        if self.sha256:
            return 0.0 if GoldenOutput.of(output, exact=True, grid=grid) == self else float("inf")
        expected = np.frombuffer(base64.b64decode(self.samples), "<f4").astype(np.float64)
        found = _sampled(output).astype(np.float64)
        size, error = (float(np.sqrt(np.square(values).mean())) for values in (expected, expected - found))
        relative = error / size if size else error
        return relative if np.isfinite(relative) else float("inf")


def _sampled(output: Array) -> NDArray[np.float32]:
    flat = output.reshape(-1)
    at = np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).astype(np.int64)
    return flat[at].astype("<f4")


@dataclass(frozen=True)
class Golden:
    """What an engine is compared with before it is used, at its own shapes: the CPU's outputs for drawn inputs.

    network: its name. exact: integers, which have to be equal. sizes: of the profile (exact networks). height, width:
    of the picture, in units of 64 pixels. shapes: name, type and shape of each input; outputs: name and type of each
    output, in the ONNX file's order. cases: values by case; exact networks have two, the second with all inputs at
    their limits.
    """

    network: str
    exact: bool
    sizes: tuple[tuple[str, int], ...]
    height: int
    width: int
    shapes: tuple[tuple[str, str, Shape], ...]
    outputs: tuple[tuple[str, str], ...]
    cases: tuple[tuple[GoldenOutput, ...], ...] = ()

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """From what ``asdict`` made, after a detour through JSON. Raises KeyError, TypeError, ValueError."""
        return cls(str(fields["network"]), bool(fields["exact"]),
                   tuple((str(name), int(n)) for name, n in fields["sizes"]), int(fields["height"]),
                   int(fields["width"]),
                   tuple((str(name), str(kind), tuple(map(int, shape))) for name, kind, shape in fields["shapes"]),
                   tuple((str(name), str(kind)) for name, kind in fields["outputs"]),
                   tuple(tuple(GoldenOutput(tuple(map(int, one["shape"])), str(one["sha256"]), str(one["samples"]))
                               for one in case) for case in fields["cases"]))

    def check(self, ranges: Ranges) -> None:
        """Raises ValueError unless it can be compared with what an engine for these shapes gives."""
        if {name: shape for name, _, shape in self.shapes} != {one.name: one.best for one in ranges}:
            raise ValueError("golden inputs of other shapes than the engine's")
        unknown = ({kind for _, kind, _ in self.shapes} | {kind for _, kind in self.outputs}) - KINDS.keys()
        if len(self.cases) != (2 if self.exact else 1) or not self.outputs:
            raise ValueError(f"{len(self.cases)} golden cases of {len(self.outputs)} outputs")
        if unknown:
            raise ValueError(f"type {min(unknown)}")
        for case in self.cases:
            if len(case) != len(self.outputs):
                raise ValueError(f"a golden case of {len(case)} outputs, expected {len(self.outputs)}")
            for output in case:
                output.check(exact=self.exact)

    def inputs(self) -> tuple[dict[str, Array], ...]:
        """Inputs of every case, the same ones everywhere."""
        if self.exact:
            return tuple(exact_inputs(self.network, dict(self.sizes), self.height, self.width, saturate)
                         for saturate in (False, True))
        return ({name: _drawn(name, kind, shape, number) for number, (name, kind, shape) in enumerate(self.shapes)},)

    def problem(self, outputs: Sequence[Sequence[Array]], precision: str) -> str:
        """Why an engine's outputs are not those of the CPU, by case; empty where they are."""
        limit = 0.0 if self.exact else TOLERANCES[precision]
        for number, (expected, found) in enumerate(zip(self.cases, outputs, strict=True)):
            if len(expected) != len(found):
                return f"golden case {number} has {len(found)} outputs, expected {len(expected)}"
            for index, (golden, output) in enumerate(zip(expected, found, strict=True)):
                error = golden.error(output, grid_of(self.network))
                if error > limit:
                    off = f"is off by {error:.1e} (at most {limit:.0e})"
                    return (f"output {index} of golden case {number} "
                            f"{'differs from the integers of the CPU' if self.exact else off}")
        return ""


def _drawn(name: str, kind: str, shape: Shape, number: int) -> Array:
    count = int(np.prod(shape))
    if kind == "int64":
        return np.full(shape, 1 if name == "phrases" else 24, np.int64)  # words of which every table has some; quality
    if kind == "uint8":
        bits = philox(GOLDEN_SEED, stream=100 + number, offset=0, count=count)
        return (bits & 255).astype(np.uint8).reshape(shape)
    if name in ("time", "gain", "span"):
        return np.full(shape, 0.5, np.float32)
    values = normals(GOLDEN_SEED, stream=100 + number, offset=0, count=count).reshape(shape)
    if name in ("decoded", "symbols"):
        return np.rint(values * (24 if name == "decoded" else 1.5)).astype(np.float32)
    return values


@dataclass(frozen=True)
class EngineHeader:
    """What stands before a plan."""

    identity: EngineIdentity
    golden: Golden
    plan_bytes: int
    plan_sha256: str
    seconds: float
    built: str

    @property
    def name(self) -> str:
        """The network's name."""
        return self.golden.network

    @property
    def file_name(self) -> str:
        """Network and key."""
        return f"{self.name}-{self.identity.key}.engine"


def written(header: EngineHeader, plan: bytes) -> bytes:
    """The bytes of an engine file."""
    text = json.dumps(asdict(header), sort_keys=True).encode()
    return MAGIC + struct.pack("<I", len(text)) + text + plan


def read_header(path: Path) -> EngineHeader:
    """The header of an engine file, and whether the file has the length that it says.

    Raises EngineFileError for a foreign, truncated or damaged file.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(MAGIC) + 4)
            if not begin.startswith(MAGIC) or len(begin) < len(MAGIC) + 4:
                raise EngineFileError(f"{path}: not an engine of duoview (it begins with {begin[:8]!r}, expected "
                                      f"{MAGIC!r}); duoview engines build makes one")
            (length,) = struct.unpack("<I", begin[len(MAGIC):])
            if length > MAX_HEADER:
                raise EngineFileError(f"{path}: damaged (a header of {length} bytes, at most {MAX_HEADER})")
            text = file.read(length)
        size = path.stat().st_size - len(begin) - length
    except OSError as error:
        raise EngineFileError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        fields = json.loads(text)
        header = EngineHeader(EngineIdentity.read(fields["identity"]), Golden.read(fields["golden"]),
                              int(fields["plan_bytes"]), str(fields["plan_sha256"]), float(fields["seconds"]),
                              str(fields["built"]))
        header.golden.check(header.identity.profiles[0])
        if header.plan_bytes < 1:
            raise ValueError("no plan")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise EngineFileError(f"{path}: damaged header, or one of another version of duoview "
                              f"({type(error).__name__}: {error})") from None
    if size != header.plan_bytes:
        raise EngineFileError(f"{path}: damaged (a plan of {size} bytes, its header says {header.plan_bytes})")
    return header


def read_plan(path: Path) -> tuple[EngineHeader, bytes]:
    """Header and plan, the plan's digest checked. Raises EngineFileError."""
    header = read_header(path)
    try:
        plan = path.read_bytes()[-header.plan_bytes:]
    except OSError as error:
        raise EngineFileError(f"{path}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(plan).hexdigest() != header.plan_sha256:
        raise EngineFileError(f"{path}: damaged (the plan has another sha256 than its header says); "
                              "duoview engines prune removes it")
    return header, plan
