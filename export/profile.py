"""Write a profile: ONNX files, integer tables, golden vectors and the manifest whose hash goes into every stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from duoview import kernels
from duoview.errors import ProfileError
from duoview.export import (
    exact_networks,
    float_networks,
    human_networks,
    restoration_network,
    saliency_network,
    texture_networks,
)
from duoview.export.golden_vectors import golden_digests
from duoview.export.graph import weights_of
from duoview.models.conditional_denoiser import CaptionEncoder, ConditionalDenoiser
from duoview.models.denoiser import Denoiser
from duoview.models.human_decoder import HumanDecoder
from duoview.models.inter import STATE_GRID, STATE_LIMIT, InterCodec, TemporalHyperDecoder
from duoview.models.key import HyperDecoder, SymbolModel
from duoview.models.network import Shape, StillCodec, lagrangian
from duoview.models.rate import class_of_sigma
from duoview.models.restoration import Restoration
from duoview.models.saliency import Saliency
from duoview.models.texture import Texture
from duoview.models.texture_analysis import TextureAnalysis
from duoview.models.texture_palettes import Palettes
from duoview.models.texture_synthesis import DepthSynthesis
from duoview.motion_compensation import ShiftOperators
from duoview.profile import EXACT, FORMAT, TEXTURE_ANALYSIS, Profile
from duoview.texture.tables import check_tables


@dataclass(frozen=True)
class Networks:
    """Everything that a profile is made of. residual_scale: (64, latent); latent_weight: (2, latent, latent).

    captions: beside a conditional denoiser that takes captions. restoration, saliency: for inner streams, None for a
    profile without them. lagrangian: (64,), what a squared error
    of one 8-bit step is worth in bits per pixel where P frames decide what to code; None for that of stage 2. motion:
    weights of shift operators, None for P frames without motion compensation. human_decoder: D_h, None where D shows
    human views; with a base of its own, so that it stays that of the D it was trained on.
    """

    still: StillCodec
    inter: InterCodec
    denoiser: Denoiser | ConditionalDenoiser
    residual_scale: torch.Tensor
    latent_weight: torch.Tensor
    restoration: Restoration | None = None
    saliency: Saliency | None = None
    lagrangian: torch.Tensor | None = None
    captions: CaptionEncoder | None = None
    motion: NDArray[np.int16] | None = None
    human_decoder: HumanDecoder | None = None


def hyper_classes(model: SymbolModel) -> NDArray[np.uint8]:
    """Table class of every hyper channel by quality index: (64, hyper)."""
    with torch.no_grad():
        classes = class_of_sigma(model.hyper_sigma.table()).clamp(min=1)
    return classes.numpy().astype(np.uint8)


def graphs(networks: Networks) -> dict[str, onnx.ModelProto]:
    """All networks of a profile by name. A D_h of another D is none of them: z means something else now."""
    still, inter = networks.still, networks.inter
    s = still.shape
    key_hyper, inter_hyper = still.key.model.decoder, inter.model.decoder
    assert isinstance(key_hyper, HyperDecoder) and isinstance(inter_hyper, TemporalHyperDecoder)
    found = {
        "encoder": float_networks.encoder(still.encoder, s.latent),
        "decoder": float_networks.decoder(still.decoder, s.latent),
        "key_analysis": float_networks.key_analysis(still.key, s.latent, s.symbols, s.hyper),
        "key_hyper": exact_networks.hyper_decoder(key_hyper, s.hyper, s.symbols, s.parameters),
        "key_context": exact_networks.context(still.key.model.context, "key_context", s.symbols, s.parameters),
        "key_synthesis": float_networks.key_synthesis(still.key, s.latent, s.symbols),
        "inter_analysis": float_networks.inter_analysis(inter, s.latent, s.symbols, s.hyper),
        "inter_hyper": exact_networks.hyper_decoder(inter_hyper, s.hyper, s.symbols, s.parameters),
        "inter_context": exact_networks.context(inter.model.context, "inter_context", s.symbols, s.parameters),
        "inter_synthesis": float_networks.inter_synthesis(inter, s.latent, s.symbols),
        "colour": float_networks.colour_controller(),
    }
    found |= _human_graphs(networks.denoiser, networks.captions, s.latent)
    if networks.restoration is not None:
        found["restoration"] = restoration_network.restoration(networks.restoration)
    if networks.saliency is not None:
        found["saliency"] = saliency_network.saliency(networks.saliency)
    if networks.human_decoder is not None:
        made = human_networks.human_decoder(networks.human_decoder)
        if _of_this_decoder(made, found["decoder"]):
            found["human_decoder"] = made
    return found


def _of_this_decoder(human_decoder: onnx.ModelProto, decoder: onnx.ModelProto) -> bool:
    """Whether the base of a D_h is this D, to the bit of what is stored."""
    base, whole = ({name.removeprefix(prefix): values for name, values in weights_of(model).items()
                    if name.startswith(prefix)}
                   for model, prefix in ((human_decoder, "human_decoder.base."), (decoder, "still.decoder.")))
    return base.keys() == whole.keys() and all(np.array_equal(base[name], whole[name]) for name in base)


def _human_graphs(denoiser: Denoiser | ConditionalDenoiser, captions: CaptionEncoder | None, latent: int
                  ) -> dict[str, onnx.ModelProto]:
    if isinstance(denoiser, Denoiser):
        return {"denoiser": float_networks.denoiser(denoiser, latent)}
    found = {"denoiser": human_networks.denoiser(denoiser)}
    numbers = captions.out.out_features if captions is not None else 0
    if denoiser.shape.caption != numbers:
        raise ValueError(f"a denoiser for captions of {denoiser.shape.caption} numbers, a text encoder of {numbers}")
    if captions is not None:
        found["caption"] = human_networks.caption(captions)
    return found


def write(networks: Networks, folder: Path, *, name: str, card: str) -> str:
    """Write the profile and return its sha256. Existing files of that folder are replaced.

    A D_h comes with it where its base is the D that is written; one of another D is left out, and removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = networks.still.shape
    files: dict[str, dict[str, str]] = {}
    golden: dict[str, dict[str, str]] = {}
    sizes = {"symbols": shape.symbols, "hyper": shape.hyper, "parameters": shape.parameters}
    for key, model in graphs(networks).items():
        data = model.SerializeToString()
        files[key] = _write_network(key, data, folder)
        if key in EXACT:
            golden[key] = golden_digests(key, data, sizes)
    if "human_decoder" not in files:
        (folder / "human_decoder.onnx").unlink(missing_ok=True)
    manifest: dict[str, Any] = {
        "format": FORMAT, "name": name, "sizes": {"latent": shape.latent, **sizes}, "shape": shape.as_dict(),
        "state": {"limit": STATE_LIMIT, "grid": STATE_GRID},
        "coder_tables": kernels.tables_digest(),
        "networks": files,
        "tables": _write_tables(networks, folder),
        "golden": golden,
    }
    if isinstance(networks.denoiser, ConditionalDenoiser):
        manifest["human"] = networks.denoiser.shape.as_dict()
    if networks.restoration is not None:
        manifest["restoration"] = restoration_network.stored_shape(networks.restoration)
    if networks.saliency is not None:
        manifest["saliency"] = saliency_network.stored_shape(networks.saliency)
    if networks.motion is not None:
        manifest["motion"] = _write_motion(networks.motion, shape.latent, folder)
    if networks.human_decoder is not None and "human_decoder" in files:
        manifest["human_decoder"] = networks.human_decoder.shape.as_dict()
    (folder / "MODEL_CARD.md").write_text(card)
    return _write_manifest(manifest, folder)


