"""Other entropy coders and samplers, called the way their users call them, each checked by its own round trip.

None of their code is here: they are installed (extra ``bench-kernels``) and called. Everything that a user could
prepare once is prepared before the clock runs (tables, lists, models, groups), so each is seen at its best.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from bench.symbols import LARGEST, Symbols, quantised_cdf
from duoview.kernels import rans

NAMES = ("compressai", "constriction", "torchac", "diffusers")
INSTALL = 'pip install "duoview[bench-kernels]" && pip install --no-deps compressai==1.2.8'
WIDEST = 4.42
"""Standard deviations that a table of compressai reaches, as its own updates choose about; the rest are escapes."""


@dataclass(frozen=True)
class Coder:
    """A coder with one array of symbols.

    encode: gives what decode takes. size: bytes of that. restored: the symbols, in their order, from what decode gives.
    """

    what: str
    symbols: Symbols
    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    size: Callable[[Any], int] = len
    restored: Callable[[Any], Any] = np.asarray


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of ``names`` that are not installed."""
    needs = {"torchac": ("torchac", "torch", "ninja"), "diffusers": ("diffusers", "torch")}
    return [name for name in names if not all(find_spec(module) for module in needs.get(name, (name,)))]


def compressai_ans() -> ModuleType:
    """The extension ``compressai.ans`` without the package around it.

    compressai's ``__init__`` imports its data sets and with them torchvision and torch_geometric, which have nothing to
    do with its coder and which often do not load beside a CPU-only torch. So an empty parent package stands in for it;
    where the real one has been imported already, that one is used.
    """
    if "compressai" not in sys.modules:
        spec = find_spec("compressai")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("compressai is not installed")
        parent = ModuleType("compressai")
        parent.__path__ = list(spec.submodule_search_locations)
        sys.modules["compressai"] = parent
    return importlib.import_module("compressai.ans")


def compressai(given: Symbols) -> Coder:
    """RansEncoder and RansDecoder with indexes, Python lists ready and lists out, as they want them."""
    ans = compressai_ans()
    # Its class index starts at 0, ours at 1. Its table ends with the probability of an escape.
    reaches = [int(np.ceil(WIDEST * scale)) for scale in rans.scales()[1:LARGEST + 1]]
    cdfs = [quantised_cdf(k, reach, tail=True).tolist() for k, reach in enumerate(reaches, 1)]
    sizes, offsets = [len(cdf) for cdf in cdfs], [-reach for reach in reaches]
    symbols, indexes = given.symbols.tolist(), (given.classes - 1).tolist()
    return Coder(
        "ans.RansEncoder.encode_with_indexes, ans.RansDecoder.decode_with_indexes; 16 bits; lists made beforehand",
        given,
        lambda: ans.RansEncoder().encode_with_indexes(symbols, indexes, cdfs, sizes, offsets),
        lambda data: ans.RansDecoder().decode_with_indexes(data, indexes, cdfs, sizes, offsets))


def constriction_gaussian(given: Symbols) -> Coder:
    """AnsCoder with the family QuantizedGaussian and one standard deviation per symbol."""
    stream = importlib.import_module("constriction").stream
    family = stream.model.QuantizedGaussian(-1000, 1000)
    symbols = given.symbols.astype(np.int32)
    means, scales = np.zeros(symbols.size), rans.scales()[given.classes]

    def encode() -> Any:
        coder = stream.stack.AnsCoder()
        coder.encode_reverse(symbols, family, means, scales)
        return coder.get_compressed()

    return Coder("stack.AnsCoder, QuantizedGaussian with a scale per symbol; 24 bits", given, encode,
                 lambda data: stream.stack.AnsCoder(data).decode(family, means, scales), lambda data: data.nbytes)


def constriction_grouped(given: Symbols) -> Coder:
    """AnsCoder with one Categorical per class, the symbols grouped by class beforehand."""
    stream = importlib.import_module("constriction").stream
    order = np.argsort(given.classes, kind="stable")
    counts = np.bincount(given.classes, minlength=LARGEST + 1)
    reach = int(np.abs(given.symbols).max(initial=0))
    groups, models = [], []
    ends = np.cumsum(counts)
    for k in np.flatnonzero(counts):
        groups.append((given.symbols[order[ends[k] - counts[k]:ends[k]]] + reach).astype(np.int32))
        cdf = quantised_cdf(int(k), reach, tail=False, bits=24)
        models.append(stream.model.Categorical(np.diff(cdf) / float(1 << 24), perfect=False))

    def encode() -> Any:
        coder = stream.stack.AnsCoder()
        for group, model in zip(reversed(groups), reversed(models), strict=True):
            coder.encode_reverse(group, model)
        return coder.get_compressed()

    def decode(data: Any) -> Any:
        coder = stream.stack.AnsCoder(data)
        return [coder.decode(model, group.size) for group, model in zip(groups, models, strict=True)]

    def restored(decoded: Any) -> Any:
        symbols = np.empty_like(given.symbols)
        symbols[order] = np.concatenate(decoded) - reach
        return symbols

    return Coder("stack.AnsCoder, one Categorical per class, symbols grouped by class beforehand; 24 bits", given,
                 encode, decode, lambda data: data.nbytes, restored)


def torchac(given: Symbols) -> Coder:
    """A row of cumulative frequencies for every symbol, gathered beforehand."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    coder = importlib.import_module("torchac")  # compiles its extension at the first import
    reach = int(np.abs(given.symbols).max(initial=0))
    # 16-bit integers whose last, 65536, wraps to 0: the coder knows it.
    table = np.array([np.zeros(2 * reach + 2), *(quantised_cdf(k, reach, tail=False) for k in range(1, LARGEST + 1))])
    rows = torch.from_numpy(table.astype(np.uint16).view(np.int16)[given.classes])
    symbols = torch.from_numpy((given.symbols + reach).astype(np.int16))
    return Coder("encode_int16_normalized_cdf, decode_int16_normalized_cdf; 16 bits; a row per symbol made beforehand",
                 given, lambda: coder.encode_int16_normalized_cdf(rows, symbols),
                 lambda data: coder.decode_int16_normalized_cdf(rows, data),
                 restored=lambda decoded: decoded.numpy() - reach)


CODERS: dict[str, tuple[str, Callable[[Symbols], Coder]]] = {
    "compressai": ("compressai", compressai),
    "constriction": ("constriction", constriction_gaussian),
    "constriction_grouped": ("constriction", constriction_grouped),
    "torchac": ("torchac", torchac),
}
"""By the name in the result: the peer that has to be installed, and how it is called."""


def vq_diffusion_step(categories: int, positions: int, threads: int) -> Callable[[], object]:
    """One ``VQDiffusionScheduler.step`` on float32 log-probabilities: (1, K, N) in, (1, N) out."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    diffusers = importlib.import_module("diffusers")
    scheduler = diffusers.VQDiffusionScheduler(num_vec_classes=categories + 1, num_train_timesteps=100)
    scheduler.set_timesteps(100)
    generator = torch.Generator().manual_seed(7)
    logits = torch.log_softmax(torch.randn(1, categories, positions, generator=generator), dim=1)
    sample = torch.randint(0, categories + 1, (1, positions), generator=generator)

    def step() -> Any:
        torch.set_num_threads(threads)
        with torch.no_grad():
            return scheduler.step(logits, 50, sample, generator=generator).prev_sample

    out = step()
    if tuple(out.shape) != (1, positions) or not 0 <= int(out.min()) <= int(out.max()) <= categories:
        raise RuntimeError("VQDiffusionScheduler.step gave something else than one category per position")
    return step
