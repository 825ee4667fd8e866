"""A profile with a small texture layer of random weights, for tests: the bundled one, and exact networks beside it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from duoview.export.graph import GraphBuilder, Value
from duoview.golden import GOLDEN_CASES, digest, exact_inputs
from duoview.kernels import noise, palette
from duoview.profile import BUNDLED, Profile
from duoview.texture.block_means import MEANS
from duoview.texture.prior import CONDITIONS
from duoview.texture.tables import TextureTables, check_tables

GROUPS, DEPTH, EMBEDDING, FEATURES = 2, 4, 3, 4
LATENT, SYMBOLS = 48, 128
STEP = 1 / 64


class Addressed:
    """Random integers that no version of numpy changes: the kernels' own, one stream after the other."""

    def __init__(self, seed: int) -> None:
        self._seed, self._stream = seed, 0

    def _words(self, count: int) -> NDArray[np.uint32]:
        self._stream += 1
        return noise.philox(self._seed, self._stream, 0, count)

    def integers(self, low: int, high: int, shape: tuple[int, ...] | int) -> NDArray[np.int64]:
        """From low to high - 1."""
        words = self._words(int(np.prod(shape))).astype(np.int64)
        return words.reshape(shape) % (high - low) + low

    def normals(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Standard normals."""
        self._stream += 1
        found = noise.normals(self._seed, stream=self._stream, offset=0, count=int(np.prod(shape)))
        return found.reshape(shape)


def tables(seed: int = 1, certain: int | None = None) -> TextureTables:
    """Palettes of random vectors, some of them much longer than others, as residuals are.

    certain: 1 to 128, logits of at least so much, in sixteenths, either way make a child certain.
    """
    random = Addressed(seed)
    wide = LATENT // GROUPS
    trees = [palette.build_tree(random.normals((2000, wide)) * np.abs(random.normals((2000, 1))), DEPTH)
             for _ in range(GROUPS)]
    logits = np.arange(-128, 128)
    classes = np.clip(logits // 2 + 128, 64, 191).astype(np.uint8)
    if certain is not None:
        classes[np.abs(logits) >= certain] = 0
    found = TextureTables(
        matrix=np.eye(LATENT, dtype=np.float32)[None].repeat(DEPTH, 0),
        inverse=np.full((64, DEPTH, LATENT), 0.25, np.float32),
        scale=np.ones((64, GROUPS), np.float32), error=np.full(64, 5, np.float32),
        step=np.full(GROUPS, STEP, np.float32),
        nodes=tuple(np.stack([np.rint(tree.nodes[d] / STEP) for tree in trees]).astype(np.int16)
                    for d in range(DEPTH + 1)),
        embedding=tuple(random.integers(-127, 128, (GROUPS, 1 << d, EMBEDDING)).astype(np.int8)
                        for d in range(DEPTH + 1)),
        logits=tuple(random.integers(-40, 41, (GROUPS, 1 << d)).astype(np.int8) for d in range(DEPTH)),
        # Without a rate the leaves are the nearest ones.
        classes=classes, rate=np.zeros((GROUPS, 1 << DEPTH), np.float32), price=np.full((64, GROUPS), 40, np.float32),
        levels=np.minimum(np.arange(64) + 9, 63).astype(np.uint8))
    check_tables(found, LATENT, "the tests' tables")
    return found


def _exact(g: GraphBuilder, x: Value, outputs: int, inputs: int, kernel: int, shift: int, low: int, high: int,
           random: Addressed) -> Value:
    """One exact convolution with random weights."""
    groups = inputs if kernel > 1 else 1
    weight = random.integers(-20, 21, (outputs, inputs // groups, kernel, kernel)).astype(np.float32)
    bias = random.integers(-300, 301, outputs).astype(np.float32)
    x = g.operator("Round", g.convolve(x, weight, bias, exact=True))
    x = g.operator("Floor", g.operator("Add", g.operator("Mul", x, g.number(2.0**-shift)), g.number(0.5)))
    return g.operator("Clip", x, g.number(low), g.number(high))


def features_network(random: Addressed, name: str = "texture_features", given: str = "decoded",
                     channels: int = SYMBOLS) -> bytes:
    """``texture_features`` or ``texture_means`` of this size."""
    g = GraphBuilder(name)
    decoded = g.input(given, TensorProto.FLOAT, ["N", channels, "hh", "hw"])
    q = g.input("q", TensorProto.INT64, [1])
    x = g.operator("Clip", g.operator("Floor", g.operator("Mul", decoded, g.number(0.25))), g.number(-127),
                   g.number(127))
    level = g.operator("Reshape", g.operator("Cast", q, to=TensorProto.FLOAT), g.constant(np.ones(4, np.int64)))
    x = g.operator("Clip", g.operator("Add", x, level), g.number(-127), g.number(127))
    x = g.shuffle(_exact(g, x, 4 * FEATURES, channels, 1, 7, 0, 255, random), 2)
    g.output(x, "features", TensorProto.FLOAT, ["N", FEATURES, "h", "w"])
    return bytes(g.model().SerializeToString())


def prior_network(random: Addressed) -> bytes:
    """``texture_prior`` of this size."""
    g = GraphBuilder("texture_prior")
    parts = [("features", FEATURES), ("nodes", GROUPS * EMBEDDING), ("decided", GROUPS), ("previous", GROUPS)]
    planes = [(g.input(name, TensorProto.FLOAT, ["N", count, "h", "w"]), count) for name, count in parts]
    conditions = g.input("conditions", TensorProto.FLOAT, [1, CONDITIONS, 1, 1])
    x = _exact(g, g.concat(*planes), 8, sum(count for _, count in parts), 1, 6, 0, 255, random)
    shift = g.convolve(conditions, random.integers(-1, 2, (8, CONDITIONS, 1, 1)).astype(np.float32),
                       np.zeros(8, np.float32), exact=True)
    x = g.operator("Clip", g.operator("Add", x, shift), g.number(0), g.number(255))
    x = _exact(g, x, 8, 8, 3, 5, 0, 255, random)
    x = _exact(g, x, GROUPS, 8, 1, 8, -128, 127, random)
    g.output(g.operator("Cast", x, to=TensorProto.INT16), "logits", TensorProto.INT16, ["N", GROUPS, "h", "w"])
    return bytes(g.model().SerializeToString())


def analysis_network() -> bytes:
    """``texture_analysis``: four times what the base lacks."""
    g = GraphBuilder("texture_analysis")
    z, base = (g.input(name, TensorProto.FLOAT, ["N", LATENT, "h", "w"]) for name in ("z", "base"))
    g.input("q", TensorProto.INT64, [1])
    g.output(g.operator("Mul", g.operator("Sub", z, base), g.number(4)), "components", TensorProto.FLOAT,
             ["N", LATENT, "h", "w"])
    return bytes(g.model().SerializeToString())


def without_texture(folder: Path) -> Profile:
    """The bundled profile without its texture layer, where it has one."""
    shutil.copytree(BUNDLED / "s", folder)
    manifest = json.loads((folder / "profile.json").read_text())
    manifest.pop("texture", None)
    for part in ("networks", "golden"):
        for name in [name for name in manifest[part] if name.startswith("texture")]:
            del manifest[part][name]
    (folder / "profile.json").write_text(json.dumps(manifest))
    return Profile(folder)


def write_profile(folder: Path, seed: int = 1, certain: int | None = None) -> Profile:
    """Write the profile into a new folder. certain: see ``tables``."""
    shutil.copytree(BUNDLED / "s", folder)
    manifest = json.loads((folder / "profile.json").read_text())
    random = Addressed(seed + 1000)
    sizes = {**manifest["sizes"], "groups": GROUPS, "embedding": EMBEDDING, "features": FEATURES}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for name, data in (("texture_features", features_network(random)), ("texture_prior", prior_network(random)),
                       ("texture_means", features_network(random, "texture_means", "means", MEANS)),
                       ("texture_analysis", analysis_network())):
        (folder / f"{name}.onnx").write_bytes(data)
        manifest["networks"][name] = {"file": f"{name}.onnx", "sha256": hashlib.sha256(data).hexdigest()}
        if name != "texture_analysis":
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            manifest["golden"][name] = {
                case.name: digest(session.run(None, exact_inputs(name, sizes, case.height, case.width, case.saturate)))
                for case in GOLDEN_CASES}
    arrays: dict[str, NDArray[np.generic]] = tables(seed, certain).arrays()
    np.savez(folder / "texture.npz", allow_pickle=False, **arrays)
    manifest["texture"] = {"file": "texture.npz", "groups": GROUPS, "depth": DEPTH, "embedding": EMBEDDING,
                           "features": FEATURES, "width": 8,
                           "sha256": hashlib.sha256((folder / "texture.npz").read_bytes()).hexdigest()}
    (folder / "profile.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return Profile(folder)
