"""What the human view of a conditional denoiser costs: multiply-adds, and seconds for new, moving and still frames.

    python -m bench.human_time [--profile FOLDER | --channels 192,288,384 --blocks 3,3,4] [--out FILE]

A profile whose denoiser is of the first generation gets one with random weights of the given shape, in a copy: time
does not depend on what the weights are. A new frame is one of which every window is computed; moving and still frames
are those of a clip, and of its first picture again and again with the noise of a camera, after the first one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import av
import numpy as np
import onnx
from onnx import numpy_helper

from bench.media import clip, frames, rgb
from bench.pictures import rgb_frame
from bench.result import RESULTS, measured, write
from duoview import Decoder, Encoder, Profile
from duoview.generation import Generation
from duoview.windows import DEFAULT_TILE, Windows

CAMERA_NOISE = 1.5


@dataclass(frozen=True)
class Settings:
    """The clip and the size it is scaled to, quality, frames of each kind, windows' side, the denoiser's shape."""

    clip: str
    width: int
    height: int
    q: int
    frames: int
    tile: int
    random_weights: bool
    shape: Generation


@dataclass(frozen=True)
class Cost:
    """One number of steps and threads: seconds by the wall and of the processor, medians, and the least by the wall.

    computed: share of the windows that were computed.
    """

    steps: int
    threads: int
    new_wall: float
    new_least: float
    new_cpu: float
    moving_wall: float
    moving_least: float
    moving_cpu: float
    moving_computed: float
    still_wall: float
    still_least: float
    still_cpu: float
    still_computed: float


@dataclass(frozen=True)
class Results:
    """windows: how many, and their sides. Multiply-adds of the denoiser: a window and step; a picture's pixel and step.

    parameters, bytes: of its file. decoder: the network that shows what it makes, with its multiply-adds a pixel of the
    picture, the padding's included, its parameters and bytes.
    """

    windows: int
    window: tuple[int, int]
    window_step_macs: int
    kmac_a_pixel_and_step: float
    parameters: int
    bytes: int
    decoder: str
    decoder_kmac_a_pixel: float
    decoder_parameters: int
    decoder_bytes: int
    costs: tuple[Cost, ...]


def convolution_macs(path: Path, height: int, width: int) -> int:
    """Multiply-adds of all convolutions for a window of so many latent positions."""
    model = onnx.load(str(path))
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4:
            dims[0].dim_value = 1
            share = 4 if value.name == "caption" else 1
            dims[2].dim_value, dims[3].dim_value = height // share, width // share
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in inferred.graph.value_info}
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    weights = {one.name: numpy_helper.to_array(one).shape for one in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            kernel = weights[casts.get(node.input[1], node.input[1])]
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(kernel[1:]))
    return total


def parameters(path: Path) -> int:
    """Numbers in a network's file."""
    return sum(int(np.prod(one.dims)) for one in onnx.load(str(path)).graph.initializer)


def random_profile(profile: Profile, folder: Path, channels: tuple[int, int, int], blocks: tuple[int, int, int]
                   ) -> Profile:
    """A copy of a profile with a conditional denoiser of random weights."""
    import torch

    from duoview.export.profile import add_human
    from duoview.models.conditional_denoiser import CaptionEncoder, ConditionalDenoiser

    torch.manual_seed(0)
    shutil.copytree(profile.folder, folder)
    shape = Generation(channels, blocks, 64)
    add_human(ConditionalDenoiser(profile.sizes.latent, shape).eval(), CaptionEncoder(64).eval(), folder)
    return Profile(folder)


def coded(profile: Profile, pictures: Sequence[av.VideoFrame], q: int) -> list[av.Packet]:
    """Access units, the first a key unit."""
    encoder = Encoder(pictures[0].width, pictures[0].height, rate=25, q=q, gop=1 << 20, profile=profile, threads=2)
    return [packet for picture in pictures for packet in encoder.encode(picture)]


def camera(picture: av.VideoFrame, count: int) -> list[av.VideoFrame]:
    """A picture again and again, with noise."""
    random, samples = np.random.default_rng(1), rgb(picture).astype(np.float32)
    return [rgb_frame(np.clip(samples + random.normal(0, CAMERA_NOISE, samples.shape), 0, 255).astype(np.uint8))
            for _ in range(count)]


