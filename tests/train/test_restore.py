"""Weights read back from a profile make the profile that they came from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from duoview.export.profile import Networks, write
from duoview.export.restore import restore
from duoview.models.denoiser import Denoiser
from duoview.models.network import Shape, StillCodec
from duoview.models.train_inter import new_inter_codec


def test_writing_restored_weights_gives_the_same_networks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = Shape()
    networks = Networks(StillCodec(shape), new_inter_codec(shape), Denoiser(shape.latent), torch.rand(64, shape.latent),
                        torch.rand(2, shape.latent, shape.latent))
    write(networks, tmp_path / "first", name="first", card="")
    again = restore(tmp_path / "first")
    write(again, tmp_path / "second", name="first", card="")
    first = json.loads((tmp_path / "first" / "profile.json").read_text())
    second = json.loads((tmp_path / "second" / "profile.json").read_text())
    exact = [n for n in first["networks"] if n.endswith(("_hyper", "_context"))]
    assert len(exact) == 4
    assert all(first["networks"][n] == second["networks"][n] for n in exact)
    assert first["golden"] == second["golden"]
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        z, z_again = networks.still.encoder(picture), again.still.encoder(picture)
        assert torch.allclose(z, z_again, atol=0.02)
        q = torch.tensor([30])
        a = networks.inter.analyse(z, z * 0.9, q)
        assert torch.allclose(a, again.inter.analyse(z, z * 0.9, q), atol=0.02 * float(a.abs().max()))
    with np.load(tmp_path / "first" / "tables.npz") as a, np.load(tmp_path / "second" / "tables.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in ("residual_scale", "latent_weight", "lagrangian"))
        for name in ("key_hyper_classes", "inter_hyper_classes"):
            # Between anchors, a scale that went through its class may fall into the neighbouring one.
            assert np.abs(a[name].astype(int) - b[name]).max() <= 1
