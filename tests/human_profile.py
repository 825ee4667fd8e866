"""Profiles with small networks of random weights, for tests: conditional denoisers, first-generation ones, and D_h."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from duoview.captions.caption import CLASSES, COUNTS, MOTIONS, PLACES
from duoview.export.graph import GraphBuilder, Value
from duoview.generation import Generation
from duoview.kernels import noise
from duoview.profile import Profile

LATENT, CAPTION, INNER = 48, 4, 12
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class _Random:
    """Normals that no version of numpy changes."""

    def __init__(self) -> None:
        self._stream = 50

    def normals(self, *shape: int, scale: float = 1.0) -> Any:
        self._stream += 1
        found = noise.normals(9, stream=self._stream, offset=0, count=int(np.prod(shape)))
        return (found * np.float32(scale)).reshape(shape)


def denoiser(captions: bool) -> bytes:
    """``denoiser``: sees all of its inputs, and 4 positions around each."""
    g, random = GraphBuilder("denoiser"), _Random()
    planes = [(g.input(name, FLOAT, [1, LATENT, "h", "w"]), LATENT) for name in ("state", "z_m", "known")]
    planes.append((g.input("level", FLOAT, [1, 1, "h", "w"]), 1))
    caption = g.input("caption", FLOAT, [1, CAPTION, "ch", "cw"]) if captions else None
    numbers = [g.input(name, FLOAT, [1, 1]) for name in ("time", "span")]
    gain, q, given = g.input("gain", FLOAT, [1]), g.input("q", INT64, [1]), g.input("given", FLOAT, [1, 3])
    level = g.operator("Reshape", g.operator("Mul", g.operator("Cast", q, to=FLOAT), g.number(1 / 63)),
                       g.constant(np.array([1, 1], np.int64)))
    told = g.operator("Concat", *numbers, level, given, axis=1)
    shift = g.operator("MatMul", told, g.constant(random.normals(6, INNER, scale=0.3)))
    nothing = np.zeros(INNER, np.float32)
    x = g.convolve(g.concat(*planes), random.normals(INNER, 3 * LATENT + 1, 1, 1, scale=0.1), nothing)
    x = g.operator("Add", x, g.operator("Unsqueeze", shift, g.constant(np.array([2, 3], np.int64))))
    if caption is not None:
        said = g.convolve(caption, random.normals(INNER, CAPTION, 1, 1), nothing)
        wide = g.operator("Resize", said, "", g.constant(np.array([1, 1, 4, 4], np.float32)), mode="nearest",
                          coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        x = g.operator("Add", x, wide)
    x = g.operator("Tanh", g.convolve(x, random.normals(INNER, 1, 9, 9, scale=0.2), nothing))
    estimate = g.convolve(x, random.normals(LATENT, INNER, 1, 1, scale=0.5), np.zeros(LATENT, np.float32))
    state = planes[0][0]
    step = g.operator("Mul", g.operator("Sub", estimate, state), gain)
    g.output(g.operator("Add", state, step), "next", FLOAT, [1, LATENT, "h", "w"])
    return bytes(g.model().SerializeToString())


def first_denoiser() -> bytes:
    """``denoiser`` of the first generation: sees the state, z_m and the quality."""
    g, random = GraphBuilder("denoiser"), _Random()
    state, z_m = (g.input(name, FLOAT, ["N", LATENT, "h", "w"]) for name in ("state", "z_m"))
    time, gain, q = g.input("time", FLOAT, [1, 1]), g.input("gain", FLOAT, [1]), g.input("q", INT64, [1])
    told = g.operator("Mul", time, g.operator("Mul", g.operator("Cast", q, to=FLOAT), g.number(1 / 63)))
    x = g.convolve(g.concat((state, LATENT), (z_m, LATENT)), random.normals(INNER, 2 * LATENT, 3, 3, scale=0.1),
                   np.zeros(INNER, np.float32))
    x = g.operator("Tanh", g.operator("Add", x, g.operator("Unsqueeze", told, g.constant(np.array([2, 3], np.int64)))))
    estimate = g.convolve(x, random.normals(LATENT, INNER, 1, 1, scale=0.2), np.zeros(LATENT, np.float32))
    g.output(g.operator("Add", state, g.operator("Mul", g.operator("Sub", estimate, state), gain)), "next", FLOAT,
             ["N", LATENT, "h", "w"])
    return bytes(g.model().SerializeToString())


def text_encoder() -> bytes:
    """``caption``: the sum of a random vector for every word."""
    g, random = GraphBuilder("caption"), _Random()
    phrases = g.input("phrases", INT64, ["P", 4])
    total: Value | None = None
    for index, words in enumerate((CLASSES, COUNTS, PLACES, MOTIONS)):
        column = g.operator("Gather", phrases, g.constant(np.array([index], np.int64)), axis=1)
        flat = g.operator("Squeeze", column, g.constant(np.array([1], np.int64)))
        vector = g.operator("Gather", g.constant(random.normals(len(words), CAPTION)), flat, axis=0)
        total = vector if total is None else g.operator("Add", total, vector)
    assert total is not None
    g.output(total, "vectors", FLOAT, ["P", CAPTION])
    return bytes(g.model().SerializeToString())


def human_decoder() -> bytes:
    """``human_decoder``: pictures of its own, not those of D; sees noise, and 2 positions around each."""
    g, random = GraphBuilder("human_decoder"), _Random()
    both = g.concat(*((g.input(name, FLOAT, ["N", LATENT, "h", "w"]), LATENT) for name in ("z", "noise")))
    x = g.operator("Tanh", g.convolve(both, random.normals(4 * INNER, 2 * LATENT, 3, 3, scale=0.03),
                                      np.zeros(4 * INNER, np.float32)))
    x = g.convolve(g.shuffle(x, 2), random.normals(48, INNER, 3, 3, scale=0.02), np.full(48, 0.5, np.float32))
    scaled = g.operator("Clip", g.operator("Mul", g.shuffle(x, 4), g.number(255)), g.number(0), g.number(255))
    shown = g.operator("Cast", g.operator("Floor", scaled), to=TensorProto.UINT8)
    g.output(shown, "picture", TensorProto.UINT8, ["N", 3, "H", "W"])
    return bytes(g.model().SerializeToString())


def add_human_decoder(folder: Path) -> Profile:
    """Put a D_h into a profile's folder."""
    manifest, data = json.loads((folder / "profile.json").read_text()), human_decoder()
    (folder / "human_decoder.onnx").write_bytes(data)
    manifest["networks"]["human_decoder"] = {"file": "human_decoder.onnx", "sha256": hashlib.sha256(data).hexdigest()}
    manifest["human_decoder"] = {"channels": [INNER, INNER, INNER], "blocks": [1, 1, 1]}
    (folder / "profile.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return Profile(folder)


def _without_human_decoder(manifest: dict[str, Any], folder: Path) -> None:
    """Whatever the bundled profile has: what is tested of these denoisers is tested with D."""
    manifest.pop("human_decoder", None)
    if manifest["networks"].pop("human_decoder", None) is not None:
        (folder / "human_decoder.onnx").unlink()


def add_human(folder: Path, *, captions: bool = True, levels: tuple[float, ...] = (1.0,)) -> Profile:
    """Put the denoiser into a profile's folder, in place of its own and D_h; levels: of its texture's depths."""
    manifest = json.loads((folder / "profile.json").read_text())
    _without_human_decoder(manifest, folder)
    networks = {"denoiser": denoiser(captions)} | ({"caption": text_encoder()} if captions else {})
    for name, data in networks.items():
        (folder / f"{name}.onnx").write_bytes(data)
        manifest["networks"][name] = {"file": f"{name}.onnx", "sha256": hashlib.sha256(data).hexdigest()}
    made = Generation((8, 8, 8), (1, 1, 1), CAPTION if captions else 0, levels, noise=0.5, steps=2)
    manifest["human"] = made.as_dict()
    (folder / "profile.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return Profile(folder)


def first_generation(folder: Path) -> Profile:
    """A copy of the bundled profile whose denoiser is of the first generation."""
    shutil.copytree(Profile("s").folder, folder)
    manifest = json.loads((folder / "profile.json").read_text())
    manifest.pop("human", None)
    _without_human_decoder(manifest, folder)
    if manifest["networks"].pop("caption", None) is not None:
        (folder / "caption.onnx").unlink()
    data = first_denoiser()
    (folder / "denoiser.onnx").write_bytes(data)
    manifest["networks"]["denoiser"] = {"file": "denoiser.onnx", "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "profile.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return Profile(folder)
