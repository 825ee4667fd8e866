"""A profile of a pretrained latent diffusion model: its networks take the place of E, D and the denoiser.

    python -m duoview.export.latent_diffusion --model FOLDER --profile FOLDER [--controlnet FOLDER] [--guidance 1]

The profile has to be there: a machine codec of this codec's own, trained on the model's latents (`sizes.latent` as many
channels as the model has). Streams made with the profile before cannot be decoded with it afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from duoview.errors import Error, ProfileError
from duoview.export.profile import _write_manifest, drop_human_decoder
from duoview.models.latent_diffusion import (
    SHRINKING,
    Folder,
    GuidedStep,
    LatentDiffusion,
    TextVectors,
    VaeDecoder,
    VaeEncoder,
    load,
    tokenizer_tables,
)
from duoview.profile import LEVELS, Profile

OPSET = 20
#: Smaller constants stay in float32: they are gains, norms and tables rather than weights.
_LEAST_WEIGHTS = 1024
#: One protobuf file holds 2 GiB at most; above this, weights stand in a file of their own.
_LARGEST = 1 << 30
#: Latent positions of a coding unit: pictures come in whole ones.
_UNIT = 8


class _BytesToLatent(nn.Module):
    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.encoder = VaeEncoder(model)

    def forward(self, picture: Tensor) -> Tensor:
        z: Tensor = self.encoder(picture.float() / 255)
        return z


class _LatentToBytes(nn.Module):
    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.decoder = VaeDecoder(model)

    def forward(self, z: Tensor) -> Tensor:
        return torch.floor(torch.clamp(self.decoder(z) * 255, 0, 255) + 0.5).to(torch.uint8)


def graphs(model: LatentDiffusion, guidance: float = 1.0) -> dict[str, onnx.ModelProto]:
    """The networks of a model by their names in a profile: encoder, decoder, denoiser, text_encoder.

    guidance: as of GuidedStep. Sizes are free in units of 64 pixels; weights are float16, arithmetic is float32.
    """
    channels, width = model.latent, int(model.unet.config.cross_attention_dim)
    texts = 1 if guidance == 1 else 2
    z, picture = torch.zeros(1, channels, 16, 24), torch.zeros(1, 3, 128, 192, dtype=torch.uint8)
    step: dict[str, tuple[Tensor, Any]] = {
        "state": (z, _free(1)), "z_m": (z.clone(), _free(1)), "time": (torch.full((1, 1), 0.25), None),
        "gain": (torch.full((1,), 0.5), None), "text": (torch.zeros(texts, model.tokens, width), None)}
    if model.control == "picture":
        step["condition"] = (picture.clone(), _free(SHRINKING))
    return {
        "encoder": _exported(_BytesToLatent(model), {"picture": (picture, _free(SHRINKING))}, "z"),
        "decoder": _exported(_LatentToBytes(model), {"z": (z, _free(1))}, "picture"),
        "denoiser": _exported(GuidedStep(model, guidance), step, "next"),
        "text_encoder": _exported(
            TextVectors(model), {"ids": (torch.zeros(1, model.tokens, dtype=torch.int64), None)}, "text"),
    }


def put(folder: Folder, profile: Path, *, guidance: float = 1.0, largest: int = _LARGEST) -> str:
    """Put a model into a profile that is there, in place of its E, D and denoiser; all other networks stay.

    But the text encoder of captions, which goes: such a model reads texts; and D_h, which reads the latents of before.

    largest: bytes of a network above which its weights stand in a file of their own. Returns the profile's new sha256.
    Raises ProfileError when there is no profile, one of other latents or at another precision, or the model does not
    fit (`load`), ValueError for a guidance below 1. The profile is as it was then.
    """
    if not (math.isfinite(guidance) and guidance >= 1):
        raise ValueError(f"guidance={guidance}: expected 1 or more")
    if not (profile / "profile.json").is_file():
        raise ProfileError(f"{profile}: no folder with a profile.json; expected that of a profile that may be changed")
    manifest = Profile(profile).manifest
    if "base" in manifest:
        raise ProfileError(f"{profile}: is at another precision; expected a profile that is its own base")
    model = load(folder)
    if manifest["sizes"]["latent"] != model.latent:
        raise ProfileError(f"{profile}: a machine codec of {manifest['sizes']['latent']} latent channels; the model in "
                           f"{folder.folder} has {model.latent}: expected one that was trained on its latents")
    content = tokenizer_tables(folder, model.tokens)
    known, largest_number = int(model.text_encoder.config.vocab_size), max(content["vocabulary"].values())
    if largest_number >= known:
        raise ProfileError(f"{folder.part('tokenizer')}: numbers up to {largest_number}; the text encoder knows those "
                           f"below {known}")
    with torch.no_grad():
        made = graphs(model, guidance)
    manifest.pop("human", None)
    if manifest["networks"].pop("caption", None) is not None:
        (profile / "caption.onnx").unlink()
    drop_human_decoder(manifest, profile)
    for name, network in made.items():
        manifest["networks"][name] = _write_network(name, network, profile, largest)
    tables = json.dumps(content, ensure_ascii=False).encode()
    (profile / "tokenizer.json").write_bytes(tables)
    manifest["latent_diffusion"] = {
        "control": model.control, "guidance": guidance,
        "tokenizer": {"file": "tokenizer.json", "sha256": hashlib.sha256(tables).hexdigest()}}
    manifest["tables"] = _with_unit_scale(profile, manifest["tables"]["file"])
    return _write_manifest(manifest, profile)


def _free(unit: int) -> dict[int, Any]:
    """Rows and columns that are any number of coding units, `unit` for each latent position."""
    rows, columns = (torch.export.Dim(name, min=1, max=2048 // _UNIT) for name in ("rows", "columns"))
    return {2: _UNIT * unit * rows, 3: _UNIT * unit * columns}


def _exported(network: nn.Module, inputs: dict[str, tuple[Tensor, Any]], output: str) -> onnx.ModelProto:
    """A graph with these inputs, example and free sizes of each, and one output."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "network.onnx"
        program: Any = torch.onnx.export(
            network.eval(), (), kwargs={key: value for key, (value, _) in inputs.items()}, dynamo=True,
            dynamic_shapes={key: free for key, (_, free) in inputs.items()}, opset_version=OPSET,
            input_names=list(inputs), output_names=[output], verbose=False)
        program.save(str(path), external_data=True)
        return _narrowed(_anonymous(onnx.load(str(path))))