def played(decoder: Decoder, packets: Sequence[av.Packet]) -> tuple[list[float], list[float], float]:
    """Wall and processor seconds of all frames after the first, and the share of their windows that was computed."""
    decoder.decode(packets[0])
    human = decoder._human
    assert human is not None
    before, wall, cpu = (human.computed, human.kept), [], []
    for packet in packets[1:]:
        began = time.perf_counter(), time.process_time()
        decoder.decode(packet)
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    total = (len(packets) - 1) * before[0]
    return wall, cpu, (human.computed - before[0]) / total


def cost(profile: Profile, moving: Sequence[av.Packet], still: Sequence[av.Packet], steps: int, threads: int,
         count: int) -> Cost:
    """New frames: the first of the clip, each time without what was computed before."""
    decoder = Decoder(profile=profile, view="human", steps=steps, threads=threads, tile=DEFAULT_TILE, strict=True)
    wall, cpu = [], []
    for index in range(count + 1):
        if decoder._human is not None:
            decoder._human._results.clear()
        decoder.reset()
        began = time.perf_counter(), time.process_time()
        decoder.decode(moving[0])
        if index:  # the first loads the networks and warms up
            wall.append(time.perf_counter() - began[0])
            cpu.append(time.process_time() - began[1])
    parts = []
    for packets in (moving, still):
        fresh = Decoder(profile=profile, view="human", steps=steps, threads=threads, tile=DEFAULT_TILE, strict=True)
        times, processor, computed = played(fresh, packets)
        parts.append((median(times), min(times), median(processor), computed))
    return Cost(steps, threads, median(wall), min(wall), median(cpu), *parts[0], *parts[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.human_time", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--channels", default="192,288,384", help="of random weights")
    parser.add_argument("--blocks", default="3,3,4", help="of random weights")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--size", default="640x360", help="of the picture")
    parser.add_argument("--frames", type=int, default=12, help="of each kind")
    parser.add_argument("--q", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS / "human_time.json")
    options = parser.parse_args(arguments)
    width, height = (int(part) for part in options.size.split("x"))
    profile = Profile(options.profile)
    with tempfile.TemporaryDirectory() as folder:
        random_weights = profile.generation is None
        if random_weights:
            shape = [tuple(int(part) for part in text.split(",")) for text in (options.channels, options.blocks)]
            profile = random_profile(profile, Path(folder) / "profile", shape[0], shape[1])  # type: ignore[arg-type]
        assert profile.generation is not None
        pictures = list(frames(clip("bikes.mp4"), limit=options.frames + 1, width=width, height=height))
        streams = [coded(profile, part, options.q) for part in (pictures, camera(pictures[0], options.frames + 1))]
        windows = Windows(-(-height // 64) * 8, -(-width // 64) * 8, DEFAULT_TILE)
        path = profile.path("denoiser")
        macs, count = convolution_macs(path, *windows.side), len(windows.areas)
        shower = profile.path(profile.human_view_network)
        shown_macs = convolution_macs(shower, windows.rows, windows.columns)
        costs = []
        for threads in options.threads:
            for steps in options.steps:
                costs.append(cost(profile, streams[0], streams[1], steps, threads, options.frames))
                print(costs[-1], flush=True)
        results = Results(count, windows.side, macs, macs * count / (width * height) / 1000, parameters(path),
                          path.stat().st_size, profile.human_view_network, shown_macs / (width * height) / 1000,
                          parameters(shower), shower.stat().st_size, tuple(costs))
        settings = Settings("bikes.mp4", width, height, options.q, options.frames, DEFAULT_TILE, random_weights,
                            profile.generation)
        print(f"{count} windows of {windows.side}, {results.kmac_a_pixel_and_step:.1f} kMAC a pixel and step; shown by "
              f"{results.decoder}, {results.decoder_kmac_a_pixel:.1f} kMAC a pixel")
        write(options.out, measured("Seconds a frame of the human view, its decoder and colour controller included",
                                    profile, settings, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
