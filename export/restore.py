"""Read a profile's weights back into torch networks, to train on from what was shipped.

Float weights come back as they were stored (float16), exact ones on their integer grids, quality tables at their
anchors; optimiser states are not part of a profile.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from duoview.errors import ProfileError
from duoview.export import restoration_network, saliency_network
from duoview.export.graph import Weights, weights_of
from duoview.export.profile import Networks
from duoview.generation import Generation
from duoview.models.autoencoder import LatentDecoder
from duoview.models.conditional_denoiser import CaptionEncoder, ConditionalDenoiser
from duoview.models.denoiser import Denoiser
from duoview.models.fixed_point import FixedConv
from duoview.models.human_decoder import HumanDecoder, HumanDecoderShape
from duoview.models.layers import QualityTable
from duoview.models.network import Shape, StillCodec
from duoview.models.rate import sigma_of_class
from duoview.models.train_inter import new_inter_codec


def read_weights(folder: Path) -> Weights:
    """All named constants of a profile's graphs, input channels back in torch's order."""
    weights: Weights = {}
    for path in sorted(folder.glob("*.onnx")):
        weights |= weights_of(onnx.load(str(path)))
    return weights


def _assign(layer: nn.Module, name: str, weights: Weights) -> None:
    def take(what: str) -> torch.Tensor:
        key = f"{name}.{what}"
        if key not in weights:
            raise ValueError(f"the profile has no constant {key}; it was written by another version of the exporter")
        return torch.from_numpy(weights[key])

    with torch.no_grad():
        if isinstance(layer, FixedConv):
            layer.weight.copy_(take("weight") / 2.0**layer.weight_fraction)
            layer.bias.copy_(take("bias") / 2.0**layer.accumulator_fraction)
            if layer.condition is not None:
                layer.condition.copy_(take("condition.weight") / 2.0**layer.weight_fraction)
        elif isinstance(layer, QualityTable):
            anchors = layer.log_anchors.shape[0]
            at = torch.linspace(0, QualityTable.LEVELS - 1, anchors).round().long()
            layer.log_anchors.copy_(take("table")[at][:, :, 0, 0].log())
        elif isinstance(layer, nn.Embedding):
            layer.weight.copy_(take("weight"))
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            weight, bias = take("weight"), take("bias")
            if name == "still.encoder.stem":
                bias = bias + weight.sum((1, 2, 3))  # the exporter folds the picture's offset into it
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)


def restore(folder: Path) -> Networks:
    """Networks with the weights of the profile in ``folder``. Raises ValueError when a constant is missing.

    ProfileError for a profile at another precision: what it was made of has the weights.

    The scale of the hyper symbols is stored as table classes; it comes back as the scale its class stands for.
    """
    manifest = json.loads((folder / "profile.json").read_text())
    if "precision" in manifest:  # one with streams of its own names no base
        raise ProfileError(f"{folder}: is at another precision; expected the profile that it was exported from")
    shape = Shape(**manifest["shape"])
    still, inter = StillCodec(shape), new_inter_codec(shape)
    made = Generation.read(manifest["human"]) if "human" in manifest else None
    denoiser = Denoiser(shape.latent) if made is None else ConditionalDenoiser(shape.latent, made)
    captions = CaptionEncoder(made.caption) if made is not None and made.caption else None
    weights = read_weights(folder)
    with np.load(folder / "tables.npz") as tables:
        for table, path in (("key_hyper_classes", "still.key.model"), ("inter_hyper_classes", "inter.model")):
            sigma = sigma_of_class(torch.from_numpy(tables[table].astype(np.float32))).numpy()
            weights[f"{path}.hyper_sigma.table"] = sigma[:, :, None, None]
        scale = torch.from_numpy(tables["residual_scale"].copy())
        weight = torch.from_numpy(tables["latent_weight"].copy())
        worth = torch.from_numpy(tables["lagrangian"].copy())
    restoration = restoration_network.new_of_shape(manifest["restoration"]) if "restoration" in manifest else None
    saliency = saliency_network.new_of_shape(manifest["saliency"]) if "saliency" in manifest else None
    human_decoder = None
    if "human_decoder" not in manifest and "human_decoder" in manifest["networks"]:
        raise ProfileError(f"{folder}: network 'human_decoder' without an entry 'human_decoder' of its shape; expected "
                           "channels and blocks, as add_human_decoder writes them")
    if "human_decoder" in manifest:
        base = LatentDecoder(shape.latent, shape.decoder, shape.decoder_blocks)
        human_decoder = HumanDecoder(base, HumanDecoderShape.read(manifest["human_decoder"]))
    read: dict[str, nn.Module] = {"still": still, "inter": inter, "denoiser": denoiser}
    for prefix, optional in (("restoration", restoration), ("saliency", saliency), ("caption", captions),
                             ("human_decoder", human_decoder)):
        if optional is not None:
            read[prefix] = optional
    for prefix, network in read.items():
        for name, layer in network.named_modules():
            _assign(layer, f"{prefix}.{name}", weights)
    motion = None
    if "motion" in manifest:
        with np.load(folder / manifest["motion"]["file"], allow_pickle=False) as arrays:
            motion = arrays["weights"]
    return Networks(still, inter, denoiser, scale, weight, restoration, saliency, worth, captions, motion,
                    human_decoder)
