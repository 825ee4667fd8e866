"""Views of texture and for people on a device: milliseconds of a frame, and how far they are from those of the host.

A stream with all texture on its key frames is coded on the device, and one with texture on all frames. Each view of the
former, and texture of the latter, is decoded there, picture by picture, and, of the first units, by
``duoview.Decoder`` on the CPU: nodes have to be the same, pictures are of float networks on two devices.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from duoview import Decoder, TextureSettings
from duoview.decision import SymbolDecision
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks
from duoview.texture.settings import FRAMES

#: Views that are measured, by the name in the result.
VIEWS: dict[str, dict[str, Any]] = {
    "machine": {"view": "machine"}, "machine as NV12": {"view": "machine", "pixel_format": "nv12"},
    "texture": {"view": "texture"}, "texture, two depths and samples": {"view": "texture", "texture": 2,
                                                                         "fill": "sample"},
    "human, guided, 4 steps": {"view": "human", "steps": 4},
    "human, guided, 4 steps, the whole picture at once": {"view": "human", "steps": 4, "tile": 0}}
#: Starts of denoisers that know texture and captions.
STARTS: dict[str, dict[str, Any]] = {
    f"human, {start}, 4 steps": {"view": "human", "start": start, "steps": 4} for start in ("slim", "texture")}
#: Mean difference of pictures, in levels, that float networks of two devices may have.
MEAN_APART = 0.5


def _nodes(decoder: Any, get: Callable[[Any], np.ndarray]) -> list[bytes]:
    return [get(state.nodes).tobytes() for state in decoder._texture.states]


def _apart(networks: DeviceNetworks, units: list[bytes], options: dict[str, Any], width: int, height: int
           ) -> dict[str, Any]:
    """Greatest and mean difference, in levels, from the host's pictures; of views with texture, whether nodes are same.
    """
    device = DeviceDecoder(networks, strict=True, **options)
    host = Decoder(profile=networks.profile, strict=True, **options)
    most, mean, same = 0, 0.0, []
    for unit in units:
        (one,), (other,) = device.decode(unit), host.decode(unit)
        frame: Any = other.to_ndarray(format="rgb24")
        difference = np.abs(networks.get(one.array)[0, :, :height, :width].astype(np.int16) - frame.transpose(2, 0, 1))
        most, mean = max(most, int(difference.max())), max(mean, float(difference.mean()))
        if host._texture is not None:
            same.append(_nodes(device._views, networks.get) == _nodes(host, np.asarray))
    return {"units_compared": len(units), "most_apart": most, "mean_apart": mean} | (
        {"same_nodes": all(same)} if same else {})


def _milliseconds(networks: DeviceNetworks, units: list[bytes], gop: int, options: dict[str, Any],
                  wait: Callable[[], float]) -> dict[str, float]:
    """Medians of key frames and of others; the first group warms up."""
    decoder = DeviceDecoder(networks, strict=True, **options)
    taken: dict[str, list[float]] = {"key_ms": [], "p_ms": []}
    for number, unit in enumerate(units):
        began = wait()
        decoder.decode(unit)
        if number >= gop:
            taken["p_ms" if number % gop else "key_ms"].append(1e3 * (wait() - began))
    found = {name: statistics.median(values) for name, values in taken.items() if values}
    human = decoder._views._human
    if human is not None:
        found |= {"windows_computed": human.computed, "windows_kept": human.kept}
    return found


def _coded(encoder: DeviceEncoder, pictures: list[Any], wait: Callable[[], float], count: int, gop: int
           ) -> tuple[list[bytes], dict[str, float]]:
    """Units, and medians of milliseconds and bytes of key frames and of others; the first group warms up."""
    units: list[bytes] = []
    taken: dict[str, list[float]] = {"key_ms": [], "p_ms": []}
    for number in range(count):
        began = wait()
        units.append(bytes(encoder.encode(pictures[number % len(pictures)])))
        if number >= gop:
            taken["p_ms" if number % gop else "key_ms"].append(1e3 * (wait() - began))
    sizes = {"key_bytes": [len(unit) for unit in units[::gop]],
             "p_bytes": [len(unit) for number, unit in enumerate(units) if number % gop]}
    return units, {name: statistics.median(values) for name, values in (taken | sizes).items() if values}


def views(networks: DeviceNetworks, pictures: list[Any], wait: Callable[[], float], *, width: int, height: int,
          count: int, q: int, compared: int) -> dict[str, Any]:
    """Views of ``count`` units of device pictures (3, H, W) uint8, of which the first ``compared`` are compared."""
    gop = max(2, count // 4)
    found: dict[str, Any] = {
        "size": f"{width}x{height}", "q": q, "units": count, "gop": gop, "networks": networks.backend.name}
    coded = {}
    for frames in FRAMES:
        encoder = DeviceEncoder(networks, width, height, q=q, gop=gop, decision=SymbolDecision(),
                                texture=TextureSettings(frames=frames))
        coded[frames], found[f"encode with texture of {frames} frames"] = _coded(encoder, pictures, wait, count, gop)
    units = coded["key"]
    every = found["texture of all frames"] = _milliseconds(networks, coded["all"], gop, VIEWS["texture"], wait)
    every |= _apart(networks, coded["all"][:max(2, compared)], VIEWS["texture"], width, height)
    wanted = VIEWS | (STARTS if networks.profile.generation is not None else {})
    good = every["same_nodes"] and every["mean_apart"] <= MEAN_APART
    for name, options in wanted.items():
        found[name] = _milliseconds(networks, units, gop, options, wait)
        if options.get("pixel_format") is None:
            apart = _apart(networks, units[:compared], options, width, height)
            found[name] |= apart
            good &= apart.get("same_nodes", True) and apart["mean_apart"] <= MEAN_APART
    if networks.profile.generation is None:
        found["not_run"] = dict.fromkeys(
            STARTS, f"profile {networks.profile.name!r} has a denoiser of the first generation")
    return found | {"how": (__doc__ or "").split("\n\n", 1)[1].strip(), "good": good}
