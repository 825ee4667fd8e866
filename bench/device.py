"""Where the kernels of a device are measured: its arrays, its clock, and the symbols that are coded there."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np

from duoview.kernels import rans
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import CudaDriver


class DeviceBench:
    """Where the arrays lie and how time is taken: torch on a CUDA device, or numpy for a dry run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dry = options.dry_run
        self.scale = options.symbols
        self.repeats = options.repeats
        self.mutations = options.mutations
        self.result: dict[str, Any] = {"script": "kernels", "symbols": options.symbols}
        self.device = self._open(options.through)

    def _open(self, through: str) -> Device:
        if self.dry:
            self.result["through"] = "the CPU, lane by lane"
            return Device.on_cpu()
        import torch

        self.torch = torch
        torch.zeros(1, device="cuda")  # makes the primary context, and it current in this thread
        properties = torch.cuda.get_device_properties(0)
        self.result |= {"gpu": properties.name, "torch": torch.__version__, "through": f"{through}'s primary context"}
        if through == "pycuda":
            return Device(0)
        return Device.on(CudaDriver(0, (properties.major, properties.minor), nullcontext, properties.name))

    @property
    def stream(self) -> int | None:
        return None if self.dry else self.torch.cuda.current_stream().cuda_stream

    def put(self, array: np.ndarray) -> Any:
        return array.copy() if self.dry else self.torch.from_numpy(array).cuda()

    def bytes(self, size: int) -> Any:
        """Memory with anything in it but zeros."""
        if self.dry:
            return np.full(size, 0xA5, np.uint8)
        return self.torch.full((max(size, 16),), 0xA5, dtype=self.torch.uint8, device="cuda")

    def get(self, array: Any) -> np.ndarray:
        return array if self.dry else array.cpu().numpy()

    def seconds(self, work: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> float:
        """Median over the repeats, by CUDA events where there are any."""
        taken = []
        for _ in range(self.repeats + 2):
            prepare()
            if self.dry:
                began = time.perf_counter()
                work()
                taken.append(time.perf_counter() - began)
                continue
            first, last = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            work()
            last.record()
            last.synchronize()
            taken.append(first.elapsed_time(last) / 1000)
        return statistics.median(taken[2:])  # the first two warm up


@lru_cache(maxsize=1)  # drawing a hundred million takes longer than coding them
def draw(kind: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and classes.

    ``uniform`` and ``codec`` have Gaussian classes 1..63; ``mixed`` has all classes, zeros and escapes.
    """
    rng = np.random.default_rng(seed)
    if kind == "codec":
        classes = np.abs(np.rint(rng.standard_normal(count, np.float32) * 14)).clip(1, 63).astype(np.uint8)
    else:
        classes = rng.integers(1, 64 if kind == "uniform" else 192, count, dtype=np.uint8)
    spread = rans.scales().astype(np.float32)[np.minimum(classes, 63)]
    symbols = np.rint(rng.standard_normal(count, np.float32) * spread).astype(np.int16)
    if kind == "mixed":
        wild = rng.random(count, np.float32) < 0.003
        symbols[wild] = rng.integers(-32768, 32768, int(wild.sum()))
        binary = classes >= 64
        symbols[binary] = rng.integers(0, 2, int(binary.sum()))
        skipped = rng.random(count, np.float32) < 0.3
        classes[skipped] = symbols[skipped] = 0
    return symbols, classes


class Coder:
    """Memory for coding one array on the device."""

    def __init__(self, bench: DeviceBench, symbols: np.ndarray, classes: np.ndarray, lanes: int, chunk: int) -> None:
        self.bench, self.lanes, self.chunk = bench, lanes, chunk
        self.count = count = symbols.size
        device = bench.device
        self.chunks = min(65536, -(-count // chunk) or 1)
        escapes = count // 100 + 1000
        self.symbols, self.classes = bench.put(symbols), bench.put(classes)
        self.output = bench.bytes(device.encode_output_bytes(count, chunk, min(count, escapes)))
        self.result = bench.put(np.zeros(2, np.int64))
        self.encode_scratch = bench.bytes(device.encode_scratch_bytes(count, chunk, min(count, escapes)))
        self.state = bench.bytes(device.decode_state_bytes(self.chunks))
        self.decode_scratch = bench.bytes(device.decode_scratch_bytes(count))
        self.decoded = bench.put(np.full(count, 77, np.int16))

    def encode(self) -> None:
        self.bench.device.encode(
            self.symbols,
            self.classes,
            self.output,
            self.result,
            self.encode_scratch,
            chunk=self.chunk,
            lanes=self.lanes,
            cuda_stream=self.bench.stream,
        )

    def size(self) -> int:
        return self.bench.device.check_encode(self.result, cuda_stream=self.bench.stream)

    def open(self, data: Any) -> None:
        self.decoder = self.bench.device.decoder(data, self.state, cuda_stream=self.bench.stream)

    def decode(self, begin: int = 0, end: int | None = None) -> None:
        part = slice(begin, end)
        self.decoder.decode(
            self.classes[part], self.decoded[part], self.decode_scratch, cuda_stream=self.bench.stream
        )

    def check(self) -> None:
        self.decoder.finish(cuda_stream=self.bench.stream)
        self.decoder.check(cuda_stream=self.bench.stream)
