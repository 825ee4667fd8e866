"""Bytes of the kernels on a device beside those of the CPU: streams, planes, noise, palettes, damage, graphs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.device import Coder, DeviceBench, draw
from bench.device_programs import compare, replays
from duoview.kernels import checkerboard, noise, palette, rans
from duoview.kernels.errors import BitstreamError


def check_rans(bench: DeviceBench) -> dict[str, Any]:
    found = []
    threads = min(16, os.cpu_count() or 1)
    small = min(bench.scale, 2_000_000)
    cases = [
        (kind, lanes, chunk, bench.scale)
        for kind in ("codec", "uniform", "mixed")
        for lanes, chunk in ((1, 4096), (4, 16384), (32, 4096), (32, 65536), (32, 1 << 20))
    ]
    cases += [("mixed", lanes, 1 << 31, small) for lanes in rans.LANES]  # one chunk: one warp
    for kind, lanes, chunk, count in cases:
        symbols, classes = draw(kind, count, 1)
        expected = rans.encode(symbols, classes, lanes=lanes, chunk=chunk, threads=threads)
        coder = Coder(bench, symbols, classes, lanes, chunk)
        coder.encode()
        same = bench.get(coder.output)[: coder.size()].tobytes() == expected
        coder.open(bench.put(np.frombuffer(expected, np.uint8)))
        cut = count // 3 + 5
        coder.decode(0, cut)
        coder.decode(cut)
        coder.check()
        back = bool(np.array_equal(bench.get(coder.decoded), symbols))
        found.append(
            {
                "kind": kind,
                "lanes": lanes,
                "chunk": chunk,
                "symbols": count,
                "bytes": len(expected),
                "encode_equal": same,
                "decode_equal": back,
            }
        )
        print("rans", found[-1], flush=True)
    return {"cases": found, "all_equal": all(case["encode_equal"] and case["decode_equal"] for case in found)}


def check_planes(bench: DeviceBench) -> dict[str, Any]:
    """Coding order, rounding to symbols and back: a frame of 1080p and an odd size, values of all magnitudes."""
    rng = np.random.default_rng(9)
    found: dict[str, Any] = {}
    for shape in ((8, 17, 19), (3, 5, 6)) if bench.dry else ((128, 68, 120), (7, 33, 61)):
        values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 6, shape)).astype(np.float32)
        classes, means = rng.integers(0, 64, shape).astype(np.uint8), rng.integers(-2032, 2033, shape).astype(np.int16)
        margins, keep = (0.1 * rng.random(64)).astype(np.float32), rng.random(shape[1:]) < 0.8
        ours = [np.zeros(shape, np.int16), np.zeros(shape, np.float32)]
        theirs, again = ([bench.put(plane) for plane in ours] for _ in range(2))
        given, status = [bench.put(array) for array in (values, classes, means)], bench.bytes(8)
        equal = True
        for half in (0, 1):
            checkerboard.quantise(values, classes, means, half, margins=margins, keep=keep, symbols=ours[0],
                                  decoded=ours[1])
            bench.device.quantise_half(*given, half, margins=bench.put(margins), keep=bench.put(keep), status=status,
                                       symbols=theirs[0], decoded=theirs[1], cuda_stream=bench.stream)
            bench.device.check(status, cuda_stream=bench.stream)
            coded = bench.put(np.zeros(checkerboard.size(shape, half), np.int16))
            bench.device.gather_half(theirs[0], coded, half, cuda_stream=bench.stream)
            bench.device.dequantise_half(coded, given[2], half, symbols=again[0], decoded=again[1],
                                         cuda_stream=bench.stream)
            equal &= bench.get(coded).tobytes() == checkerboard.gather(ours[0], half).tobytes()
        for plane, first, second in zip(ours, theirs, again, strict=True):
            equal &= plane.tobytes() == bench.get(first).tobytes() == bench.get(second).tobytes()
        found["x".join(map(str, shape))] = equal
    return {**found, "all_equal": all(found.values())}


def check_noise(bench: DeviceBench) -> dict[str, Any]:
    equal = {}
    for offset in (0, 3):
        out = bench.put(np.zeros(bench.scale, np.float32))
        bench.device.normals(out, 7, stream=5, offset=offset, cuda_stream=bench.stream)
        expected = noise.normals(7, stream=5, offset=offset, count=bench.scale)
        equal[f"offset_{offset}"] = bench.get(out).tobytes() == expected.tobytes()
    return {"equal": equal, "all_equal": all(equal.values())}


def check_palette(bench: DeviceBench) -> dict[str, Any]:
    equal = {}
    rng = np.random.default_rng(3)
    device, stream = bench.device, bench.stream
    status = bench.put(np.zeros(2, np.int64))
    count = bench.scale
    nodes, classes = rng.integers(0, 128, count, np.uint8), rng.integers(64, 192, count, np.uint8)
    out = bench.put(np.zeros(count, np.uint8))
    device.sample_child(
        bench.put(nodes), bench.put(classes), out, status, seed=1, stream=2, offset=8, cuda_stream=stream
    )
    device.check(status, cuda_stream=stream)
    equal["sample_child"] = bool(
        np.array_equal(bench.get(out), palette.sample_child(nodes, classes, seed=1, stream=2, offset=8))
    )
    for categories in (16, 64, 256, 37):
        count = max(1000, bench.scale // categories // 2)
        logits = rng.integers(-1500, 1500, (count, categories), np.int16)
        ways: list[tuple[Any, int]] = [(palette.Uniform(0.3, 0.5), categories)]
        if categories < 256:
            ways.append((palette.Absorbing(0.3, 0.5), categories + 1))
        if categories != 37:
            ways += [(palette.Tree(0), 1), (palette.Tree(2), 4), (palette.Tree(1, categories.bit_length() - 1), 2)]
        for transition, states in ways:
            given = rng.integers(0, states, count).astype(np.uint8)
            out = bench.put(np.zeros(count, np.uint8))
            device.posterior_sample(
                bench.put(logits),
                bench.put(given),
                out,
                status,
                transition,
                seed=1,
                stream=2,
                offset=3,
                cuda_stream=stream,
            )
            device.check(status, cuda_stream=stream)
            expected = palette.posterior_sample(logits, given, transition, seed=1, stream=2, offset=3)
            equal[f"posterior {categories} {transition}"] = bool(np.array_equal(bench.get(out), expected))
    vectors = rng.normal(0, 2, (max(1000, bench.scale // 100), 8)).astype(np.float32)
    leaves = rng.normal(0, 2, (64, 8)).astype(np.float32)
    out = bench.put(np.zeros(len(vectors), np.uint8))
    device.nearest(bench.put(vectors), bench.put(leaves), out, status, cuda_stream=stream)
    device.check(status, cuda_stream=stream)
    equal["nearest"] = bool(np.array_equal(bench.get(out), palette.nearest(vectors, leaves)))
    return {"equal": equal, "all_equal": all(equal.values())}


def check_tree(bench: DeviceBench) -> dict[str, Any]:
    equal = {}
    rng = np.random.default_rng(4)
    for count, channels, depth in ((max(500, bench.scale // 500), 8, 6), (max(100, bench.scale // 20000), 100, 8)):
        vectors = rng.normal(0, 2, (count, channels)).astype(np.float32)
        expected = palette.build_tree(vectors, depth)
        nodes = bench.put(np.zeros((2 ** (depth + 1) - 1, channels), np.float32))
        populations = bench.put(np.zeros(2 ** (depth + 1) - 1, np.int64))
        status = bench.put(np.zeros(2, np.int64))
        scratch = bench.bytes(bench.device.tree_scratch_bytes(count, channels, depth))
        bench.device.build_tree(
            bench.put(vectors),
            depth,
            nodes,
            populations,
            status,
            scratch,
            step=expected.step,
            cuda_stream=bench.stream,
        )
        bench.device.check(status, cuda_stream=bench.stream)
        same = bench.get(nodes).tobytes() == np.concatenate(expected.nodes).tobytes()
        equal[f"{count} x {channels}, depth {depth}"] = same and bool(
            np.array_equal(bench.get(populations), np.concatenate(expected.populations))
        )
    return {"equal": equal, "all_equal": all(equal.values())}


def _verdict(work: Callable[[], np.ndarray]) -> tuple[str, bytes]:
    try:
        return "accepted", work().tobytes()
    except BitstreamError:
        return "refused", b""


def check_damage(bench: DeviceBench) -> dict[str, Any]:
    """Streams with a few altered bytes, or cut off: the CPU's verdict, and no error of the driver."""
    rng = np.random.default_rng(5)
    symbols, classes = draw("mixed", 20000, 2)
    unlike: list[int] = []
    accepted = 0
    streams = [
        rans.encode(symbols, classes, lanes=lanes, chunk=chunk)
        for lanes, chunk in ((32, 1024), (4, 1024), (1, 1 << 20), (32, 1 << 20))
    ]
    coder = Coder(bench, symbols, classes, 32, 32)
    for number in range(bench.mutations):
        data = bytearray(streams[number % len(streams)])
        reach = 200 if number % 3 == 0 else len(data)  # many in the header
        for place in rng.integers(0, reach, rng.integers(1, 4)):
            data[place] ^= int(rng.integers(1, 256))
        if number % 5 == 0:
            del data[int(rng.integers(0, len(data))) :]

        def on_cpu(data: bytes = bytes(data)) -> np.ndarray:
            decoder = rans.Decoder(data)
            parts = [decoder.decode(classes[:7000]), decoder.decode(classes[7000:])]
            decoder.finish()
            return np.concatenate(parts)

        def on_device(data: bytes = bytes(data)) -> np.ndarray:
            coder.open(bench.put(np.frombuffer(data, np.uint8)))
            coder.decode(0, 7000)
            coder.decode(7000)
            coder.check()
            return bench.get(coder.decoded)

        expected = _verdict(on_cpu)
        accepted += expected[0] == "accepted"
        if _verdict(on_device) != expected:
            unlike.append(number)
    return {
        "mutations": bench.mutations,
        "accepted_by_both": accepted,
        "unlike_the_cpu": unlike,
        "all_equal": not unlike,
    }


