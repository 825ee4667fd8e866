"""Symbols, positions and numbers a second of the kernels on a device, and the share of what a copy there moves."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.device import Coder, DeviceBench, draw
from duoview.kernels import palette


def measure_speed(bench: DeviceBench) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("codec", "uniform"):
        symbols, classes = draw(kind, bench.scale, 1)
        for chunk in (2048, 8192, 32768, 131072):
            coder = Coder(bench, symbols, classes, 32, chunk)
            encode = bench.seconds(coder.encode)
            data = coder.output[: coder.size()]
            decode = bench.seconds(coder.decode, prepare=lambda c=coder, d=data: c.open(d))  # type: ignore[misc]
            opened = bench.seconds(lambda c=coder, d=data: (c.open(d), c.decode()))  # type: ignore[misc]
            coder.check()
            found[f"rans.{kind}.chunk_{chunk}"] = {
                "encode_gsym_s": coder.count / encode / 1e9,
                "decode_gsym_s": coder.count / decode / 1e9,
                "open_and_decode_gsym_s": coder.count / opened / 1e9,
                "bits_per_symbol": 8 * len(data) / coder.count,
            }
            print(kind, chunk, found[f"rans.{kind}.chunk_{chunk}"], flush=True)
    size = bench.scale * 10
    source, target = bench.bytes(size), bench.bytes(size)
    copied = bench.seconds(lambda: target.__setitem__(slice(None), source))
    bandwidth = 2 * size / copied
    found["copy_tb_s"] = bandwidth / 1e12
    rng = np.random.default_rng(1)
    status = bench.put(np.zeros(2, np.int64))
    for categories in (16, 64, 256):
        count = max(640, bench.scale * 8 // categories)
        logits, states = bench.put(rng.integers(-1500, 1500, (count, categories), np.int16)), bench.bytes(count)
        out = bench.bytes(count)
        for name, transition, state in (
            ("uniform", palette.Uniform(0.3, 0.5), 3),
            ("tree", palette.Tree(0), 0),
            ("absorbing", palette.Absorbing(0.3, 0.5), categories),
        ):
            if name == "absorbing" and categories == 256:
                continue
            states[:] = state
            if name == "uniform":
                states[:] = bench.put(rng.integers(0, categories, count).astype(np.uint8))
            taken = bench.seconds(
                lambda t=transition, a=logits, b=states, c=out: bench.device.posterior_sample(  # type: ignore[misc]
                    a, b, c, status, t, seed=1, stream=2, cuda_stream=bench.stream
                )
            )
            bench.device.check(status, cuda_stream=bench.stream)
            found[f"posterior.{name}.k{categories}"] = {
                "gpos_s": count / taken / 1e9,
                "of_copy": count * (2 * categories + 2) / taken / bandwidth,
            }
            print(name, categories, found[f"posterior.{name}.k{categories}"], flush=True)
    normals = bench.put(np.zeros(bench.scale, np.float32))
    taken = bench.seconds(lambda: bench.device.normals(normals, 1, stream=2, offset=0, cuda_stream=bench.stream))
    found["normals_g_s"] = bench.scale / taken / 1e9
    return found