def _anonymous(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same without the exporter's notes on every node: larger than small networks, and they name local files."""
    for node in (item for graph in (model.graph, *model.functions) for item in graph.node):
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for part in (model, model.graph, *model.graph.input, *model.graph.output, *model.graph.initializer,
                 *model.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("value_info")
    return model


def _narrowed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with large float32 constants as float16 behind a Cast, which runtimes fold when they load the file."""
    nodes = []
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype != np.float32 or values.size < _LEAST_WEIGHTS:
            continue
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float16)
        if not np.isfinite(narrow).all():
            continue  # too large for float16
        name = constant.name
        constant.CopyFrom(numpy_helper.from_array(narrow, f"{name}.half"))
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    return model


def _write_network(key: str, model: onnx.ModelProto, folder: Path, largest: int) -> dict[str, Any]:
    path, weights = folder / f"{key}.onnx", folder / f"{key}.weights"
    weights.unlink(missing_ok=True)  # onnx appends to what is there
    apart = sum(len(constant.raw_data) for constant in model.graph.initializer) > largest
    if apart:
        onnx.save_model(model, str(path), save_as_external_data=True, all_tensors_to_one_file=True,
                        location=weights.name)
        # Caches know networks by the hash of this file: models of other weights must not have the same.
        plain = onnx.load(str(path), load_external_data=False)
        helper.set_model_props(plain, {"weights_sha256": _digest(weights)})
        path.write_bytes(plain.SerializeToString())
    else:
        path.write_bytes(model.SerializeToString())
    entry: dict[str, Any] = {"file": path.name, "sha256": _digest(path)}
    if apart:
        entry["weights"] = {"file": weights.name, "sha256": _digest(weights)}
    return entry


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _with_unit_scale(folder: Path, file: str) -> dict[str, str]:
    """The profile's tables, with 1 as the residual's scale: the networks know z itself, not residuals."""
    with np.load(folder / file, allow_pickle=False) as arrays:
        tables = dict(arrays)
    tables["residual_scale"] = np.ones((LEVELS, tables["residual_scale"].shape[1]), np.float32)
    np.savez(folder / file, allow_pickle=False, **tables)
    return {"file": file, "sha256": _digest(folder / file)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m duoview.export.latent_diffusion",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="folder with vae, unet, text_encoder, ...")
    parser.add_argument("--controlnet", type=Path, help="folder of the control branch; MODEL/controlnet when not given")
    parser.add_argument("--profile", required=True, type=Path, help="folder of the profile, which is changed")
    parser.add_argument("--guidance", type=float, default=1.0, help="weight of the text against no text; 1 runs once")
    options = parser.parse_args(arguments)
    try:
        print(put(Folder(options.model, options.controlnet), options.profile, guidance=options.guidance))
    except (Error, OSError, ValueError) as error:
        print(f"duoview.export.latent_diffusion: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
