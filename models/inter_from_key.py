"""P frames that begin with the transforms of key frames, applied to the change of the latent.

What is new where something moves is a piece of another picture, which the transforms of key frames can say already;
P frames that learn from nothing settle for transforms that cannot (docs/training.md).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from duoview.models.inter import InterCodec, TemporalHyperDecoder
from duoview.models.key import HyperDecoder, KeyCodec
from duoview.models.network import Shape
from duoview.models.train_inter import new_inter_codec

#: Positions on a side of the plane of zeros whose middle is far enough from its edges for all blocks.
_PLANE = 17


def _copy(target: nn.Module, source: nn.Module) -> None:
    target.load_state_dict(source.state_dict())


def _wider(target: nn.Module, source: nn.Module) -> None:
    """The weights of a layer that sees fewer inputs: what comes after those counts for nothing at first."""
    assert isinstance(target.weight, Tensor) and isinstance(source.weight, Tensor)
    target.weight.zero_()
    target.weight[:, :source.weight.shape[1]] = source.weight
    assert isinstance(target.bias, Tensor) and isinstance(source.bias, Tensor)
    target.bias.copy_(source.bias)


def _middle(x: Tensor) -> Tensor:
    return x[0, :, _PLANE // 2, _PLANE // 2]


@torch.no_grad()
def inter_from_key(key: KeyCodec, shape: Shape, blocks: int = 3) -> tuple[InterCodec, Shape]:
    """A P-frame codec with the transforms and the symbol model of ``key``, and the sizes of the profile that it makes.

    A change of 0 gives symbols of 0, and those a change of 0, in the mean of all quality indices. The latent before is
    seen by all of it and counts for nothing yet. shape: of the profile; its P frames get ``blocks`` blocks of
    synthesis, the first of the key frames', and no stage at 1/8. Raises ValueError where key frames have fewer.
    """
    if not 0 < blocks <= len(key.synthesis):
        raise ValueError(f"{blocks} blocks of synthesis: expected 1 to the {len(key.synthesis)} of key frames")
    synthesis = key.synthesis[:blocks]
    shape = replace(shape, inter_blocks=blocks, inter_fine=0)
    inter = new_inter_codec(shape)
    _wider(inter.analysis_in, key.analysis_in)
    for name in ("analysis", "analysis_out", "gain", "inverse_gain", "modulation", "synthesis_out"):
        _copy(getattr(inter, name), getattr(key, name))
    _copy(inter.synthesis, synthesis)
    _wider(inter.synthesis_in, key.synthesis_in)
    still = torch.zeros(1, key.analysis_in.in_channels, _PLANE, _PLANE)
    assert inter.analysis_out.bias is not None and inter.synthesis_out.bias is not None
    inter.analysis_out.bias -= _middle(key.analysis_out(key.analysis(key.analysis_in(still))))
    nothing = torch.zeros(1, key.synthesis_in.in_channels, _PLANE, _PLANE)
    modulation = key.modulation.table()
    responses = [_middle(key.synthesis_out(synthesis(key.synthesis_in(nothing) * row[None, :, None, None])))
                 for row in modulation]
    inter.synthesis_out.bias -= torch.stack(responses).mean(0)
    _symbol_model(inter, key)
    return inter, shape


def _symbol_model(inter: InterCodec, key: KeyCodec) -> None:
    """The symbol model of ``key``, whose hyper decoder does not see what was decoded before."""
    for name in ("fold", "fold_mix", "hyper_head", "hyper_sigma", "context"):
        _copy(getattr(inter.model, name), getattr(key.model, name))
    target, source = inter.model.decoder, key.model.decoder
    assert isinstance(target, TemporalHyperDecoder) and isinstance(source, HyperDecoder)
    for name in ("enter", "mix", "rise", "spread", "head"):
        _copy(getattr(target, name), getattr(source, name))
    _wider(target.features, source.features)
