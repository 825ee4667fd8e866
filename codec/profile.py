"""Profiles: a named bundle of ONNX networks, integer tables and golden vectors, bound to streams by its hash."""

from __future__ import annotations

import hashlib
import json
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.backends import Backend, CpuBackend, Network
from duoview.backends.loaded import LOADED
from duoview.errors import ProfileError
from duoview.generation import Generation
from duoview.golden import GOLDEN_CASES, STATE_NETWORKS, digest, exact_inputs, grid_of
from duoview.literals import stored_arrays
from duoview.motion_compensation import ShiftOperators
from duoview.precision_base import base_sha256
from duoview.sequence import PROFILE_HASH_BYTES
from duoview.texture.tables import TextureTables, read_tables

FORMAT = 1
#: Quality indices, one row of every table each.
LEVELS = 64
BUNDLED = Path(__file__).parent / "profiles"
EXACT = ("key_hyper", "key_context", "inter_hyper", "inter_context")
NETWORKS = (*EXACT, "encoder", "decoder", "key_analysis", "key_synthesis", "inter_analysis", "inter_synthesis",
            "denoiser", "colour")
#: A profile works without these.
OPTIONAL = ("restoration", "saliency", "text_encoder", "caption", "human_decoder")
#: Exact networks of the texture layer, and the float one of its encoder; a profile has all and their tables, or no such
#: layer.
TEXTURE = ("texture_features", "texture_means", "texture_prior")
TEXTURE_ANALYSIS = "texture_analysis"


#: Shift operators in use, by their files' hash: 7 MB that all streams of a process share.
_MOTION: weakref.WeakValueDictionary[str, ShiftOperators] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Sizes:
    """Channels of the latent z, of the symbols y, of the hyper symbols, and of the exact networks' features."""

    latent: int
    symbols: int
    hyper: int
    parameters: int


@dataclass(frozen=True)
class LatentDiffusionEntry:
    """What a manifest says of the latent diffusion model that a profile was made of (``duoview.prompt``).

    control: what its control branch looks at, ``picture`` or ``latent``. guidance: weight of the text against no text.
    """

    control: str
    guidance: float


@dataclass(frozen=True)
class GoldenResult:
    """Outcome of one golden vector: the network, the case, and whether the digests agree."""

    network: str
    case: str
    passed: bool


