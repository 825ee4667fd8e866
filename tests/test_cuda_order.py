"""Warps and lanes may run in any order: the CUDA programs give the same on the CPU when the last ones go first.

On a device lanes work side by side. What a lane reads of another's work in the same step shows here as a difference.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from duoview.kernels import BitstreamError, noise, palette, rans
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver

DEVICE = Device.on(HostDriver(backwards=True))


def memory(size: int) -> NDArray[np.uint8]:
    return np.full(size, 0x5A, np.uint8)


def mixed(seed: int, count: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, rans.CLASSES, count).astype(np.uint8)
    symbols = np.where(rng.random(count) < 0.05, rng.integers(-9999, 9999, count), rng.integers(-3, 4, count))
    return np.where(classes >= 64, symbols & 1, np.where(classes == 0, 0, symbols)).astype(np.int16), classes


@pytest.mark.parametrize("lanes", rans.LANES)
@pytest.mark.parametrize("chunk", [32, 1024, 1 << 20])
def test_entropy_coding(lanes: int, chunk: int) -> None:
    symbols, classes = mixed(lanes + chunk, 9000)
    expected = rans.encode(symbols, classes, lanes=lanes, chunk=chunk)
    output, result = memory(DEVICE.encode_output_bytes(9000, chunk)), np.zeros(2, np.uint64)
    scratch = memory(DEVICE.encode_scratch_bytes(9000, chunk))
    DEVICE.encode(symbols, classes, output, result, scratch, lanes=lanes, chunk=chunk)
    assert output[: DEVICE.check_encode(result)].tobytes() == expected
    decoder = DEVICE.decoder(output, memory(DEVICE.decode_state_bytes(512)), size=result)
    decoded = np.zeros(9000, np.int16)
    for part in (slice(0, 1000), slice(1000, 1007), slice(1007, 9000)):
        decoder.decode(classes[part], decoded[part], memory(DEVICE.decode_scratch_bytes(8000)))
    decoder.finish()
    decoder.check()
    assert np.array_equal(decoded, symbols)


def test_damage_is_judged_alike() -> None:
    symbols, classes = mixed(1, 3000)
    rng = np.random.default_rng(2)
    streams = [rans.encode(symbols, classes, lanes=lanes, chunk=chunk) for lanes in rans.LANES for chunk in (256, 4096)]

    def offset(work: Callable[[], object]) -> int | None:
        try:
            work()
        except BitstreamError as fault:
            return fault.offset
        return -1

    for number in range(300):
        data = bytearray(streams[number % len(streams)])
        data[int(rng.integers(len(data) // 2, len(data)))] ^= int(rng.integers(1, 256))

        def run(device: Device, data: bytes = bytes(data)) -> NDArray[np.int16]:
            decoder = device.decoder(np.frombuffer(data, np.uint8), memory(device.decode_state_bytes(64)))
            out = np.zeros(3000, np.int16)
            decoder.decode(classes, out, memory(device.decode_scratch_bytes(3000)))
            decoder.finish()
            decoder.check()
            return out

        assert offset(lambda: run(DEVICE)) == offset(lambda: run(Device.on_cpu()))


def test_noise_and_children() -> None:
    out = np.zeros(7001, np.float32)
    DEVICE.normals(out, 5, stream=6, offset=3)
    assert np.array_equal(out, noise.normals(5, stream=6, offset=3, count=7001))
    rng = np.random.default_rng(3)
    nodes, classes = rng.integers(0, 128, 5000).astype(np.uint8), rng.integers(64, 192, 5000).astype(np.uint8)
    children, status = np.zeros(5000, np.uint8), np.zeros(1, np.uint64)
    DEVICE.sample_child(nodes, classes, children, status, seed=1, stream=2, offset=8)
    assert np.array_equal(children, palette.sample_child(nodes, classes, seed=1, stream=2, offset=8))


@pytest.mark.parametrize("categories", [16, 32, 64, 128, 256, 37])
def test_posterior_samples(categories: int) -> None:
    rng = np.random.default_rng(categories)
    logits = rng.integers(-1500, 1500, (900, categories)).astype(np.int16)
    transitions: list[palette.Uniform | palette.Absorbing | palette.Tree] = [palette.Uniform(0.3, 0.5)]
    if categories != 37:
        transitions.append(palette.Tree(0))
    for transition in transitions:
        states = np.zeros(900, np.uint8)
        if isinstance(transition, palette.Uniform):
            states = rng.integers(0, categories, 900).astype(np.uint8)
        out, status = np.zeros(900, np.uint8), np.zeros(1, np.uint64)
        DEVICE.posterior_sample(logits, states, out, status, transition, seed=1, stream=2, offset=7)
        DEVICE.check(status)
        assert np.array_equal(out, palette.posterior_sample(logits, states, transition, seed=1, stream=2, offset=7))


def test_trees() -> None:
    vectors = np.random.default_rng(4).normal(0, 9, (2000, 5)).astype(np.float32)
    expected = palette.build_tree(vectors, 6)
    nodes, populations = np.zeros((127, 5), np.float32), np.zeros(127, np.int64)
    status, scratch = np.zeros(1, np.uint64), memory(DEVICE.tree_scratch_bytes(2000, 5, 6))
    DEVICE.build_tree(vectors, 6, nodes, populations, status, scratch, step=expected.step)
    DEVICE.check(status)
    assert nodes.tobytes() == np.concatenate(expected.nodes).tobytes()
    assert np.array_equal(populations, np.concatenate(expected.populations))
