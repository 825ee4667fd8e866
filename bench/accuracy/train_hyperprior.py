"""Trains the learned baseline of `bench accuracy`, a network per lambda, each beginning where the one before it ended.

    python -m bench.accuracy.train_hyperprior --pictures FOLDER ... --out FOLDER [--steps 100000] [--device cuda]

The loss is that of Ballé et al. (2018): lambda * 255**2 * MSE + bits per pixel. A lambda whose file is there is
skipped; one that was stopped goes on from LAMBDA.part, which is written every 500 steps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from bench.accuracy.clip import PICTURES
from bench.accuracy.hyperprior import STRIDE, Hyperprior, load, save

KEEP_EVERY = 500  # steps from one checkpoint to the next
#: From many bytes to few: the highest rate teaches the transforms most.
LAMBDAS = (0.0483, 0.025, 0.013, 0.0067, 0.0035, 0.0018, 0.0009, 0.00045)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write."""
    parser = argparse.ArgumentParser(prog="bench.accuracy.train_hyperprior",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder of the networks, LAMBDA.pt")
    parser.add_argument("--lambdas", nargs="+", type=float, default=LAMBDAS)
    parser.add_argument("--steps", type=int, default=100_000, help="of the first network; the others get a quarter")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=256, help=f"side of the patches, a multiple of {STRIDE}")
    parser.add_argument("--channels", nargs=2, type=int, default=(128, 192), metavar=("N", "M"))
    parser.add_argument("--rate", type=float, default=1e-4, help="of learning; a tenth in the last fifth of the steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures; 0: none beside this one")
    parser.add_argument("--bf16", action="store_true", help="convolve in bfloat16; faster on CPUs that can")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    if options.patch < STRIDE or options.patch % STRIDE or min(options.steps, options.batch) < 1 or options.workers < 0:
        parser.error(f"--patch {options.patch}: expected a multiple of {STRIDE}; --steps and --batch 1 or more, "
                     "--workers 0 or more")
    paths = [path for folder in options.pictures for path in sorted(folder.rglob("*"))
             if path.suffix.lower() in PICTURES]
    if not paths:
        parser.error("--pictures: no folder with any picture")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    network = Hyperprior(*options.channels)
    for number, trade in enumerate(options.lambdas):
        path = options.out / f"{trade:g}.pt"
        if path.is_file():
            network, _ = load(path)
            print(f"{path}: there", flush=True)
            continue
        steps = options.steps if number == 0 else max(1, options.steps // 4)
        part = path.with_suffix(".part")
        done = torch.load(part, weights_only=True)["step"] if part.is_file() else 0
        seed = (options.seed, number, done)  # what was seen before the checkpoint does not come again
        torch.manual_seed(options.seed + done)
        patches = DataLoader(_Patches(paths, options.patch, options.batch, seed), batch_size=None,
                             num_workers=options.workers)
        _train(network.to(options.device, memory_format=torch.channels_last), iter(patches), trade, steps, options.rate,
               options.bf16, part)
        save(network.cpu(), path, trade)
        part.unlink(missing_ok=True)
        print(f"wrote {path}", flush=True)
    return 0


def _train(network: Hyperprior, patches: Iterator[Tensor], trade: float, steps: int, rate: float,
           bf16: bool = False, part: Path | None = None) -> None:
    """part: what was reached is kept there; a run that finds it goes on with other patches than it would have seen."""
    network.train()
    device = next(network.parameters()).device
    own = [value for name, value in network.named_parameters() if not name.endswith("quantiles")]
    tables = [value for name, value in network.named_parameters() if name.endswith("quantiles")]
    optimiser, aside = torch.optim.Adam(own, lr=rate), torch.optim.Adam(tables, lr=1e-3)
    first = 0
    if part is not None and part.is_file():
        state = torch.load(part, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        aside.load_state_dict(state["aside"])
        first = state["step"]
        print(f"{part}: going on at step {first}", flush=True)
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = rate if step < 0.8 * steps else rate / 10
        pictures = next(patches).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            decoded, bits = network(pictures)
        pixels = pictures.shape[0] * pictures.shape[2] * pictures.shape[3]
        error = torch.mean((decoded - pictures) ** 2)
        loss = trade * 255**2 * error + bits / pixels
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimiser.step()
        aside.zero_grad()
        network.bottleneck.loss().backward()
        aside.step()
        if part is not None and (step + 1) % KEEP_EVERY == 0:
            temporary = part.with_suffix(".tmp")
            torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(),
                        "aside": aside.state_dict(), "step": step + 1}, temporary)
            temporary.replace(part)
        if step % 500 == 0 or step == steps - 1:
            print(f"lambda {trade:g}, step {step}: loss {loss.item():.4f}, {bits.item() / pixels:.4f} bits a pixel, "
                  f"PSNR {-10 * torch.log10(error).item():.2f} dB", flush=True)


class _Patches(IterableDataset[Tensor]):
    """Batches of random patches without end, mirrored at random; pictures too small are enlarged."""

    def __init__(self, paths: Sequence[Path], side: int, batch: int, seed: tuple[int, ...]) -> None:
        self._paths, self._side, self._batch, self._seed = paths, side, batch, seed

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        random = np.random.default_rng((*self._seed, worker.id if worker is not None else 0))
        while True:
            chosen = np.stack([self._patch(random) for _ in range(self._batch)])
            yield torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 255

    def _patch(self, random: np.random.Generator) -> NDArray[np.uint8]:
        side = self._side
        with Image.open(self._paths[random.integers(len(self._paths))]) as file:
            picture = file.convert("RGB")
        if min(picture.size) < side:
            factor = side / min(picture.size)
            picture = picture.resize((max(side, round(picture.width * factor)),
                                      max(side, round(picture.height * factor))), Image.Resampling.BICUBIC)
        left, top = (int(random.integers(length - side + 1)) for length in picture.size)
        patch = np.asarray(picture.crop((left, top, left + side, top + side)))
        return patch[:, ::-1] if random.integers(2) else patch


if __name__ == "__main__":
    sys.exit(main())