def bundled_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package."""
    if not BUNDLED.is_dir():
        return ()
    return tuple(sorted(p.name for p in BUNDLED.iterdir() if (p / "profile.json").is_file()))


class Profile:
    """A profile on disk, its manifest and tables checked.

    Args:
        name: the name of a bundled profile (``s``) or a folder that holds ``profile.json``.

    Raises ProfileError when it is missing, of another format, or a file does not have the manifest's hash.
    """

    def __init__(self, name: str | Path = "s") -> None:
        if "\0" in str(name):
            raise ProfileError(f"profile {str(name)!r}: a name or folder has no NUL character")
        folder = Path(name)
        if not (folder / "profile.json").is_file():
            folder = BUNDLED / str(name)
        manifest_path = folder / "profile.json"
        try:
            raw = manifest_path.read_bytes()
        except OSError:
            known = ", ".join(bundled_profiles()) or "none"
            raise ProfileError(f"profile {str(name)!r}: no such bundled profile and no folder with a profile.json; "
                               f"bundled: {known}") from None
        try:
            self.manifest: dict[str, Any] = json.loads(raw)
            found = self.manifest["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ProfileError(f"{manifest_path}: not a profile manifest ({error})") from None
        if found != FORMAT:
            raise ProfileError(f"{manifest_path}: format {found}, this version reads format {FORMAT}")
        self.folder = folder
        self._texture_sizes: dict[str, int] = {}
        #: None for networks of our own.
        self.latent_diffusion: LatentDiffusionEntry | None = None
        self.sha256 = hashlib.sha256(raw).digest()
        #: What streams carry: of its own digest, or, for a profile at another precision, of its base's.
        self.stream_hash = (base_sha256(self.manifest, folder) or self.sha256)[:PROFILE_HASH_BYTES]
        try:
            coder_tables = str(self.manifest["coder_tables"])
            self.name = str(self.manifest["name"])
            self.sizes = Sizes(**self.manifest["sizes"])
            self._files: dict[str, tuple[str, str]] = {
                network: (str(entry["file"]), str(entry["sha256"]))
                for network, entry in {**self.manifest["networks"], "tables": self.manifest["tables"]}.items()}
            # Weights of networks too large for one protobuf file stand beside it.
            self._weights: dict[str, tuple[str, str]] = {
                network: (str(entry["weights"]["file"]), str(entry["weights"]["sha256"]))
                for network, entry in self.manifest["networks"].items() if "weights" in entry}
            if "latent_diffusion" in self.manifest:
                entry = self.manifest["latent_diffusion"]
                self.latent_diffusion = LatentDiffusionEntry(str(entry["control"]), float(entry["guidance"]))
                if self.latent_diffusion.control not in ("picture", "latent"):
                    raise ValueError(f"latent_diffusion: control {entry['control']!r}, expected picture or latent")
                self._files["tokenizer"] = (str(entry["tokenizer"]["file"]), str(entry["tokenizer"]["sha256"]))
            self._digests: dict[str, dict[str, str]] = {
                network: {case.name: str(self.manifest["golden"][network][case.name]) for case in GOLDEN_CASES}
                for network in (*EXACT, *(TEXTURE if "texture" in self.manifest else ()),
                                *filter(self.manifest["golden"].__contains__, STATE_NETWORKS))}
            if "texture" in self.manifest:
                entry = self.manifest["texture"]
                self._files["texture"] = (str(entry["file"]), str(entry["sha256"]))
                self._texture_sizes = {name: int(entry[name]) for name in ("groups", "embedding", "features")}
            if "motion" in self.manifest:
                self._files["motion"] = (str(self.manifest["motion"]["file"]), str(self.manifest["motion"]["sha256"]))
            #: What the denoiser can be given; None for one of the first generation.
            self.generation = Generation.read(self.manifest["human"]) if "human" in self.manifest else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProfileError(f"{manifest_path}: incomplete manifest ({type(error).__name__}: {error})") from None
        if self.latent_diffusion is not None and (self.generation is not None or self.has("caption")):
            raise ProfileError(f"{manifest_path}: 'latent_diffusion' beside 'human' or network 'caption': a profile "
                               "reads texts or captions; expected one of them")
        if self.latent_diffusion is not None and self.has("human_decoder"):
            raise ProfileError(f"{manifest_path}: 'latent_diffusion' beside network 'human_decoder': the model's own "
                               "decoder shows human views; expected none beside it")
        if coder_tables != kernels.tables_digest():
            raise ProfileError(f"{manifest_path}: made for entropy-coder tables {coder_tables[:12]}, "
                               f"this build has {kernels.tables_digest()[:12]}; use the version the profile came with")
        tables = self._checked("tables")
        try:
            arrays = stored_arrays(tables)
            self.key_hyper_classes: NDArray[np.uint8] = arrays["key_hyper_classes"]
            self.inter_hyper_classes: NDArray[np.uint8] = arrays["inter_hyper_classes"]
            self.residual_scale: NDArray[np.float32] = arrays["residual_scale"]
            self.latent_weight: NDArray[np.float32] = np.ascontiguousarray(arrays["latent_weight"])
            self.lagrangian: NDArray[np.float32] = arrays["lagrangian"]
        except (KeyError, ValueError) as error:
            raise ProfileError(f"{tables}: not the tables of a profile ({error})") from None
        self._check_tables(tables)

    @classmethod
    def bundled(cls, name: str) -> Profile:
        """The bundled profile of that name; ProfileError for any other.

        For names that come from a stream, which must not choose a folder to load networks from.
        """
        known = bundled_profiles()
        if name not in known:
            raise ProfileError(f"profile {name!r}: no such bundled profile; bundled: {', '.join(known) or 'none'}; "
                               "give the folder of the stream's profile")
        return cls(BUNDLED / name)

    def _check_tables(self, path: Path) -> None:
        """Shapes and types that the coder relies on; a class 0 would silence a hyper channel, 64 is no Gaussian."""
        for what, shape, kind in (("key_hyper_classes", (LEVELS, self.sizes.hyper), np.uint8),
                                  ("inter_hyper_classes", (LEVELS, self.sizes.hyper), np.uint8),
                                  ("residual_scale", (LEVELS, self.sizes.latent), np.float32),
                                  ("latent_weight", (2, self.sizes.latent, self.sizes.latent), np.float32),
                                  ("lagrangian", (LEVELS,), np.float32)):
            table = getattr(self, what)
            if table.shape != shape or table.dtype != kind:
                raise ProfileError(f"{path}: {what} is {table.dtype} {table.shape}, expected {np.dtype(kind)} {shape}")
            if not np.isfinite(table).all():
                raise ProfileError(f"{path}: {what} has values that are not finite")
            if what == "lagrangian" and table.min() < 0:
                raise ProfileError(f"{path}: {what} is {table.min():g} at q {table.argmin()}, expected 0 or more")
            if kind is np.uint8 and not 1 <= table.min() <= table.max() <= 63:
                raise ProfileError(f"{path}: {what} has classes {table.min()} to {table.max()}, expected 1 to 63")

    def _checked(self, what: str) -> Path:
        path = self._checked_file(what, *self._files[what])
        if what in self._weights:
            self._checked_file(f"weights of {what}", *self._weights[what])
        return path

    def _checked_file(self, what: str, file: str, expected: str) -> Path:
        if file != Path(file).name or file in ("", ".."):
            raise ProfileError(f"profile {self.name!r}: {what} is in {file!r}, expected a file in {self.folder}")
        path = self.folder / file
        try:
            with path.open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise ProfileError(f"profile {self.name!r}: cannot read {path} ({error.strerror})") from None
        if found != expected:
            raise ProfileError(f"profile {self.name!r}: {path} has sha256 {found[:12]}..., "
                               f"the manifest says {expected[:12]}...; reinstall the profile")
        return path

    def path(self, network: str) -> Path:
        """The ONNX file of a network, its hash and that of its weights checked. Raises ProfileError."""
        if network not in self._files:
            raise ProfileError(f"profile {self.name!r} has no network {network!r}; it has "
                               f"{', '.join(sorted(self.manifest['networks']))}")
        return self._checked(network)

    def has(self, network: str) -> bool:
        """True when the manifest names this network."""
        return network in self._files

    @property
    def human_view_network(self) -> str:
        """Name of the network that shows human views: D_h, told noise beside z, where there is one, else D."""
        return "human_decoder" if self.has("human_decoder") else "decoder"

    def load(self, network: str, backend: Backend) -> Network:
        """A network; an exact one must reproduce its golden vectors before it is used (ProfileError otherwise).

        One that is in use already is shared: see ``duoview.backends.loaded``.
        """
        path = self.path(network)
        return LOADED.take(backend, (self.sha256, network, path.resolve()),
                           lambda own: self._proven(network, path, own))

    def _proven(self, network: str, path: Path, backend: Backend) -> Network:
        loaded = backend.load(path)
        if network in self._digests:
            for result in self._golden(network, loaded):
                if not result.passed:
                    raise ProfileError(
                        f"backend {backend.name!r} does not compute {network} of profile {self.name!r} exactly "
                        f"(golden case {result.case}); streams would not be decoded as they were encoded")
        return loaded

    def golden_inputs(self, network: str) -> list[dict[str, NDArray[np.generic]]]:
        """What an exact network is given in each of GOLDEN_CASES."""
        sizes = self.manifest["sizes"] | self._texture_sizes
        return [exact_inputs(network, sizes, case.height, case.width, case.saturate) for case in GOLDEN_CASES]

    def _golden(self, network: str, loaded: Network) -> list[GoldenResult]:
        results = []
        for case, inputs in zip(GOLDEN_CASES, self.golden_inputs(network), strict=True):
            expected = self._digests[network][case.name]
            results.append(GoldenResult(network, case.name, digest(loaded(**inputs), grid_of(network)) == expected))
        return results

    def verify(self, backend: Backend | None = None) -> list[GoldenResult]:
        """Check every file's hash and run every golden vector on a backend (CPU by default)."""
        backend = backend or CpuBackend()
        for network in (*NETWORKS, *filter(self.has, OPTIONAL)):
            self.path(network)
        if self.latent_diffusion is not None:
            self.path("tokenizer")
        if self.has_motion:
            self.motion()
        if self.has_texture:
            self.texture()
            self.path(TEXTURE_ANALYSIS)
        return [result for network in self._digests
                for result in self._golden(network, backend.load(self.path(network)))]

    @property
    def has_texture(self) -> bool:
        """True when the profile has a texture layer."""
        return "texture" in self.manifest

    def texture(self) -> TextureTables:
        """The tables of the texture layer, their hash checked. Raises ProfileError where there is no such layer."""
        if not self.has_texture:
            raise ProfileError(f"profile {self.name!r} has no texture layer; train one with "
                               "python -m duoview.models.texture_command --profile FOLDER, or give the folder of a "
                               "profile that has one")
        return read_tables(self._checked("texture"), self.sizes.latent)

    @property
    def has_motion(self) -> bool:
        """True when P frames of the profile have motion compensation."""
        return "motion" in self.manifest

    def motion(self) -> ShiftOperators:
        """The shift operators of motion compensation, their hash checked. Raises ProfileError where there are none."""
        if not self.has_motion:
            raise ProfileError(f"profile {self.name!r} has no shift operators; fit them with "
                               "python -m duoview.models.motion_command --profile FOLDER")
        path, digest = self._checked("motion"), self._files["motion"][1]
        found = _MOTION.get(digest)
        if found is None:
            found = _MOTION[digest] = ShiftOperators.read(path, self.sizes.latent)
        elif found.latent != self.sizes.latent:
            raise ProfileError(f"{path}: shift operators of {found.latent} channels, the latent has "
                               f"{self.sizes.latent}")
        return found
