"""Trains the learned baseline of `bench accuracy`, a network per lambda, each beginning where the one before it ended.

    python -m bench.accuracy.train_hyperprior --pictures FOLDER ... --out FOLDER [--steps 100000] [--device cuda]

The loss is that of Ballé et al. (2018): lambda * 255**2 * MSE + bits per pixel. A lambda whose file is there is
skipped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.accuracy.clip import PICTURES
from bench.accuracy.hyperprior import STRIDE, Hyperprior, load, save

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
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    if options.patch < STRIDE or options.patch % STRIDE or min(options.steps, options.batch) < 1:
        parser.error(f"--patch {options.patch}: expected a multiple of {STRIDE}; --steps and --batch 1 or more")
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
        patches = _patches(paths, options.patch, options.batch, np.random.default_rng([options.seed, number]))
        _train(network.to(options.device), patches, trade, steps, options.rate)
        save(network.cpu(), path, trade)
        print(f"wrote {path}", flush=True)
    return 0


def _train(network: Hyperprior, patches: Iterator[Tensor], trade: float, steps: int, rate: float) -> None:
    network.train()
    device = next(network.parameters()).device
    own = [value for name, value in network.named_parameters() if not name.endswith("quantiles")]
    tables = [value for name, value in network.named_parameters() if name.endswith("quantiles")]
    optimiser, aside = torch.optim.Adam(own, lr=rate), torch.optim.Adam(tables, lr=1e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate if step < 0.8 * steps else rate / 10
        pictures = next(patches).to(device)
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
        if step % 500 == 0 or step == steps - 1:
            print(f"lambda {trade:g}, step {step}: loss {loss.item():.4f}, {bits.item() / pixels:.4f} bits a pixel, "
                  f"PSNR {-10 * torch.log10(error).item():.2f} dB", flush=True)


def _patches(paths: Sequence[Path], side: int, batch: int, random: np.random.Generator) -> Iterator[Tensor]:
    """Batches of random patches, mirrored at random; pictures too small are enlarged."""
    while True:
        chosen = []
        for index in random.integers(len(paths), size=batch):
            with Image.open(paths[index]) as file:
                picture = file.convert("RGB")
            if min(picture.size) < side:
                factor = side / min(picture.size)
                picture = picture.resize((max(side, round(picture.width * factor)),
                                          max(side, round(picture.height * factor))), Image.Resampling.BICUBIC)
            left, top = (int(random.integers(length - side + 1)) for length in picture.size)
            patch = np.asarray(picture.crop((left, top, left + side, top + side)))
            chosen.append(patch[:, ::-1] if random.integers(2) else patch)
        yield torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    sys.exit(main())
