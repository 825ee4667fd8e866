"""One stream, every pair of backends: the same symbols from whoever encoded it, and views that stay together.

    python -m bench.backend_matrix [--frames 2000] [--width 192] [--height 128] [--int8 FOLDER] [--cache FOLDER]
                                   [--out bench/results/backend_matrix.json]

Each backend that there is encodes one key frame and then P frames alone, and each decodes what each encoded. Views are
compared with those that the encoding backend shows itself, for a backend with itself by decoding twice. Pairs with a
backend that the machine lacks are listed with the reason; they count as not run. ``--int8`` is a folder of
``duoview export -precision int8``; without it that way is not run. The exit code is 1 where a backend or a pair breaks
off, symbols differ, views agree at less than 45 dB, or, from 1,000 frames on, there is a trend (of what is handed on
from frame to frame something differs, and the last quarter's views are further apart than the second's).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from bench.result import RESULTS, measured, write
from duoview import Decoder, Encoder, Profile
from duoview.backends import Backend, CpuBackend, Network, open_backend
from duoview.backends.engine_cache import EngineCache
from duoview.backends.engine_shapes import units
from duoview.backends.onnxruntime_cuda import CudaBackend
from duoview.backends.onnxruntime_tensorrt import OnnxRuntimeTensorRtBackend
from duoview.backends.tensorrt_cuda import TensorRtBackend
from duoview.backends.tensorrt_toolkit import TensorRt
from duoview.errors import Error
from duoview.golden import STATE_NETWORKS
from duoview.picture import PictureReader

NAMES = ("torch-cpu", "torch-cuda", "onnxruntime-cpu", "onnxruntime-cpu-int8", "onnxruntime-cuda",
         "onnxruntime-cuda-graphs", "onnxruntime-tensorrt", "tensorrt")
#: Machine views agree to so many dB; the mean of the last quarter of frames is at most so much below that of the
#: second, in streams of so many frames or more. In the first quarter little has been handed on yet.
LEAST_DB, TREND_DB, TREND_FRAMES = 45.0, 1.0, 1000
#: What equal views count as.
EQUAL_DB = 99.0
NETWORKS = ("encoder", "decoder", "key_analysis", "key_hyper", "key_context", "key_synthesis", "inter_analysis",
            "inter_hyper", "inter_context", "inter_synthesis")


@dataclass(frozen=True)
class Settings:
    """A drawn scene: one key frame, then P frames."""

    width: int = 192
    height: int = 128
    frames: int = 251
    q: int = 30


@dataclass(frozen=True)
class Way:
    """A backend with the profile that it runs."""

    name: str
    profile: Profile
    backend: Backend


@dataclass(frozen=True)
class NotRun:
    """A backend that the machine lacks; or, `broken`, one that is there and cannot load the networks."""

    name: str
    reason: str
    broken: bool = False


@dataclass(frozen=True)
class Pair:
    """What `decoder` made of what `encoder` coded.

    least_db: PSNR of the machine views that differ most, EQUAL_DB where none differs. trend_db: mean of the last
    quarter of the frames less that of the second. eighths: means of the stream's eighths. handed_on: frames from the
    first on of which z_m, that the next is coded with, is equal to the bit. failure: why it broke off.
    """

    encoder: str
    decoder: str
    frames: int
    symbols_equal: bool
    least_db: float
    trend_db: float
    eighths: tuple[float, ...] = ()
    handed_on: int = 0
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Equal symbols, views near enough, and in a long stream no further from each other in the end.

        Where all that is handed on is equal nothing can gather: how many values a decoder network rounds to another
        level is up to each picture then.
        """
        steady = self.frames < TREND_FRAMES or self.trend_db >= -TREND_DB or self.handed_on == self.frames
        return not self.failure and self.symbols_equal and self.least_db >= LEAST_DB and steady


@dataclass(frozen=True)
class Results:
    """Pairs that were run, and backends that were not."""

    pairs: tuple[Pair, ...]
    not_run: tuple[NotRun, ...]
    passed: bool


