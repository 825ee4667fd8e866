"""The learned baseline: the scale hyperprior of Ballé et al. (2018) from parts of compressai, on one picture at a time.

Needs torch, scipy and compressai (extra ``train``). The weights are trained by `bench.accuracy.train_hyperprior`; none
come with us.
"""

from __future__ import annotations

import importlib
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

#: Pixels that one position of the hyper latent stands for: sides are filled up to multiples of it.
STRIDE = 64
_HEADER = struct.Struct("<HHI")


def compressai(part: str) -> ModuleType:
    """A module of compressai, such as ``entropy_models``, without the package around it.

    Its ``__init__`` imports data sets and with them torchvision and torch_geometric, which often do not load beside a
    CPU-only torch. A parent that holds only what its modules ask for stands in for it, unless the real one is there.

    Raises ModuleNotFoundError when it is not installed.
    """
    parent = sys.modules.get("compressai")
    if parent is None:
        spec = find_spec("compressai")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("the learned baseline needs compressai: pip install --no-deps compressai==1.2.8")
        parent = ModuleType("compressai")
        parent.__path__ = list(spec.submodule_search_locations)
        sys.modules["compressai"] = parent
    if not hasattr(parent, "get_entropy_coder"):
        registry: Any = ModuleType("compressai.registry")
        for kind in ("criterion", "dataset", "model", "module", "optimizer", "scheduler", "transform"):
            setattr(registry, f"register_{kind}", lambda *_: lambda decorated: decorated)
        sys.modules["compressai.registry"] = registry
        vars(parent).update(get_entropy_coder=lambda: "ans", available_entropy_coders=lambda: ["ans"])
    return importlib.import_module(f"compressai.{part}")


class Hyperprior(nn.Module):
    """channels: of the transforms, and of the latent; the paper has 128 and 192 at low rates."""

    def __init__(self, channels: int = 128, latent: int = 192) -> None:
        super().__init__()
        if not (1 <= channels <= 1024 and 1 <= latent <= 1024):
            raise ValueError(f"channels={channels}, latent={latent}: expected 1 to 1024 each")
        self.channels, self.latent = channels, latent
        models, gdn = compressai("entropy_models"), compressai("layers").GDN
        n, m = channels, latent
        self.analysis = nn.Sequential(_down(3, n), gdn(n), _down(n, n), gdn(n), _down(n, n), gdn(n), _down(n, m))
        self.synthesis = nn.Sequential(_up(m, n), gdn(n, inverse=True), _up(n, n), gdn(n, inverse=True), _up(n, n),
                                       gdn(n, inverse=True), _up(n, 3))
        self.hyper_analysis = nn.Sequential(nn.Conv2d(m, n, 3, padding=1), nn.ReLU(), _down(n, n), nn.ReLU(),
                                            _down(n, n))
        self.hyper_synthesis = nn.Sequential(_up(n, n), nn.ReLU(), _up(n, n), nn.ReLU(), nn.Conv2d(n, m, 3, padding=1),
                                             nn.ReLU())
        self.bottleneck = models.EntropyBottleneck(n)
        self.conditional = models.GaussianConditional(None)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Decoded pictures and bits of all of them; pictures: (B, 3, H, W), 0 to 1, sides multiples of 64."""
        # Likelihoods are differences of distribution functions: not in bfloat16, even where the convolutions are.
        y = self.analysis(pictures).float()
        hyper = self.hyper_analysis(y.abs()).float()
        with torch.autocast(pictures.device.type, enabled=False):
            z, z_likelihoods = self.bottleneck(hyper)
        scales = self.hyper_synthesis(z).float()
        with torch.autocast(pictures.device.type, enabled=False):
            decoded, y_likelihoods = self.conditional(y, scales)
        return self.synthesis(decoded).float(), -(torch.log2(y_likelihoods).sum() + torch.log2(z_likelihoods).sum())

    def update(self) -> None:
        """Make the tables of the entropy coder; needed once after training."""
        self.conditional.update_scale_table(torch.exp(torch.linspace(np.log(0.11), np.log(256), 64)), force=True)
        self.bottleneck.update(force=True)

    @torch.no_grad()
    def encode(self, picture: NDArray[np.uint8]) -> bytes:
        """A picture (H, W, 3) RGB as bytes, its size and lengths included."""
        height, width = picture.shape[:2]
        tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
        y = self.analysis(F.pad(tensor, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate"))
        z = self.hyper_analysis(y.abs())
        (side,) = self.bottleneck.compress(z)
        scales = self.hyper_synthesis(self.bottleneck.decompress([side], z.shape[2:]))
        (main,) = self.conditional.compress(y, self.conditional.build_indexes(scales))
        return _HEADER.pack(width, height, len(side)) + side + main

    @torch.no_grad()
    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The same picture as it was coded, (H, W, 3). Only where it was encoded: scales are floats."""
        width, height, length = _HEADER.unpack_from(data)
        side, main = data[_HEADER.size:_HEADER.size + length], data[_HEADER.size + length:]
        z = self.bottleneck.decompress([side], (-(-height // STRIDE), -(-width // STRIDE)))
        y = self.conditional.decompress([main], self.conditional.build_indexes(self.hyper_synthesis(z)))
        picture = self.synthesis(y)[0, :, :height, :width].clamp(0, 1)
        return (picture * 255).round().byte().permute(1, 2, 0).numpy()


def save(network: Hyperprior, path: Path, trade: float) -> None:
    """Write a trained network, its tables made. trade: lambda, by which files are ordered.

    The file is swapped in when it is whole: a run that is killed leaves none that the next one would take for trained.
    """
    network.update()
    temporary = path.with_suffix(".tmp")
    torch.save({"channels": network.channels, "latent": network.latent, "lambda": trade,
                "weights": network.state_dict()}, temporary)
    temporary.replace(path)


def load(path: Path) -> tuple[Hyperprior, float]:
    """A network and its lambda. Raises ValueError for any other file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        network, trade = Hyperprior(content["channels"], content["latent"]), float(content["lambda"])
        network.update()  # tables of their sizes, which the file's then replace
        for name, value in content["weights"].items():
            owner: Any = network
            *places, last = name.split(".")
            for place in places:
                owner = getattr(owner, place)
            if last in dict(owner.named_buffers(recurse=False)):
                owner.register_buffer(last, value.clone())
        network.load_state_dict(content["weights"])
    except (RuntimeError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ValueError(f"{path}: no network of the learned baseline ({error})") from None
    return network.eval(), trade


def _down(inside: int, outside: int) -> nn.Module:
    return nn.Conv2d(inside, outside, 5, stride=2, padding=2)


def _up(inside: int, outside: int) -> nn.Module:
    return nn.ConvTranspose2d(inside, outside, 5, stride=2, padding=2, output_padding=1)
