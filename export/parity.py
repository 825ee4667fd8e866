"""Each network of a profile under onnxruntime against torch, with a tolerance stated for its kind."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import onnx
from numpy.typing import NDArray

from duoview.backends import CpuBackend, DescribedNetwork, TensorSpec
from duoview.backends.engine_shapes import input_shapes
from duoview.export.calibration import Clip, pixels, samples
from duoview.export.engine_graph import precision_of
from duoview.export.torch_backend import TorchBackend
from duoview.profile import Profile

#: Largest error by kind of network: root mean square of the difference over that of torch's output, of every output.
#: ``rounded`` is of networks that round what they put out, where an error far below a step may flip one; those of int8
#: quantise inside, where such a flip is spread by what follows. In fp16, and in analyses in int8 (``int8 hyper``),
#: a few hyper symbols may flip: three of them are 0.09, six 0.13, where few dozens are not 0.
TOLERANCES = {"exact": 0.0, "float": 1e-4, "rounded": 1e-2, "fp16": 1e-1, "int8": 5e-2, "int8 hyper": 1.5e-1}
SAMPLES = 4
#: Size of drawn pictures, in 64 pixels, and how many words every vocabulary has at least.
_UNITS, _WORDS = (1, 2), 5


@dataclass(frozen=True)
class Parity:
    """One network: its kind, what it may and does differ by, on how many calls, and whether that is within."""

    network: str
    kind: str
    tolerance: float
    error: float
    calls: int
    passed: bool


def report(profile: Profile, *, threads: int = 1) -> list[Parity]:
    """Compare every network of a profile.

    Those of the machine layer get what they are given when a drawn clip is coded, exact ones their golden inputs too,
    D_h what D is given then, with drawn noise, the others drawn numbers of their inputs' types.
    """
    recorded = samples(profile, [drawn_clip()], threads=threads)
    ours, torch = CpuBackend(threads), TorchBackend()
    found = []
    for name in sorted(profile.manifest["networks"]):
        path = profile.path(name)
        network, reference = ours.load(path), torch.load(path)
        kind = kind_of(profile, name)
        calls = recorded.get("decoder" if name == "human_decoder" else name, [])
        calls = calls[::max(1, -(-len(calls) // SAMPLES))]
        if name == "human_decoder":
            calls = [call | {"noise": _normals(call["z"].shape)} for call in calls]
        if kind == "exact":
            # Integers, at their limits too: of numbers between 0 and 1 nothing would come near where rounding decides.
            calls = [*profile.golden_inputs(name), *calls]
        elif not calls:
            calls = [drawn_inputs(name, network)]
        errors = [difference(a, b) for call in calls
                  for a, b in zip(reference(**call), network(**call), strict=True)]
        # Not a number is greater than nothing: it must not get lost in max.
        error = max(errors) if np.isfinite(errors).all() else float("inf")
        found.append(Parity(name, kind, TOLERANCES[kind], error, len(calls), error <= TOLERANCES[kind]))
    return found


def kind_of(profile: Profile, name: str) -> str:
    """``exact``, ``int8``, ``int8 hyper``, ``fp16``, ``rounded`` or ``float``; a key of TOLERANCES."""
    if name in profile.manifest["golden"]:
        return "exact"
    model = onnx.load(str(profile.path(name)))
    precision = precision_of(model)
    if precision == "int8" and any(output.name == "hyper" for output in model.graph.output):
        return "int8 hyper"
    if precision != "fp32":
        return precision
    operators = [node.op_type for node in model.graph.node]
    return "rounded" if {"Floor", "Round"} & set(operators) else "float"


def difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Root mean square of the difference over that of what was expected; infinite for another shape."""
    if expected.shape != found.shape:
        return float("inf")
    a, b = expected.astype(np.float64), found.astype(np.float64)
    size = float(np.sqrt(np.square(a).mean()))
    error = float(np.sqrt(np.square(a - b).mean()))
    return error / size if size else error


def drawn_clip(frames: int = 3, width: int = 192, height: int = 128) -> Clip:
    """A clip of a moving patch with texture before a gradient."""
    texture = np.random.default_rng(8).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    made = []
    for number in range(frames):
        picture = np.empty((height, width, 3), np.uint8)
        picture[:] = np.linspace(20, 220, width)[None, :, None]
        picture[30:70, 20 + 9 * number:60 + 9 * number] = texture
        made.append(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    return Clip("drawn", tuple(made), tuple(pixels(frame) for frame in made))


def _normals(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normals; the same ones in every run."""
    return np.random.default_rng(8).standard_normal(shape, np.float32)


def drawn_inputs(name: str, network: DescribedNetwork) -> dict[str, NDArray[Any]]:
    """Random inputs of a network by what its file declares; the same ones in every run."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    shapes = input_shapes(name, network.signature, *_UNITS)

    def drawn(spec: TensorSpec) -> NDArray[Any]:
        shape = shapes[spec.name]
        if spec.name == "q":
            return np.array([24], np.int64)
        if spec.dtype == "int64":  # of words
            return generator.integers(0, _WORDS, shape)
        if spec.dtype == "uint8":
            return generator.integers(0, 256, shape, dtype=np.uint8)
        return generator.uniform(0, 1, shape).astype(np.float32)

    return {spec.name: drawn(spec) for spec in network.signature.inputs}
