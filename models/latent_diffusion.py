"""A pretrained latent diffusion model from a local folder, as this codec's E, D, denoiser and text encoder.

The folder has the layout that diffusers writes: ``vae`` (AutoencoderKL), ``unet`` (UNet2DConditionModel),
``controlnet`` (ControlNetModel), ``text_encoder`` (CLIPTextModel), ``tokenizer`` (CLIP's) and ``scheduler``. Weights
are read as safetensors only: the older .bin files are pickles, which run what they say. Nothing is ever downloaded.

Latent diffusion: Rombach et al., CVPR 2022; ControlNet: Zhang et al., ICCV 2023.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from duoview.errors import ProfileError

#: What every part of a folder has: its configuration, the class that this names (None: any), its weights.
PARTS: dict[str, tuple[str, str | None, str | None]] = {
    "vae": ("config.json", "AutoencoderKL", "diffusion_pytorch_model"),
    "unet": ("config.json", "UNet2DConditionModel", "diffusion_pytorch_model"),
    "controlnet": ("config.json", "ControlNetModel", "diffusion_pytorch_model"),
    "text_encoder": ("config.json", None, "model"),
    "tokenizer": ("vocab.json", None, None),
    "scheduler": ("scheduler_config.json", None, None),
}
MERGES = "merges.txt"
PREDICTIONS = ("epsilon", "v_prediction", "sample")
#: Pixels on a side of a latent position, as everywhere in this codec.
SHRINKING = 8


class ModelFolderError(ProfileError, FileNotFoundError):
    """A file of a model's folder is missing; the message names it."""


@dataclass(frozen=True)
class Folder:
    """The parts of a model on disk, each checked to be there and to be what it should.

    controlnet: where the control branch is, which often comes by itself; None for ``folder/controlnet``.

    Raises ModelFolderError for what is missing, ProfileError for what is something else.
    """

    folder: Path
    controlnet: Path | None = None

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise ModelFolderError(f"{self.folder}: no such folder; expected one with {', '.join(PARTS)}")
        for part, (configuration, class_name, weights) in PARTS.items():
            place = self.part(part)
            needed = [configuration, *([MERGES] if part == "tokenizer" else [])]
            missing = [name for name in needed if not (place / name).is_file()]
            if weights is not None and not any((place / f"{weights}.safetensors{more}").is_file()
                                               for more in ("", ".index.json")):
                missing.append(f"{weights}.safetensors")
            if missing:
                old = [name for name in (f"{weights}.bin", "pytorch_model.bin") if (place / name).is_file()]
                hint = f"; {old[0]} is a pickle, which is not read: save it as safetensors" if old else ""
                raise ModelFolderError(f"{place / missing[0]}: missing; expected the layout of diffusers, with "
                                       f"{part}/{missing[0]}{hint}")
            if class_name is not None:
                found = self.configuration(part).get("_class_name")
                if found != class_name:
                    raise ProfileError(f"{place / configuration}: a {found}, expected a {class_name}")

    def part(self, name: str) -> Path:
        """The folder of a part."""
        if name == "controlnet" and self.controlnet is not None:
            return self.controlnet
        return self.folder / name

    def configuration(self, name: str) -> dict[str, Any]:
        """A part's configuration. Raises ProfileError for a file that is not JSON."""
        return _json_object(self.part(name) / PARTS[name][0])


@dataclass(frozen=True)
class NoiseSchedule:
    """How noisy the states are that a network was trained on.

    log_ratio: (steps,) float64, log of noise over signal by timestep, rising. prediction: one of PREDICTIONS.
    """

    log_ratio: Tensor
    prediction: str

    @classmethod
    def load(cls, folder: Folder) -> NoiseSchedule:
        """Of the scheduler's configuration. Raises ProfileError for one that is of no use here."""
        from diffusers import DDIMScheduler

        path = folder.part("scheduler") / PARTS["scheduler"][0]
        configuration = folder.configuration("scheduler")
        prediction = configuration.get("prediction_type", "epsilon")
        if prediction not in PREDICTIONS or "beta_start" not in configuration:
            raise ProfileError(f"{path}: {configuration.get('_class_name')} with prediction_type {prediction!r}; "
                               f"expected a schedule of betas and one of {', '.join(PREDICTIONS)}")
        scheduler: Any = DDIMScheduler.from_config(configuration)
        kept = scheduler.alphas_cumprod.double()
        kept = kept[kept > 1e-12]  # a schedule may end in pure noise, whose ratio is no number
        return cls(0.5 * torch.log((1 - kept) / kept), prediction)


@dataclass(frozen=True)
class LatentDiffusion:
    """The networks of one model, in evaluation mode, as read.

    scale, shift: of its latents, z = (mean - shift) * scale. control: ``picture`` or ``latent``, what the control
    branch looks at. tokens: how many numbers a text takes.
    """

    vae: Any
    unet: Any
    controlnet: Any
    text_encoder: Any
    schedule: NoiseSchedule
    scale: float
    shift: float
    control: str
    tokens: int

    @property
    def latent(self) -> int:
        """Channels of z."""
        return int(self.vae.config.latent_channels)

    def encoder(self) -> VaeEncoder:
        """E."""
        return VaeEncoder(self)

    def decoder(self) -> VaeDecoder:
        """D."""
        return VaeDecoder(self)


