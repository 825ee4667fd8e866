"""The coders by name. A new one is one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bench.accuracy.codec import Codec, Setup, Variant, always
from bench.accuracy.ours import Ours
from bench.accuracy.peer import SVTAV1, X264, X265, Jpeg, Peer
from duoview.inner.settings import InnerSettings
from duoview.neural_settings import NeuralSettings

# Ours take no scale: what resolution a clip is coded at is a coder's own choice, which a user makes for the peers only.
CODECS: dict[str, Callable[[Variant, Setup], Codec]] = {
    # As it comes, and guided by the profile's network.
    "neural": lambda variant, setup: _neural("neural", variant, setup, simplify="off"),
    "neural-guided": lambda variant, setup: _neural("neural-guided", variant, setup, simplify="saliency"),
    # As it comes. "plain" is it without guidance, "alone" with key frames that refer to no background, "unscaled" never
    # smaller, "unrestored" without the restoration network; "bare" is neither guided nor with a background. Cuts of the
    # scene start no key frames, as with the peers.
    "inner": lambda variant, setup: _inner("inner", variant, setup),
    "inner-plain": lambda variant, setup: _inner("inner-plain", variant, setup, simplify="off"),
    "inner-alone": lambda variant, setup: _inner("inner-alone", variant, setup, background=0.0),
    "inner-bare": lambda variant, setup: _inner("inner-bare", variant, setup, simplify="off", background=0.0),
    "inner-unscaled": lambda variant, setup: _inner("inner-unscaled", variant, setup, scale=1.0),
    "inner-unrestored": lambda variant, setup: _inner("inner-unrestored", variant, setup, restore=False),
    "inner-h264": lambda variant, setup: _inner("inner-h264", variant, setup, codec="h264"),
    "inner-av1": lambda variant, setup: _inner("inner-av1", variant, setup, codec="av1"),
    "x264-veryfast": lambda variant, setup: Peer("x264-veryfast", X264, "veryfast", variant, setup),
    "x264-slow": lambda variant, setup: Peer("x264-slow", X264, "slow", variant, setup),
    "x265-medium": lambda variant, setup: Peer("x265-medium", X265, "medium", variant, setup),
    "svtav1-6": lambda variant, setup: Peer("svtav1-6", SVTAV1, "6", variant, setup),
    "svtav1-8": lambda variant, setup: Peer("svtav1-8", SVTAV1, "8", variant, setup),
    "jpeg": lambda variant, setup: Jpeg("jpeg", variant, setup),
    "hyperprior": lambda variant, setup: _learned("hyperprior", variant, setup),
}
#: Those that are run where none is named: neither what needs networks of its own, nor what tells where gains come from.
USUAL = tuple(name for name in CODECS if name != "hyperprior" and not name.startswith(("inner-", "neural-")))
#: The one that all are compared with.
ANCHOR = "x265-medium"


def _neural(name: str, variant: Variant, setup: Setup, *, simplify: str) -> Codec:
    return Ours(name, always(variant, latency="zero", scale=1.0), setup, neural=NeuralSettings(simplify))


def _inner(name: str, variant: Variant, setup: Setup, *, restore: bool | None = None, **settings: Any) -> Codec:
    inner = InnerSettings(latency=variant.latency, threads=setup.threads, scene_cuts=False, **settings)
    return Ours(name, always(variant, scale=1.0), setup, restore=restore, machine="inner", inner=inner)


def _learned(name: str, variant: Variant, setup: Setup) -> Codec:
    from bench.accuracy.learned import Learned  # torch, which nothing else here needs

    return Learned(name, variant, setup)


def make(names: Iterable[str], variants: Iterable[Variant], setup: Setup) -> list[Codec]:
    """Every coder in every variant that it has, each once. Raises ValueError for a name that is none."""
    found: dict[str, Codec] = {}
    wanted = list(variants)
    for name in names:
        if name not in CODECS:
            raise ValueError(f"codec {name!r}: expected some of {', '.join(CODECS)}")
        for variant in wanted:
            codec = CODECS[name](variant, setup)
            codec.count = setup.count
            found.setdefault(codec.label, codec)
    return list(found.values())