def check_layers(bench: DeviceBench) -> dict[str, Any]:
    """Texture, windows, pictures, gain maps and motion: bytes and microseconds of every program."""
    return compare(bench)


def check_graph(bench: DeviceBench) -> dict[str, Any]:
    """Encoding, opening, decoding and finishing captured once and replayed on other symbols; motion on other planes."""
    if bench.dry:
        return {"skipped": "there are no graphs on the CPU", "all_equal": True}
    torch = bench.torch
    first = draw("mixed", 1_000_000, 1)
    coder = Coder(bench, *first, 32, 8192)
    coder.encode_scratch = bench.bytes(bench.device.encode_scratch_bytes(coder.count, 8192))
    coder.output = bench.bytes(bench.device.encode_output_bytes(coder.count, 8192))

    def whole() -> None:
        stream = bench.stream
        coder.encode()
        coder.decoder = bench.device.decoder(coder.output, coder.state, size=coder.result, cuda_stream=stream)
        coder.decode()
        coder.decoder.finish(cuda_stream=stream)

    whole()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        whole()
    equal = []
    for seed in (2, 3):
        symbols, classes = draw("mixed", coder.count, seed)
        coder.symbols.copy_(torch.from_numpy(symbols))
        coder.classes.copy_(torch.from_numpy(classes))
        graph.replay()
        torch.cuda.synchronize()
        expected = rans.encode(symbols, classes, lanes=32, chunk=8192)
        coder.decoder.check(cuda_stream=bench.stream)
        equal.append(
            bench.get(coder.output)[: coder.size()].tobytes() == expected
            and bool(np.array_equal(bench.get(coder.decoded), symbols))
        )
    motion = replays(bench)
    return {"replays_equal": equal, "motion_equal": motion, "all_equal": all(equal) and all(motion.values())}