def add_restoration(network: Restoration, folder: Path) -> str:
    """Put a restoration network into a profile that is there, in place of its old one; everything else stays.

    Returns the profile's new sha256. Raises ProfileError when there is no profile in ``folder``.
    """
    return _add("restoration", restoration_network.restoration(network), restoration_network.stored_shape(network),
                folder)


def add_saliency(network: Saliency, folder: Path) -> str:
    """Put a saliency network into a profile that is there, in place of its old one; everything else stays.

    Returns the profile's new sha256. Raises ProfileError when there is no profile in ``folder``.
    """
    return _add("saliency", saliency_network.saliency(network), saliency_network.stored_shape(network), folder)


def add_human(denoiser: ConditionalDenoiser, captions: CaptionEncoder | None, folder: Path) -> str:
    """Put a conditional denoiser and its text encoder into a profile, in place of its denoiser; everything else stays.

    But D_h, which goes: what it shows is what the old one sampled. Train one for these, with ``add_human_decoder``.

    Returns the profile's new sha256. Raises ProfileError when there is no profile in ``folder``, ValueError for
    networks that are not for one another or not for this profile's latent.
    """
    profile = Profile(folder)
    manifest = profile.manifest
    if profile.latent_diffusion is not None:
        raise ProfileError(f"{folder}: made of a latent diffusion model, whose denoiser stays; expected a profile of "
                           "networks of our own")
    if denoiser.latent != manifest["sizes"]["latent"]:
        raise ValueError(f"{folder}: a latent of {manifest['sizes']['latent']} channels, a denoiser for "
                         f"{denoiser.latent}")
    made = _human_graphs(denoiser, captions, denoiser.latent)
    drop_human_decoder(manifest, folder)
    for key, model in made.items():
        manifest["networks"][key] = _write_network(key, model.SerializeToString(), folder)
    if captions is None and manifest["networks"].pop("caption", None) is not None:
        (folder / "caption.onnx").unlink()
    manifest["human"] = denoiser.shape.as_dict()
    return _write_manifest(manifest, folder)


