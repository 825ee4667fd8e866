"""The CUDA programs of texture, windows, pictures, gain maps and motion: their bytes on a device beside the CPU's.

The CPU runs the same programs lane by lane. Sums of float32 are in one order on both and no product is contracted, so
all bytes have to be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.device import DeviceBench
from duoview.kernels import ShiftOperators, checkerboard
from duoview.kernels.cuda import Device

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A call of one program or a few: its arrays by name, and which of them it writes."""

    name: str
    arrays: dict[str, np.ndarray]
    written: tuple[str, ...]
    call: Callable[[Device, Arrays, Any], object]


#: Cases of the search for motion and of what is done with it.
MOTION = ("luma", "update_reference", "block_motion", "vector_errors", "compensate")


def cases(small: bool, seed: int = 5) -> list[Case]:
    """On a tile of 64x64 positions of 24 groups, a latent and a picture of 1920x1088; tiny ones where asked."""
    rng = np.random.default_rng(seed)
    groups, height, width = (3, 16, 40) if small else (24, 64, 64)
    rows, columns, channels = (24, 48, 6) if small else (136, 240, 48)
    shape, depth, numbers = (groups, height, width), 5, 3
    positions, nodes = height * width, 1 << depth
    picture = (1, 3, 8 * rows, 8 * columns)

    def integers(low: int, high: int, size: tuple[int, ...], dtype: type) -> np.ndarray:
        return rng.integers(low, high, size).astype(dtype)

    def normals(*size: int) -> np.ndarray:
        return rng.standard_normal(size).astype(np.float32)

    tile = {"nodes": integers(0, nodes, shape, np.uint8), "known": integers(0, 2, (height, width), np.uint8),
            "signs": np.zeros((1, *shape), np.float32), "fixed": integers(0, 3, shape, np.uint8),
            "classes": integers(64, 192, shape, np.uint8), "children": np.zeros(shape, np.uint8),
            "held": integers(0, 2, (height, width), np.uint8)}
    halves = {f"coded_{half}": integers(0, 2, (checkerboard.size(shape, half),), np.int16) for half in (0, 1)}
    table = np.minimum(np.arange(256) // 2 + 64, 191).astype(np.uint8)
    table[:20] = table[-20:] = 0
    planes = {"planes": normals(1, channels, rows, columns), "other": normals(1, channels, rows, columns),
              "third": normals(1, channels, rows, columns), "level": normals(1, 1, rows, columns),
              "scale": 0.5 + rng.random(channels).astype(np.float32),
              "out": np.zeros((1, channels, rows, columns), np.float32)}
    pictures = {name: integers(0, 256, picture, np.uint8) for name in ("shown", "changed", "base")}
    gains = {"levels": integers(-8, 9, (height, width), np.int8), "gains": normals(17),
             "shares": integers(900, 18000, (17,), np.int32),
             "classes": integers(0, 64, shape, np.uint8), "means": integers(-2032, 2033, shape, np.int16),
             "symbols": integers(-9000, 9001, shape, np.int16), "values": normals(*shape)}
    half = {"top": 1, "left": 2}
    motion = _motion(rng, (channels, rows, columns))

    def both(call: Callable[[int], object]) -> None:
        for one in (0, 1):
            call(one)

    return [
        Case("embed_nodes", tile | {"embedding": normals(groups, nodes, numbers),
                                    "seen": np.zeros((1, groups * numbers, height, width), np.float32)}, ("seen",),
             lambda d, a, s: d.embed_nodes(a["nodes"], a["embedding"], a["seen"], cuda_stream=s)),
        Case("previous_children", tile | {"before": integers(0, 128, shape, np.uint8)}, ("signs",),
             lambda d, a, s: d.previous_children(a["before"], a["known"], a["nodes"], a["signs"], levels=1,
                                                 cuda_stream=s)),
        Case("child_classes", tile | {"logits": integers(-128, 128, (1, *shape), np.int16), "table": table,
                                      "own": integers(-90, 91, (groups, nodes), np.int8),
                                      "previous": 64 * integers(-1, 2, (1, *shape), np.float32)}, ("classes", "fixed"),
             lambda d, a, s: both(lambda n: d.child_classes(
                 a["logits"], a["nodes"], a["own"], a["table"], n, previous=a["previous"], classes=a["classes"],
                 fixed=a["fixed"], held=a["held"], cuda_stream=s))),
        Case("take_children", tile | halves, ("children", "signs"),
             lambda d, a, s: both(lambda n: d.take_children(
                 a[f"coded_{n}"], a["fixed"], a["nodes"], n, children=a["children"], decided=a["signs"],
                 cuda_stream=s))),
        Case("offer_children", tile | halves | {"wanted": integers(0, 256, shape, np.uint8)},
             ("children", "signs", "coded_0", "coded_1"),
             lambda d, a, s: both(lambda n: d.offer_children(
                 a["wanted"], a["fixed"], a["nodes"], n, levels=2, coded=a[f"coded_{n}"], children=a["children"],
                 decided=a["signs"], cuda_stream=s))),
        Case("draw_children", tile, ("children", "signs"),
             lambda d, a, s: both(lambda n: d.draw_children(
                 a["classes"], a["fixed"], a["nodes"], n, children=a["children"], decided=a["signs"], seed=1 << 60,
                 draw=3, depth=depth, top=64, left=128, row_positions=2048, cuda_stream=s))),
        Case("held_positions", tile | {"flags": integers(0, 2, (positions // 64,), np.int16),
                                       "status": np.zeros(2, np.int64)}, ("held", "status"),
             lambda d, a, s: d.held_positions(a["flags"], a["known"], a["held"], a["status"], cuda_stream=s)),
        Case("look_up_nodes", tile | {"table": normals(groups, nodes, channels), "share": np.array([0.5], np.float32),
                                      "others": integers(0, 64, shape, np.uint8),
                                      "other_table": normals(groups, 64, channels),
                                      "out": np.zeros((1, channels, height + 1, width + 2), np.float32)}, ("out",),
             lambda d, a, s: d.look_up_nodes(a["nodes"], a["table"], a["out"], **half, held=a["held"],
                                             others=a["others"], other_table=a["other_table"], share=a["share"],
                                             cuda_stream=s)),
        Case("look_up_nodes beside what is there", tile | {
            "share": np.array([0.2], np.float32), "others": integers(0, 64, shape, np.uint8),
            "other_table": normals(groups, 64, channels), "out": normals(1, channels, height + 1, width + 2)}, ("out",),
             lambda d, a, s: d.look_up_nodes(None, None, a["out"], **half, held=a["held"], others=a["others"],
                                             other_table=a["other_table"], share=a["share"], cuda_stream=s)),
        Case("touched", {"symbols": np.where(rng.random(shape) < 0.01, 3, 0).astype(np.int16),
                         "coded": np.zeros((height, width), np.uint8), "moving": tile["known"],
                         "out": np.zeros((2 * height, 2 * width), np.uint8)}, ("out",),
             lambda d, a, s: d.touched(a["symbols"], a["out"], a["coded"], moving=a["moving"], cuda_stream=s)),
        Case("marked positions", tile | {"values": normals(4, height, width)}, ("values", "known"),
             lambda d, a, s: (d.without_marked(a["values"], a["held"], a["values"], cuda_stream=s),
                              d.without_marked(a["known"], a["held"], a["known"], cuda_stream=s),
                              d.mark_positions(a["known"], 5, (0, 0, height, width), held=a["held"], cuda_stream=s))),
        Case("leaves", tile | {"components": normals(1, 2 * groups, height, width),
                               "apart": np.array([2.0**40], np.float32),
                               "scale": 0.5 + rng.random(groups).astype(np.float32), "leaves": tile["nodes"] * 2,
                               "vectors": np.zeros((positions, groups, 4), np.float32),
                               "found": integers(0, 64, (positions, groups), np.uint8)}, ("vectors", "leaves"),
             lambda d, a, s: (d.gather_vectors(a["components"], a["scale"], a["vectors"], (0, 0, height, width),
                                               nodes=a["nodes"], apart=a["apart"], cuda_stream=s),
                              d.take_leaves(a["found"], a["leaves"], nodes=a["nodes"], levels=1, cuda_stream=s))),
        Case("leaves of before", tile | {"found": integers(0, 64, (positions, groups), np.uint8),
                                         "before": integers(0, 64, shape, np.uint8), "leaves": tile["nodes"] * 2},
             ("leaves",),
             lambda d, a, s: d.take_leaves(a["found"], a["leaves"], held=a["held"], before=a["before"],
                                           cuda_stream=s)),
        Case("node_errors", tile | {"vectors": normals(positions, groups, numbers + 1),
                                    "table": normals(groups, nodes, numbers), "scale": normals(groups),
                                    "factor": normals(1), "errors": np.zeros((height, width), np.float32),
                                    "first": np.zeros((height, width), np.float32)}, ("errors", "first"),
             lambda d, a, s: (d.node_errors(a["vectors"], a["nodes"], a["table"], a["errors"], scale=a["scale"],
                                            factor=a["factor"], cuda_stream=s),
                              d.node_errors(a["vectors"], a["nodes"], None, a["first"], scale=a["scale"],
                                            factor=a["factor"], cuda_stream=s))),
        Case("windows", planes | {"window": np.zeros((1, channels, 16, 20), np.float32), "share": normals(16, 20)},
             ("window", "out"),
             lambda d, a, s: (d.cut_window(a["planes"], a["window"], top=3, left=7, cuda_stream=s),
                              d.blend_window(a["window"], a["share"], a["out"], top=8, left=20, cuda_stream=s))),
        Case("comparison", planes | {"status": np.zeros(2, np.int64)}, ("status",),
             lambda d, a, s: (d.begin_comparison(a["status"], cuda_stream=s),
                              d.compare(a["planes"], a["other"], a["status"], word=1, cuda_stream=s))),
        Case("noise and sums", planes | {"sum": planes["out"]}, ("out", "sum"),
             lambda d, a, s: (d.add_noise(a["planes"], a["level"], a["other"], a["out"], cuda_stream=s),
                              d.add_scaled(a["planes"], a["other"], a["sum"], scale=a["scale"], cuda_stream=s))),
        Case("channels_first", planes | {"values": normals(rows, columns, channels)}, ("out",),
             lambda d, a, s: d.channels_first(a["values"], a["out"], cuda_stream=s)),
        Case("known_residual", planes | {"depths": integers(0, 3, (rows, columns), np.uint8), "levels": normals(256)},
             ("out", "level"),
             lambda d, a, s: d.known_residual(a["planes"], a["other"], a["third"], a["depths"], scale=a["scale"],
                                              levels=a["levels"], known=a["out"], level=a["level"], cuda_stream=s)),
        Case("pictures", pictures | {"out": pictures["base"],
                                     "weights": integers(-30000, 30001, (9,), np.int32),
                                     "inverse": integers(-130000, 130001, (5,), np.int32),
                                     "nv12": np.zeros((12 * rows, 8 * columns), np.uint8),
                                     "back": pictures["base"]}, ("out", "nv12", "back"),
             lambda d, a, s: (d.apply_change(a["shown"], a["changed"], a["base"], a["out"], cuda_stream=s),
                              d.to_nv12(a["shown"], a["nv12"], a["weights"], black=16, cuda_stream=s),
                              d.from_nv12(a["nv12"], a["back"], a["inverse"], black=16, cuda_stream=s))),
        Case("share generated", pictures | {"total": np.zeros(2, np.int64)}, ("total",),
             lambda d, a, s: d.check_generated(a["shown"], a["base"], a["total"], height=8 * rows - 5,
                                               width=8 * columns - 3, cuda_stream=s)),
        Case("gain maps", gains | {"out": np.zeros(shape, np.uint8), "scaled": np.zeros(shape, np.float32),
                                   "decoded": np.zeros(shape, np.float32)}, ("out", "scaled", "decoded"),
             lambda d, a, s: (d.gain_classes(a["classes"], a["levels"], a["out"], cuda_stream=s),
                              d.gain_values(a["values"], a["means"], a["levels"], a["gains"], a["scaled"],
                                            cuda_stream=s),
                              both(lambda n: d.gain_decoded(a["symbols"], a["means"], a["levels"], a["shares"], n,
                                                            decoded=a["decoded"], cuda_stream=s)))),
        Case("luma", pictures | {"out": np.zeros(picture[2:], np.uint8)}, ("out",),
             lambda d, a, s: d.luma(a["shown"], a["out"], cuda_stream=s)),
        Case("update_reference", motion, ("previous",),
             lambda d, a, s: d.update_reference(a["current"], a["changed"], a["previous"], cuda_stream=s)),
        Case("block_motion", motion, ("found", "sums"),
             lambda d, a, s: d.block_motion(a["previous"], a["current"], a["found"], a["sums"], a["scratch"],
                                            cuda_stream=s)),
        Case("vector_errors", motion, ("errors", "status"),
             lambda d, a, s: d.vector_errors(a["wanted"], a["state"], a["offered"], a["operators"], a["forms"],
                                             a["errors"], a["scratch"], a["status"], unit_bits=24, cuda_stream=s)),
        Case("compensate", motion, ("out", "status"),
             lambda d, a, s: d.compensate(a["state"], a["vectors"], a["operators"], a["out"], a["scratch"],
                                          a["status"], cuda_stream=s)),
    ]


def _motion(rng: np.random.Generator, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """A plane that moves by three pixels, with noise; a latent of this shape, vectors in all cells, five offered."""
    channels, rows, columns = shape
    cells, side = (rows // 2, columns // 2), (8 * rows, 8 * columns)
    previous = rng.integers(0, 256, (side[0] // 8, side[1] // 8), np.uint8).repeat(8, 0).repeat(8, 1)
    vectors = rng.integers(-64, 65, (5, *cells, 2), np.int8)
    size = max(Device.block_motion_scratch_bytes(*side), Device.vector_errors_scratch_bytes(*shape))
    operators = ShiftOperators(rng.integers(-99, 100, (9, 9, 9 * channels, channels), np.int16))
    return {"previous": previous, "current": np.roll(previous, 3, 1) ^ rng.integers(0, 4, side, np.uint8),
            "changed": rng.integers(0, 2, (rows, columns), np.uint8), "vectors": vectors[0],
            "offered": vectors * (np.arange(5) > 0).astype(np.int8)[:, None, None, None],
            "found": np.zeros((*cells, 2), np.int8), "sums": np.zeros((*cells, 2), np.uint32),
            "state": rng.standard_normal((1, *shape)).astype(np.float32),
            "wanted": rng.standard_normal((1, *shape)).astype(np.float32),
            "operators": operators.summed(), "forms": rng.integers(-200, 201, (2, channels, channels), np.int16),
            "errors": np.zeros((5, *cells), np.float32), "out": np.zeros((1, *shape), np.float32),
            "scratch": np.zeros(size, np.uint8), "status": np.zeros(2, np.int64)}


def on_cpu(case: Case) -> Arrays:
    """What the arrays of a case hold after it."""
    expected = {name: array.copy() for name, array in case.arrays.items()}
    case.call(Device.on_cpu(), expected, None)
    return expected


def is_equal(bench: DeviceBench, case: Case, arrays: Arrays, expected: Arrays) -> bool:
    """Whether what the case writes is the same in arrays of the device and of the CPU."""
    return all(np.array_equal(bench.get(arrays[name]).view(np.uint8), expected[name].view(np.uint8))
               for name in case.written)


def replays(bench: DeviceBench) -> dict[str, bool]:
    """The programs of motion captured into CUDA graphs, and replayed on what other arrays hold: equal or not."""
    torch, found = bench.torch, {}
    for case, other in zip(cases(False), cases(False, seed=6), strict=True):
        if case.name not in MOTION:
            continue
        arrays = {name: bench.put(array) for name, array in case.arrays.items()}
        case.call(bench.device, arrays, bench.stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            case.call(bench.device, arrays, bench.stream)
        for name, array in other.arrays.items():
            arrays[name].view(torch.uint8).copy_(torch.from_numpy(array.view(np.uint8)))
        graph.replay()
        torch.cuda.synchronize()
        found[case.name] = is_equal(bench, other, arrays, on_cpu(other))
    return found


def compare(bench: DeviceBench) -> dict[str, Any]:
    """By case: whether the bytes are those of the CPU, and microseconds a call on the device."""
    found = {}
    for case in cases(bench.dry):
        arrays = {name: bench.put(array) for name, array in case.arrays.items()}
        case.call(bench.device, arrays, bench.stream)
        equal = is_equal(bench, case, arrays, on_cpu(case))

        def again(case: Case = case, arrays: Arrays = arrays) -> None:
            case.call(bench.device, arrays, bench.stream)

        found[case.name] = {"equal": equal, "microseconds": 1e6 * bench.seconds(again)}
    return {"cases": found, "all_equal": all(one["equal"] for one in found.values())}
