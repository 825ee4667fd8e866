"""Shapes of the inputs of a profile's networks at a picture's size: what engines are built for and compared at."""

from __future__ import annotations

from dataclasses import replace

from duoview.backends.engine import Golden, GoldenOutput, InputRange, Ranges, Shape
from duoview.backends.signature import DescribedNetwork, Signature
from duoview.captions.caption import MAX_PHRASES
from duoview.errors import EngineError
from duoview.golden import GOLDEN_CASES, grid_of
from duoview.windows import DEFAULT_TILE, Windows

UNIT = 64
#: Pixels on a side that one element of an input stands for, by network.
STRIDES = {
    "encoder": {"picture": 1},
    "decoder": {"z": 8},
    "key_analysis": {"z": 8},
    "key_hyper": {"hyper": 64},
    "key_context": {"features": 16, "decoded": 16},
    "key_synthesis": {"decoded": 16},
    "inter_analysis": {"z": 8, "previous": 8},
    "inter_hyper": {"hyper": 64, "previous": 16},
    "inter_context": {"features": 16, "decoded": 16},
    "inter_synthesis": {"decoded": 16, "symbols": 16, "previous": 8},
    # By generation: of the bundled profile's kind, of a latent diffusion model, conditional. Each has some of these.
    "denoiser": {"state": 8, "z_m": 8, "condition": 1, "known": 8, "level": 8, "caption": 32},
    "human_decoder": {"z": 8, "noise": 8},
    "colour": {"human": 1, "machine": 1},
    "texture_features": {"decoded": 16},
    "texture_means": {"means": 16},
    "texture_prior": {"features": 8, "nodes": 8, "decided": 8, "previous": 8},
    "texture_analysis": {"z": 8, "base": 8},
    "restoration": {"picture": 1, "earlier": 1, "earliest": 1},
    "saliency": {"picture": 1, "background": 1},
    "text_encoder": {},
    "caption": {},
}
#: The saliency network looks at pictures of another size than the stream's, the encoder of texts at none; that of
#: captions is a table and a few sums.
BUILDABLE = tuple(name for name in STRIDES if name not in ("saliency", "text_encoder", "caption"))
#: Lengths of open dimensions that are not of the picture, by network.
LENGTHS = {"caption": MAX_PHRASES}


def units(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of 64 pixels that pictures of this size are padded to."""
    return -(-height // UNIT), -(-width // UNIT)


def input_shapes(network: str, signature: Signature, rows: int, columns: int) -> dict[str, Shape]:
    """Shapes of all inputs for pictures of (64 rows) x (64 columns) pixels.

    A denoiser that takes a noise level is run on windows; those of the default side.

    Raises EngineError for a network or an input that engines are not made of.
    """
    strides = STRIDES.get(network)
    if strides is None:
        raise EngineError(f"{network}: the shapes of its inputs are not known; expected one of {', '.join(STRIDES)}")
    shapes: dict[str, Shape] = {}
    height, width = rows * UNIT, columns * UNIT
    if network == "denoiser" and any(spec.name == "level" for spec in signature.inputs):
        height, width = (8 * side for side in Windows(height // 8, width // 8, DEFAULT_TILE).side)
    for spec in signature.inputs:
        if spec.name in strides and len(spec.shape) == 4 and spec.shape[1] is not None:
            stride = strides[spec.name]
            shapes[spec.name] = (1, spec.shape[1], height // stride, width // stride)
        elif None not in spec.shape or network in LENGTHS:
            shapes[spec.name] = tuple(n if n is not None else LENGTHS[network] for n in spec.shape)
        else:
            raise EngineError(f"{network}: input {spec}: expected {', '.join(strides)} and inputs of fixed shapes; "
                              "it was made by another version of the exporter")
    return shapes


def profiles(network: str, signature: Signature, rows: int, columns: int, *, exact: bool) -> tuple[Ranges, ...]:
    """One fixed shape for each input; for an exact network also the range of the golden vectors' sizes."""
    fixed = input_shapes(network, signature, rows, columns)
    first = tuple(InputRange.fixed(name, shape) for name, shape in fixed.items())
    if not exact:
        return (first,)
    low, best, high = (input_shapes(network, signature, *size) for size in (
        (1, 1), (2, 3), (max(case.height for case in GOLDEN_CASES), max(case.width for case in GOLDEN_CASES))))
    return first, tuple(InputRange(name, low[name], best[name], high[name]) for name in fixed)


def drawn(name: str, signature: Signature, rows: int, columns: int, *, exact: bool,
          sizes: tuple[tuple[str, int], ...] = ()) -> Golden:
    """Drawn inputs at these shapes, without what comes of them."""
    shapes = input_shapes(name, signature, rows, columns)
    return Golden(name, exact, sizes, rows, columns,
                  tuple((spec.name, spec.dtype, shapes[spec.name]) for spec in signature.inputs),
                  tuple((spec.name, spec.dtype) for spec in signature.outputs))


def golden(name: str, network: DescribedNetwork, rows: int, columns: int, *, exact: bool,
           sizes: tuple[tuple[str, int], ...] = ()) -> Golden:
    """Drawn inputs at these shapes, and what `network`, on the CPU, makes of them."""
    inputs = drawn(name, network.signature, rows, columns, exact=exact, sizes=sizes)
    return replace(inputs, cases=tuple(
        tuple(GoldenOutput.of(output, exact=exact, grid=grid_of(name)) for output in network(**case))
        for case in inputs.inputs()))
