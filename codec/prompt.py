"""What the denoiser of a latent diffusion model is told beside z_m: a text, and the picture of z_m for its control.

Profiles made of such a model (``duoview.export.latent_diffusion``) have a text encoder and a tokenizer; their denoiser
takes other inputs than that of the bundled profile. Here it gets the same call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend, Network
from duoview.clip_tokenizer import ClipTokenizer
from duoview.errors import ProfileError
from duoview.profile import Profile

Array = NDArray[np.generic]


class PromptedDenoiser:
    """A network that is called as any denoiser, whose text stays the same and whose control follows z_m.

    text: (1, tokens, width) float32, or (2, tokens, width) with that of no text first, where the denoiser is guided by
    both. decoder: of z, where the control branch looks at the picture, else None.
    """

    def __init__(self, denoiser: Network, text: NDArray[np.float32], decoder: Network | None) -> None:
        self._denoiser, self._text, self._decoder = denoiser, text, decoder
        self._seen: tuple[Array, Array] | None = None

    def __call__(self, **inputs: Array) -> list[Array]:
        """state, z_m, time, gain -> next. q is not asked for: these networks know one quality."""
        given = {name: inputs[name] for name in ("state", "z_m", "time", "gain")}
        if self._decoder is not None:
            # Every step of a frame has the same z_m.
            if self._seen is None or not np.array_equal(self._seen[0], inputs["z_m"]):
                (picture,) = self._decoder(z=inputs["z_m"])
                self._seen = inputs["z_m"].copy(), picture
            given["condition"] = self._seen[1]
        return self._denoiser(**given, text=self._text)


def check_text(profile: Profile, text: str) -> None:
    """Raises ProfileError for a text where the profile has no text encoder."""
    if text and profile.latent_diffusion is None:
        captions = ", a caption with start='slim'" if profile.has("caption") else ""
        raise ProfileError(f"text={text!r}: profile {profile.name!r} has no text encoder; expected no text"
                           f"{captions}, or the folder of a profile that was made of a latent diffusion model")


def load_denoiser(profile: Profile, backend: Backend, text: str = "") -> Network:
    """The denoiser of a profile, told a text where it takes one.

    Raises ProfileError for a text that nobody reads: the profile has no text encoder, or the text is longer than that.
    """
    check_text(profile, text)
    entry = profile.latent_diffusion
    if entry is None:
        return profile.load("denoiser", backend)
    tokenizer = ClipTokenizer(profile.path("tokenizer"))
    if tokenizer.count(text) > tokenizer.length - 2:
        raise ProfileError(f"text={text!r}: {tokenizer.count(text)} tokens; the text encoder of profile "
                           f"{profile.name!r} reads {tokenizer.length - 2}")
    encoder = profile.load("text_encoder", backend)
    told = ["", text] if entry.guidance != 1 else [text]
    vectors = np.concatenate([np.asarray(encoder(ids=tokenizer(one))[0], np.float32) for one in told])
    decoder = profile.load("decoder", backend) if entry.control == "picture" else None
    return PromptedDenoiser(profile.load("denoiser", backend), vectors, decoder)
