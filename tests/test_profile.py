"""Profiles: what a stream may ask for, and what a folder must hold."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from duoview import Decoder, Encoder, Profile, ProfileError
from duoview.access_unit import parse, serialize


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


@pytest.fixture
def folder(profile: Profile, tmp_path: Path) -> Path:
    """A copy of the bundled profile that a test may change."""
    return Path(shutil.copytree(profile.folder, tmp_path / "copy"))


def change(folder: Path, **entries: Any) -> None:
    """Replace entries of the manifest; None takes one out."""
    manifest = {**json.loads((folder / "profile.json").read_text()), **entries}
    (folder / "profile.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def change_tables(folder: Path, **arrays: np.ndarray) -> None:
    """Replace tables, with the hash of the new file in the manifest."""
    with np.load(folder / "tables.npz") as tables:
        np.savez(folder / "tables.npz", allow_pickle=False, **{**tables, **arrays})
    digest = hashlib.sha256((folder / "tables.npz").read_bytes()).hexdigest()
    change(folder, tables={"file": "tables.npz", "sha256": digest})


def unit_of(profile: Profile, name: str) -> bytes:
    """A key unit that asks for the profile ``name`` with the hash of ``profile``."""
    (packet,) = Encoder(64, 64, profile=profile, threads=1).encode(av.VideoFrame(64, 64, "rgb24"))
    unit = parse(bytes(packet))
    assert unit.sequence is not None
    return serialize(replace(unit, sequence=replace(unit.sequence, profile=name)))


def test_a_stream_cannot_make_the_decoder_read_a_folder(folder: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    change(folder, name="hers")
    hers = Profile(folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError, match="no such bundled profile"):
        Decoder(threads=1).decode(unit_of(hers, "copy"))
    assert len(Decoder(threads=1, profile=hers).decode(unit_of(hers, "copy"))) == 1


@pytest.mark.parametrize("name", ["", ".", "../s", "s/", "a\0b"])
def test_a_stream_with_a_strange_profile_name_is_a_profile_error(profile: Profile, name: str) -> None:
    with pytest.raises(ProfileError, match="no such bundled profile"):
        Decoder(threads=1).decode(unit_of(profile, name))


def test_a_name_with_a_nul_character_is_a_profile_error() -> None:
    with pytest.raises(ProfileError, match="NUL"):
        Profile("a\0b")


@pytest.mark.parametrize("entry", ["coder_tables", "name", "sizes", "networks", "tables", "golden"])
def test_a_manifest_without_an_entry_names_it(folder: Path, entry: str) -> None:
    change(folder, **{entry: None})
    with pytest.raises(ProfileError, match=rf"profile\.json: incomplete manifest.*{entry}"):
        Profile(folder)


@pytest.mark.parametrize("value", [3, [], "text"])
@pytest.mark.parametrize("entry", ["sizes", "networks", "tables", "golden"])
def test_a_manifest_with_an_entry_of_another_kind_is_refused(folder: Path, entry: str, value: object) -> None:
    change(folder, **{entry: value})
    with pytest.raises(ProfileError, match=r"profile\.json: incomplete manifest"):
        Profile(folder)


def test_a_manifest_cannot_name_files_outside_of_its_folder(folder: Path) -> None:
    networks = json.loads((folder / "profile.json").read_text())["networks"]
    shutil.move(folder / "decoder.onnx", folder.parent / "decoder.onnx")
    networks["decoder"]["file"] = "../decoder.onnx"
    change(folder, networks=networks)
    with pytest.raises(ProfileError, match=r"decoder is in '\.\./decoder\.onnx', expected a file in"):
        Profile(folder).path("decoder")


def test_tables_of_another_shape_are_refused(folder: Path, profile: Profile) -> None:
    change_tables(folder, key_hyper_classes=profile.key_hyper_classes[:32])
    with pytest.raises(ProfileError, match=r"key_hyper_classes is uint8 \(32, .*expected uint8 \(64, "):
        Profile(folder)


def test_tables_with_a_class_that_is_no_gaussian_are_refused(folder: Path, profile: Profile) -> None:
    change_tables(folder, inter_hyper_classes=np.full_like(profile.inter_hyper_classes, 64))
    with pytest.raises(ProfileError, match="inter_hyper_classes has classes 64 to 64, expected 1 to 63"):
        Profile(folder)


def test_a_table_with_a_value_that_is_not_finite_is_refused(profile: Profile, folder: Path) -> None:
    weight = profile.latent_weight.copy()
    weight[0, 3, 3] = np.nan
    change_tables(folder, latent_weight=weight)
    with pytest.raises(ProfileError, match="latent_weight has values that are not finite"):
        Profile(folder)


def test_a_negative_lagrangian_is_refused_with_its_quality(profile: Profile, folder: Path) -> None:
    lagrangian = profile.lagrangian.copy()
    lagrangian[30] = -1
    change_tables(folder, lagrangian=lagrangian)
    with pytest.raises(ProfileError, match="lagrangian is -1 at q 30, expected 0 or more"):
        Profile(folder)


def test_tables_that_are_no_archive_are_refused(folder: Path) -> None:
    (folder / "tables.npz").write_bytes(b"PK\x03\x04 not really")
    digest = hashlib.sha256((folder / "tables.npz").read_bytes()).hexdigest()
    change(folder, tables={"file": "tables.npz", "sha256": digest})
    with pytest.raises(ProfileError, match=r"tables\.npz: not the tables of a profile"):
        Profile(folder)


def test_a_network_file_that_holds_none_is_a_profile_error_with_its_path(folder: Path) -> None:
    (folder / "decoder.onnx").write_bytes(b"junk")
    networks = json.loads((folder / "profile.json").read_text())["networks"]
    networks["decoder"]["sha256"] = hashlib.sha256(b"junk").hexdigest()
    change(folder, networks=networks)
    with pytest.raises(ProfileError, match=r"decoder\.onnx: onnxruntime .* cannot load"):
        Decoder(profile=folder, threads=1)