def scene(settings: Settings) -> Iterator[av.VideoFrame]:
    """Noise that drifts over a gradient behind a patch that moves: every P frame has symbols."""
    generator = np.random.default_rng(11)
    texture = generator.integers(0, 256, (settings.height // 3, settings.width // 3, 3), np.uint8)
    rows, columns = texture.shape[:2]
    base = np.linspace(40, 200, settings.width)[None, :, None] * np.ones((settings.height, 1, 3))
    for number in range(settings.frames):
        picture = np.clip(base + generator.normal(0, 3, base.shape), 0, 255).astype(np.uint8)
        x = int((settings.width - columns) * (0.5 + 0.5 * math.sin(number / 9)))
        y = int((settings.height - rows) * (0.5 + 0.5 * math.sin(number / 13)))
        picture[y:y + rows, x:x + columns] = texture
        yield av.VideoFrame.from_ndarray(picture, format="rgb24")


def ways(settings: Settings, *, int8: Profile | None, cache: Path, profile: str = "s",
         wanted: Iterable[str] = NAMES) -> tuple[list[Way], list[NotRun]]:
    """The backends of this machine, each with the networks of a stream loaded once, and why others are not there."""
    base, found, lacking = Profile(profile), [], []
    openers: dict[str, Callable[[], Backend]] = {
        "torch-cpu": lambda: _torch("cpu"), "torch-cuda": lambda: _torch("cuda"),
        "onnxruntime-cpu": lambda: CpuBackend(), "onnxruntime-cpu-int8": lambda: CpuBackend(),
        "onnxruntime-cuda": lambda: open_backend("cuda"),
        "onnxruntime-cuda-graphs": lambda: CudaBackend(graphs=True),
        "onnxruntime-tensorrt": lambda: OnnxRuntimeTensorRtBackend(folder=cache / "onnxruntime"),
        "tensorrt": lambda: _tensorrt(base, settings, cache)}
    for name in wanted:
        if name.endswith("-int8") and int8 is None:
            lacking.append(NotRun(name, "no profile in 8 bits was given (duoview export -precision int8)"))
            continue
        try:
            backend = openers[name]()
            used = int8 if int8 is not None and name.endswith("-int8") else base
            for network in NETWORKS:
                used.load(network, backend)
        except (Error, ImportError) as error:
            lacking.append(NotRun(name, " ".join(str(error).split())))
            continue
        except Exception as error:  # noqa: BLE001  what a runtime raises has no common base; the others are run on
            lacking.append(NotRun(name, _why(error), broken=True))
            continue
        found.append(Way(name, used, backend))
    return found, lacking


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _torch(device: str) -> Backend:
    import torch

    from duoview.export.torch_backend import TorchBackend

    if device == "cuda" and not torch.cuda.is_available():
        raise ImportError(f"torch {torch.__version__} finds no GPU")
    return TorchBackend(device)


def _tensorrt(profile: Profile, settings: Settings, folder: Path) -> Backend:
    cache, toolkit = EngineCache(folder), TensorRt()
    from duoview.export.engines import EngineBuilder

    builder = EngineBuilder(cache, toolkit.machine)
    for network in NETWORKS:
        builder.build(profile, network, *units(settings.width, settings.height))
    return TensorRtBackend(cache=cache, toolkit=toolkit)


def psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Of two machine views, at most EQUAL_DB."""
    error = float(np.square(first.astype(np.float32) - second).mean())
    return min(EQUAL_DB, 10 * math.log10(255**2 / error)) if error else EQUAL_DB


def encoded(way: Way, settings: Settings) -> tuple[list[bytes], str]:
    """The units of the scene, and the digest of their symbols."""
    encoder = Encoder(settings.width, settings.height, q=settings.q, gop=settings.frames, profile=way.profile,
                      device=way.backend)
    packets = [bytes(packet) for frame in scene(settings) for packet in encoder.encode(frame)]
    return packets, encoder.symbols_sha256()


class Listening:
    """A backend that keeps digests of what is handed on from frame to frame."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.name = backend, backend.name
        self.digests: list[bytes] = []

    def load(self, path: Path) -> Network:
        network = self.backend.load(path)
        if path.stem not in STATE_NETWORKS:
            return network

        def call(**inputs: NDArray[Any]) -> list[NDArray[Any]]:
            outputs = network(**inputs)
            self.digests.append(hashlib.sha256(np.ascontiguousarray(outputs[0] + np.float32(0))).digest())
            return outputs

        return call


@dataclass(frozen=True)
class Played:
    """Machine views, uint8 (3, H, W), digests of z_m after each frame, and that of the symbols."""

    views: list[NDArray[np.uint8]]
    handed_on: list[bytes]
    symbols: str


def decoded(way: Way, packets: Sequence[bytes]) -> Played:
    """What a backend makes of a stream."""
    backend = Listening(way.backend)
    decoder = Decoder(profile=way.profile, device=backend, strict=True)
    reader, views, handed_on = PictureReader(), list[NDArray[np.uint8]](), list[bytes]()
    for packet in packets:
        for frame in decoder.decode(packet):
            views.append(reader.read(frame)[0, :, :frame.height, :frame.width].copy())
        # The last one: golden vectors are run through the networks too, when they are loaded.
        handed_on.append(backend.digests[-1])
    return Played(views, handed_on, decoder.symbols_sha256())


def matrix(found: Sequence[Way], settings: Settings) -> list[Pair]:
    """Every way encodes, and every way decodes what each encoded."""
    pairs = []
    for encoder in found:
        try:
            packets, symbols = encoded(encoder, settings)
            own = decoded(encoder, packets)
        except Exception as error:  # noqa: BLE001  what a runtime raises has no common base; other pairs are run on
            pairs += [_broken(encoder, decoder, error) for decoder in found]
            continue
        for decoder in found:
            try:
                played = decoded(decoder, packets)
                pairs.append(_compared(encoder, decoder, own, played, equal=played.symbols == symbols))
            except Exception as error:  # noqa: BLE001  as above
                pairs.append(_broken(encoder, decoder, error))
    return pairs


def _compared(encoder: Way, decoder: Way, own: Played, played: Played, *, equal: bool) -> Pair:
    levels = np.array([psnr(*both) for both in zip(own.views, played.views, strict=True)])
    alike = [a == b for a, b in zip(own.handed_on, played.handed_on, strict=True)]
    eighths, quarters = ([float(np.mean(part)) for part in np.array_split(levels, count) if part.size]
                         for count in (8, 4))
    trend = quarters[-1] - quarters[1] if len(quarters) > 2 else 0.0
    return Pair(encoder.name, decoder.name, len(levels), equal, float(levels.min()), trend, tuple(eighths),
                [*alike, False].index(False))


def _broken(encoder: Way, decoder: Way, error: Exception) -> Pair:
    return Pair(encoder.name, decoder.name, 0, False, 0.0, 0.0, failure=_why(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m bench.backend_matrix", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--frames", type=int, default=2001, help="of the stream, the key frame included (default: 2001)")
    p.add_argument("--width", type=int, default=Settings.width)
    p.add_argument("--height", type=int, default=Settings.height)
    p.add_argument("--q", type=int, default=Settings.q)
    p.add_argument("--profile", default="s")
    p.add_argument("--int8", type=Path, help="folder of the profile in 8 bits")
    p.add_argument("--cache", type=Path, help="folder of engines; else a temporary one")
    p.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="backends that are tried")
    p.add_argument("--out", type=Path, default=RESULTS / "backend_matrix.json")
    given = p.parse_args(arguments)
    settings = Settings(given.width, given.height, given.frames, given.q)
    with tempfile.TemporaryDirectory() as folder:
        found, lacking = ways(settings, int8=Profile(given.int8) if given.int8 else None,
                              cache=given.cache or Path(folder), profile=given.profile, wanted=given.only)
        pairs = matrix(found, settings)
    lacking += [NotRun(name, "not asked for (--only)") for name in NAMES if name not in given.only]
    for pair in pairs:
        if pair.failure:
            print(f"{pair.encoder} -> {pair.decoder}: broke off: {pair.failure}: BAD")
            continue
        symbols = "equal" if pair.symbols_equal else "DIFFER"
        print(f"{pair.encoder} -> {pair.decoder}: symbols {symbols}, views agree at {pair.least_db:.1f} dB, trend "
              f"{pair.trend_db:+.2f} dB, z_m equal for {pair.handed_on} of {pair.frames} frames: "
              f"{'good' if pair.passed else 'BAD'}")
    for one in lacking:
        print(f"{one.name}: not run: {one.reason}")
    good = bool(pairs) and all(pair.passed for pair in pairs) and not any(one.broken for one in lacking)
    write(given.out, measured("symbols and machine views of every pair of backends", Profile(given.profile), settings,
                              Results(tuple(pairs), tuple(lacking), good)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