def add_human_decoder(network: HumanDecoder, folder: Path) -> str:
    """Put D_h, which shows human views from then on, into a profile, in place of its old one; everything else stays.

    Returns the profile's new sha256. Raises ProfileError when there is no profile in ``folder``, for one that was made
    of a latent diffusion model and for one at another precision; ValueError for a D_h of another latent, and where the
    profile's D, as it is stored, is not the network's base.
    """
    profile = Profile(folder)
    manifest = profile.manifest
    if profile.latent_diffusion is not None:
        raise ProfileError(f"{folder}: made of a latent diffusion model, whose decoder shows human views; expected a "
                           "profile of networks of our own")
    if "precision" in manifest:
        raise ProfileError(f"{folder}: is at another precision; expected the profile that it was exported from")
    latent = network.latent
    if latent != manifest["sizes"]["latent"]:
        raise ValueError(f"{folder}: a latent of {manifest['sizes']['latent']} channels, a human decoder for {latent}")
    made = human_networks.human_decoder(network)
    if not _of_this_decoder(made, onnx.load(str(profile.path("decoder")))):
        raise ValueError(f"{folder}: its D is not the one that this human decoder adds to; expected the profile that "
                         "it was trained for")
    manifest["networks"]["human_decoder"] = _write_network("human_decoder", made.SerializeToString(), folder)
    manifest["human_decoder"] = network.shape.as_dict()
    return _write_manifest(manifest, folder)


def drop_human_decoder(manifest: dict[str, Any], folder: Path) -> None:
    """Take D_h, where there is one, out of a manifest and its folder: for who puts another D or denoiser there."""
    manifest.pop("human_decoder", None)
    if manifest["networks"].pop("human_decoder", None) is not None:
        (folder / "human_decoder.onnx").unlink()


def replace_networks(networks: Networks, names: Sequence[str], folder: Path) -> str:
    """Put networks of these names into a profile that is there, its tables anew; all other networks stay as they are.

    But D_h, which goes where E, D or what samples latents is replaced: put one of theirs there with
    ``add_human_decoder``.

    Golden vectors of exact ones come with them. Returns the profile's new sha256. Raises ProfileError when there is no
    profile in ``folder``, ValueError for a name that is none and for networks of other sizes.
    """
    manifest = Profile(folder).manifest
    shape = networks.still.shape
    there = Shape(**manifest["shape"])
    if "inter_synthesis" in names:  # the only network whose sizes nothing else depends on
        there = replace(there, inter_blocks=shape.inter_blocks, inter_fine=shape.inter_fine)
    if there != shape:
        raise ValueError(f"{folder}: a profile of {there.as_dict()}, networks of {shape.as_dict()}")
    manifest["shape"] = shape.as_dict()
    made = graphs(networks)
    made.pop("human_decoder", None)
    for name in names:
        if name not in made:
            raise ValueError(f"network {name!r}: expected some of {', '.join(made)}")
        data = made[name].SerializeToString()
        manifest["networks"][name] = _write_network(name, data, folder)
        if name in EXACT:
            sizes = {"symbols": shape.symbols, "hyper": shape.hyper, "parameters": shape.parameters}
            manifest["golden"][name] = golden_digests(name, data, sizes)
    if {"encoder", "decoder", "denoiser", "caption"} & set(names):
        drop_human_decoder(manifest, folder)
    manifest["tables"] = _write_tables(networks, folder)
    return _write_manifest(manifest, folder)