def load(folder: Folder) -> LatentDiffusion:
    """Read a model. Raises ProfileError that says which part does not fit this codec, or which other part."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextModel

    parts: dict[str, Any] = {}
    for name, class_ in (("vae", AutoencoderKL), ("unet", UNet2DConditionModel), ("controlnet", ControlNetModel),
                         ("text_encoder", CLIPTextModel)):
        try:
            given: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
            if name != "text_encoder":
                given["low_cpu_mem_usage"] = False  # the other way needs accelerate
            part, told = class_.from_pretrained(str(folder.part(name)), **given)
        except (OSError, ValueError, RuntimeError) as error:
            raise ProfileError(f"{folder.part(name)}: cannot be read as a {class_.__name__} ({error})") from error
        # Both libraries draw what a file lacks at random, and go on. More than is asked for does no harm.
        lacking = sorted(str(one) for what in ("missing_keys", "mismatched_keys") for one in told[what])
        if lacking:
            raise ProfileError(f"{folder.part(name)}: its weights lack {lacking[0]} of a {class_.__name__} of its "
                               f"configuration ({len(lacking)} in all); expected all of them")
        parts[name] = part.float().eval()
    vae, unet, controlnet, text = (parts[name] for name in ("vae", "unet", "controlnet", "text_encoder"))
    shrinking = 2 ** (len(vae.config.block_out_channels) - 1)
    width = unet.config.cross_attention_dim
    steps = len(controlnet.config.conditioning_embedding_out_channels) - 1
    control = {(3, SHRINKING): "picture", (int(vae.config.latent_channels), 1): "latent"}.get(
        (int(controlnet.config.conditioning_channels), 2**steps))
    for wrong, place, found, expected in (
        (shrinking != SHRINKING, "vae", f"latents of 1/{shrinking} of the picture", f"1/{SHRINKING}"),
        (unet.config.in_channels != vae.config.latent_channels, "unet", f"{unet.config.in_channels} channels in",
         f"the {vae.config.latent_channels} of the vae"),
        (unet.config.out_channels != vae.config.latent_channels, "unet", f"{unet.config.out_channels} channels out",
         f"the {vae.config.latent_channels} of the vae"),
        (getattr(unet.config, "addition_embed_type", None) is not None, "unet",
         f"addition_embed_type {getattr(unet.config, 'addition_embed_type', None)!r}", "none: no second text encoder"),
        (width != text.config.hidden_size, "text_encoder", f"vectors of {text.config.hidden_size}",
         f"the {width} of the unet"),
        (controlnet.config.cross_attention_dim != width, "controlnet",
         f"cross_attention_dim {controlnet.config.cross_attention_dim}", f"the {width} of the unet"),
        (tuple(controlnet.config.block_out_channels) != tuple(unet.config.block_out_channels), "controlnet",
         f"blocks of {tuple(controlnet.config.block_out_channels)}", f"{tuple(unet.config.block_out_channels)}"),
        (control is None, "controlnet", f"{controlnet.config.conditioning_channels} conditioning channels at "
         f"1/{2**steps}", f"a picture of 3 at 1/{SHRINKING}, or the {vae.config.latent_channels} of z at 1/1"),
    ):
        if wrong:
            raise ProfileError(f"{folder.part(place)}: {found}; expected {expected}")
    assert control is not None
    return LatentDiffusion(
        vae, unet, controlnet, text, NoiseSchedule.load(folder), float(vae.config.scaling_factor),
        float(getattr(vae.config, "shift_factor", None) or 0.0), control, int(text.config.max_position_embeddings))


class VaeEncoder(nn.Module):
    """E: RGB in [0, 1], (N, 3, H, W), sides multiples of 8 -> z, (N, latent, H/8, W/8): the mean of its posterior."""

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.vae, self.scale, self.shift = model.vae, model.scale, model.shift

    def forward(self, picture: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(picture * 2 - 1).latent_dist.mean
        return (mean - self.shift) * self.scale


class VaeDecoder(nn.Module):
    """D: z, (N, latent, H/8, W/8) -> RGB, (N, 3, H, W), nominally in [0, 1], not clamped."""

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.vae, self.scale, self.shift = model.vae, model.scale, model.shift

    def forward(self, z: Tensor) -> Tensor:
        picture: Tensor = self.vae.decode(z / self.scale + self.shift).sample
        return picture * 0.5 + 0.5


class GuidedStep(nn.Module):
    """One Euler step of the flow from noise to z - z_m, by a network that knows noisy z (`duoview.models.denoiser`).

    At time t the state is ``(1 - t) * noise + t * (z - z_m)``, so that ``c * (state + t * z_m)`` with
    ``c = 1 / sqrt(t^2 + (1 - t)^2)`` is z with noise in the proportion of a diffusion process that preserves variance:
    it is given to the network at the timestep of that proportion, between two where it lies between.

    guidance: weight of the text against no text (Ho and Salimans, 2022); 1 runs the network once, for the text alone.
    """

    def __init__(self, model: LatentDiffusion, guidance: float = 1.0) -> None:
        super().__init__()
        self.unet, self.controlnet, self.control = model.unet, model.controlnet, model.control
        self.prediction, self.guidance = model.schedule.prediction, guidance
        self.ratios: Tensor
        self.register_buffer("ratios", model.schedule.log_ratio.float())

    def forward(self, state: Tensor, z_m: Tensor, time: Tensor, gain: Tensor, text: Tensor,
                condition: Tensor | None = None) -> Tensor:
        """The next state.

        state, z_m: (1, latent, h, w). time: (1, 1) in [0, 1). gain: (1,), the step's length over the time left. text:
        (1, tokens, width), or (2, ...) with that of no text first where guidance is not 1. condition: uint8
        (1, 3, 8h, 8w), the picture of z_m, where the control branch looks at pictures.
        """
        t = time.reshape(1, 1, 1, 1)
        noisy = (state + t * z_m) * torch.rsqrt(t * t + (1 - t) * (1 - t))
        # At t = 0 there is no signal at all; networks were trained down to the last ratio of their schedule.
        ratio = torch.log((1 - t) / torch.clamp(t, min=1e-9)).reshape(1)
        ratio = torch.minimum(torch.maximum(ratio, self.ratios[:1]), self.ratios[-1:])
        timestep = self._timestep(ratio)
        count = 1 if self.guidance == 1 else 2
        looked_at = z_m if self.control == "latent" else condition
        assert looked_at is not None
        seen = looked_at.float() if self.control == "latent" else looked_at.float() / 255
        many, seen = noisy.repeat(count, 1, 1, 1), seen.repeat(count, 1, 1, 1)
        down, middle = self.controlnet(many, timestep, encoder_hidden_states=text, controlnet_cond=seen,
                                       return_dict=False)
        found = self.unet(many, timestep, encoder_hidden_states=text, down_block_additional_residuals=down,
                          mid_block_additional_residual=middle, return_dict=False)[0]
        if count == 2:
            without, told = found[:1], found[1:]
            found = without + self.guidance * (told - without)
        signal = torch.rsqrt(1 + torch.exp(2 * ratio)).reshape(1, 1, 1, 1)
        noise = torch.sqrt(1 - signal * signal)
        if self.prediction == "epsilon":
            z = (noisy - noise * found) / signal
        elif self.prediction == "v_prediction":
            z = signal * noisy - noise * found
        else:
            z = found
        return state + (z - z_m - state) * gain.reshape(1, 1, 1, 1)

    def _timestep(self, ratio: Tensor) -> Tensor:
        """(1,) where a ratio stands in the schedule, by straight lines between timesteps."""
        last = self.ratios.shape[0] - 1
        below = torch.clamp((self.ratios <= ratio).sum() - 1, 0, last - 1).reshape(1)
        low, high = self.ratios[below], self.ratios[below + 1]
        return below.float() + (ratio - low) / (high - low)


class TextVectors(nn.Module):
    """Numbers of a text, int64 (1, tokens) -> (1, tokens, width): the last layer, after its normalisation."""

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.text_encoder = model.text_encoder

    def forward(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.text_encoder(input_ids=ids).last_hidden_state
        return vectors


def tokenizer_tables(folder: Folder, tokens: int) -> dict[str, Any]:
    """What `duoview.clip_tokenizer.ClipTokenizer` reads, from a folder's tokenizer. Raises ProfileError."""
    place = folder.part("tokenizer")
    vocabulary: dict[str, int] = folder.configuration("tokenizer")
    try:
        lines = (place / MERGES).read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise ProfileError(f"{place / MERGES}: not a text in UTF-8 ({error})") from None
    merges = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
    odd = next((pair for pair in merges if len(pair) != 2), None)
    if odd is not None:
        raise ProfileError(f"{place / MERGES}: {' '.join(odd)!r}: expected two symbols on every line")
    special: dict[str, str] = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (place / name).is_file():
            content = _json_object(place / name)
            for key in ("bos_token", "eos_token", "pad_token"):
                value = content.get(key)
                if value is not None:
                    special[key] = str(value.get("content")) if isinstance(value, dict) else str(value)
    special.setdefault("pad_token", special["eos_token"])
    for key, token in special.items():
        if token not in vocabulary:
            raise ProfileError(f"{place / 'vocab.json'}: lacks {token!r}, the {key}")
    return {"vocabulary": vocabulary, "merges": merges, "length": tokens, "start": vocabulary[special["bos_token"]],
            "end": vocabulary[special["eos_token"]], "padding": vocabulary[special["pad_token"]]}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProfileError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ProfileError(f"{path}: {type(content).__name__}, expected an object")
    return content


def time_of(ratio: float) -> float:
    """The time of the flow at which noise over signal has this logarithm."""
    return 1 / (1 + math.exp(ratio))
