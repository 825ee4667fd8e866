"""A latent diffusion model of random weights, in the folder layout that diffusers writes; a second to make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

TOKENS = 12
MERGES = (("c", "a"), ("ca", "r</w>"), ("d", "o"), ("do", "g</w>"), ("t", "h"), ("th", "e</w>"))


def letters() -> list[str]:
    """GPT-2's printable letter of every byte, in the order of CLIP's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + number) for number in range(256 - len(plain))]


def vocabulary() -> dict[str, int]:
    """Every byte alone and at the end of a word, what the merges make, and the two special tokens."""
    names = [*letters(), *(letter + "</w>" for letter in letters()), *(one + other for one, other in MERGES),
             "<|startoftext|>", "<|endoftext|>"]
    return {name: number for number, name in enumerate(names)}


def write(folder: Path, *, control: str = "picture", prediction: str = "epsilon", seed: int = 0) -> Path:
    """Write all parts. control: what the control branch looks at, ``picture`` or ``latent``."""
    from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    vae: Any = AutoencoderKL(
        block_out_channels=(4, 4, 4, 8), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4, sample_size=64)
    vae.save_pretrained(folder / "vae")
    unet: Any = UNet2DConditionModel(
        block_out_channels=(8,), down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=8, attention_head_dim=4, norm_num_groups=4, layers_per_block=1, sample_size=8)
    unet.save_pretrained(folder / "unet")
    seen = {"conditioning_channels": 3, "conditioning_embedding_out_channels": (4, 4, 4, 8)}
    if control == "latent":
        seen = {"conditioning_channels": 4, "conditioning_embedding_out_channels": (8,)}
    branch: Any = ControlNetModel.from_unet(unet, **seen)
    silent = (*branch.controlnet_down_blocks, branch.controlnet_mid_block, branch.controlnet_cond_embedding.conv_out)
    for layer in silent:
        torch.nn.init.normal_(layer.weight, std=0.3)  # a fresh branch is silent
    branch.save_pretrained(folder / "controlnet")
    numbers = vocabulary()
    text: Any = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(numbers), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=TOKENS, bos_token_id=len(numbers) - 2, eos_token_id=len(numbers) - 1))
    text.save_pretrained(folder / "text_encoder")
    place = folder / "tokenizer"
    place.mkdir()
    (place / "vocab.json").write_text(json.dumps(numbers))
    (place / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{one} {other}\n" for one, other in MERGES))
    (place / "tokenizer_config.json").write_text(json.dumps({"model_max_length": TOKENS}))
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
                  prediction_type=prediction).save_pretrained(folder / "scheduler")
    return folder
