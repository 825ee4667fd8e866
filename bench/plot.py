"""Rate-distortion plot: mean curves of several coders. Needs the extra ``bench`` (matplotlib)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """Mean PSNR of one coder at the rates where every picture has a value."""

    name: str
    bpp: tuple[float, ...]
    psnr: tuple[float, ...]


def draw(lines: Sequence[Line], path: Path, *, title: str) -> None:
    """Write a PNG. Raises ModuleNotFoundError when matplotlib is not installed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5), dpi=110)
    for line in lines:
        own = line.name.startswith("duoview")
        axes.plot(line.bpp, line.psnr, label=line.name, linewidth=2.4 if own else 1.4, zorder=3 if own else 2)
    axes.set_xlabel("bits per pixel (all bytes)")
    axes.set_ylabel("PSNR of RGB, dB")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
    print(f"wrote {path}")
