"""The texture layer's networks as ONNX graphs, two of them exact, and its tables as a profile holds them."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from duoview.export.exact_networks import INT16, fixed, quality_integers, quarters
from duoview.export.float_networks import FLOAT, array, block, convolution, leaky, quality_vector
from duoview.export.graph import GraphBuilder
from duoview.models.texture import Texture, class_table
from duoview.models.texture_analysis import TextureAnalysis
from duoview.models.texture_palettes import STEP, Palettes
from duoview.models.texture_synthesis import DepthSynthesis
from duoview.texture.block_means import MEANS
from duoview.texture.prior import CONDITIONS
from duoview.texture.tables import TextureTables

INT64 = TensorProto.INT64


def features(network: Texture) -> onnx.ModelProto:
    """decoded: sixteenths (N, symbols, h/2, w/2); q -> features (N, features, h, w), integers 0..255."""
    g = GraphBuilder("texture_features")
    part = network.features
    g.name_layers(part, "texture.features")
    decoded = g.input("decoded", FLOAT, ["N", network.symbols, "hh", "hw"])
    q = g.input("q", INT64, [1])
    x = fixed(g, quarters(g, decoded), part.enter, quality_integers(g, q))
    x = g.shuffle(fixed(g, fixed(g, x, part.mix), part.leave), 2)
    g.output(x, "features", FLOAT, ["N", network.shape.features, "h", "w"])
    return g.model()


def means(network: Texture) -> onnx.ModelProto:
    """means: integers (N, MEANS, h/2, w/2) of ``duoview.texture.block_means``; q -> what ``features`` gives."""
    g = GraphBuilder("texture_means")
    part = network.means
    g.name_layers(part, "texture.means")
    given = g.input("means", FLOAT, ["N", MEANS, "hh", "hw"])
    q = g.input("q", INT64, [1])
    x = fixed(g, given, part.enter, quality_integers(g, q))
    x = g.shuffle(fixed(g, fixed(g, x, part.mix), part.leave), 2)
    g.output(x, "features", FLOAT, ["N", network.shape.features, "h", "w"])
    return g.model()


def prior(network: Texture) -> onnx.ModelProto:
    """features; nodes: embeddings (N, G E, h, w); decided, previous (N, G, h, w); conditions -> logits (N, G, h, w)."""
    g = GraphBuilder("texture_prior")
    part, shape = network.prior, network.shape
    g.name_layers(part, "texture.prior")
    inputs = [("features", shape.features), ("nodes", shape.groups * shape.embedding), ("decided", shape.groups),
              ("previous", shape.groups)]
    planes = [(g.input(name, FLOAT, ["N", channels, "h", "w"]), channels) for name, channels in inputs]
    conditions = g.input("conditions", FLOAT, [1, CONDITIONS, 1, 1])
    x = fixed(g, g.concat(*planes), part.enter, conditions)
    for layer in (part.spread, part.mix, part.near, part.gather, part.head):
        x = fixed(g, x, layer)
    g.output(g.operator("Cast", x, to=INT16), "logits", INT16, ["N", shape.groups, "h", "w"])
    return g.model()


def analysis(network: TextureAnalysis, latent: int) -> onnx.ModelProto:
    """z, base (N, latent, h, w), q -> components, of the same shape."""
    g = GraphBuilder("texture_analysis")
    g.name_layers(network, "texture.analysis")
    z = g.input("z", FLOAT, ["N", latent, "h", "w"])
    base = g.input("base", FLOAT, ["N", latent, "h", "w"])
    q = g.input("q", INT64, [1])
    x = convolution(g, g.concat((z, latent), (base, latent)), network.enter)
    x = block(g, leaky(g, g.operator("Mul", x, quality_vector(g, network.modulation, q))), network.block)
    direct = convolution(g, g.operator("Sub", z, base), network.direct)
    x = g.operator("Mul", g.operator("Add", direct, convolution(g, x, network.leave)),
                   quality_vector(g, network.gain, q))
    g.output(x, "components", FLOAT, ["N", latent, "h", "w"])
    return g.model()


def tables(network: Texture, synthesis: DepthSynthesis, palettes: Palettes, error: NDArray[np.float32],
           levels: NDArray[np.uint8]) -> TextureTables:
    """All tables. error, levels: (64,), as in ``duoview.texture.tables``."""
    groups = network.shape.groups
    with torch.no_grad():
        embedding: tuple[NDArray[np.int8], ...] = tuple(
            (network.embeddings(d) * 16).numpy().astype(np.int8) for d in range(palettes.depth + 1))
        own: tuple[NDArray[np.int8], ...] = tuple(
            (network.own_logits(d) * 16).numpy().astype(np.int8) for d in range(palettes.depth))
    return TextureTables(array(synthesis.matrix), array(synthesis.gains()),
                         palettes.scale, error, np.full(groups, STEP, np.float32), palettes.nodes, embedding, own,
                         class_table().numpy(), palettes.rate, palettes.price, levels)