def add_texture(network: Texture, analysis: TextureAnalysis, synthesis: DepthSynthesis, palettes: Palettes,
                error: NDArray[np.float32], levels: NDArray[np.uint8], folder: Path) -> str:
    """Put a texture layer into a profile that is there, in place of its old one; everything else stays.

    error, levels: (64,), as in ``duoview.texture.tables``. Returns the profile's new sha256. Raises ProfileError when
    there is no profile in ``folder``, ValueError when an accumulator of the networks cannot be proven to stay in range.
    """
    manifest = Profile(folder).manifest
    found = texture_networks.tables(network, synthesis, palettes, error, levels)
    check_tables(found, manifest["sizes"]["latent"], "the new texture tables")
    shape = network.shape.as_dict()
    sizes = {**manifest["sizes"], **shape}
    for key, model in (("texture_features", texture_networks.features(network)),
                       ("texture_means", texture_networks.means(network)),
                       ("texture_prior", texture_networks.prior(network))):
        data = model.SerializeToString()
        manifest["networks"][key] = _write_network(key, data, folder)
        manifest["golden"][key] = golden_digests(key, data, sizes)
    model = texture_networks.analysis(analysis, manifest["sizes"]["latent"])
    manifest["networks"][TEXTURE_ANALYSIS] = _write_network(TEXTURE_ANALYSIS, model.SerializeToString(), folder)
    np.savez(folder / "texture.npz", allow_pickle=False, **found.arrays())
    manifest["texture"] = {"file": "texture.npz", **shape,
                           "sha256": hashlib.sha256((folder / "texture.npz").read_bytes()).hexdigest()}
    return _write_manifest(manifest, folder)


def add_motion(weights: NDArray[np.int16], folder: Path) -> str:
    """Put shift operators into a profile that is there, in place of its old ones; everything else stays.

    weights: as of ``duoview.motion_compensation.ShiftOperators``. Returns the profile's new sha256. Raises ProfileError
    when there is no profile in ``folder``, ValueError for operators of another latent.
    """
    profile = Profile(folder)
    profile.manifest["motion"] = _write_motion(weights, profile.sizes.latent, folder)
    return _write_manifest(profile.manifest, folder)


def _write_motion(weights: NDArray[np.int16], latent: int, folder: Path) -> dict[str, str]:
    found = ShiftOperators(weights)
    if found.latent != latent:
        raise ValueError(f"shift operators of {found.latent} channels for a profile of {latent}")
    np.savez_compressed(folder / "motion.npz", allow_pickle=False, weights=weights)
    return {"file": "motion.npz", "sha256": hashlib.sha256((folder / "motion.npz").read_bytes()).hexdigest()}


def _add(key: str, model: onnx.ModelProto, shape: dict[str, list[int]], folder: Path) -> str:
    manifest = Profile(folder).manifest
    manifest["networks"][key] = _write_network(key, model.SerializeToString(), folder)
    manifest[key] = shape
    return _write_manifest(manifest, folder)


def _write_tables(networks: Networks, folder: Path) -> dict[str, str]:
    worth = networks.lagrangian if networks.lagrangian is not None else lagrangian(torch.arange(64))
    tables = {
        "key_hyper_classes": hyper_classes(networks.still.key.model),
        "inter_hyper_classes": hyper_classes(networks.inter.model),
        "residual_scale": networks.residual_scale.numpy().astype(np.float32),
        "latent_weight": networks.latent_weight.numpy().astype(np.float32),
        "lagrangian": worth.numpy().astype(np.float32),
    }
    np.savez(folder / "tables.npz", allow_pickle=False, **tables)  # type: ignore[arg-type]
    return {"file": "tables.npz", "sha256": hashlib.sha256((folder / "tables.npz").read_bytes()).hexdigest()}


def _write_network(key: str, data: bytes, folder: Path) -> dict[str, str]:
    (folder / f"{key}.onnx").write_bytes(data)
    return {"file": f"{key}.onnx", "sha256": hashlib.sha256(data).hexdigest()}


def _write_manifest(manifest: dict[str, Any], folder: Path) -> str:
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    (folder / "profile.json").write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()
