"""Streams at once on one device, each in a thread and on a CUDA stream of its own: frames a second and memory.

All begin at the same moment. The units of the first stream are those that it has alone where ``same_units`` says so,
and give the same symbols to ``duoview.Decoder`` on the CPU in any case: float networks may round otherwise in a batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from duoview import Decoder
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks

#: Seconds that a thread has for all that it does.
PATIENCE = 300.0
#: Units of the first stream that are decoded on the CPU.
COMPARED = 4


def _together(works: Sequence[Callable[[], Any]]) -> tuple[list[Any], float]:
    """What each gives, all of them at once, and the seconds until the last one is done. Raises what one of them raises.
    """
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []
    begin = threading.Barrier(len(works) + 1)

    def run(number: int) -> None:
        begin.wait(PATIENCE)
        try:
            results[number] = works[number]()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(works))]
    for thread in threads:
        thread.start()
    begin.wait(PATIENCE)
    began = time.perf_counter()
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            raise TimeoutError(f"a stream is not done after {PATIENCE:g} s")
    seconds = time.perf_counter() - began
    if errors:
        raise errors[0]
    return results, seconds


def streams(networks: DeviceNetworks, pictures: Sequence[Any], *, count: int, rounds: int, batch: int, q: int
            ) -> dict[str, Any]:
    """``count`` streams of ``rounds`` P frames each, of device pictures (3, H, W) uint8, encoded and then decoded.

    batch: of ``DeviceNetworks.fork``. What is measured begins behind the key frame and three P frames.
    """
    height, width = (int(side) for side in pictures[0].shape[1:])
    first = 4
    forks = [networks.fork(batch=batch) if batch > 1 else networks.fork() for _ in range(count)]
    encoders = [DeviceEncoder(fork, width, height, q=q, gop=1 << 20) for fork in forks]
    decoders = [DeviceDecoder(fork, strict=True) for fork in forks]

    def encode(number: int, begin: int, end: int) -> Callable[[], list[bytes]]:
        encoder = encoders[number]

        def work() -> list[bytes]:
            try:
                return [bytes(encoder.encode(pictures[(number + n) % len(pictures)])) for n in range(begin, end)]
            finally:
                encoder.close()  # the others wait for it no more

        return work

    def decode(number: int, given: list[bytes]) -> Callable[[], int]:
        decoder, fork = decoders[number], forks[number]

        def work() -> int:
            try:
                return sum(len(decoder.decode(unit)) for unit in given)
            finally:
                fork.leave()

        return work

    warm, _ = _together([encode(number, 0, first) for number in range(count)])
    measured, encoding = _together([encode(number, first, first + rounds) for number in range(count)])
    _together([decode(number, units) for number, units in enumerate(warm)])
    shown, decoding = _together([decode(number, units) for number, units in enumerate(measured)])
    memory = networks.memory_taken
    batchers = list(networks._shared.batchers.values())
    largest = max((one.largest for one in batchers), default=1)
    units = [*warm[0], *measured[0]]
    single = DeviceEncoder(networks.fork(), width, height, q=q, gop=1 << 20)
    alone = [bytes(single.encode(pictures[n % len(pictures)])) for n in range(len(units))]
    counting, host = DeviceDecoder(networks.fork(), strict=True, digest=True), Decoder(profile=networks.profile,
                                                                                      strict=True)
    for unit in units[:COMPARED]:
        counting.decode(unit)
        host.decode(unit)
    same_symbols = counting.symbols_sha256() == host.symbols_sha256()
    return {"size": f"{width}x{height}", "streams": count, "rounds": rounds, "batch": batch, "largest_batch": largest,
            "networks": networks.backend.name, "encode_fps": count * rounds / encoding,
            "decode_fps": count * rounds / decoding, "encode_fps_each": rounds / encoding,
            "decode_fps_each": rounds / decoding, "memory_mib_each": memory / count / (1 << 20),
            "same_units": units == alone, "same_symbols": same_symbols,
            "good": same_symbols and shown == [rounds] * count}
