"""Motion compensation on a device: z_m is moved there, and pictures and latents are searched there for motion.

Fields are read, chosen and written on the host. What an encoder copies there is a vector a cell and the errors of those
that are offered to it: no pixels, and no latents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from duoview import kernels
from duoview.device.networks import DeviceNetworks
from duoview.errors import ProfileError
from duoview.kernels.cuda_shift import MAX_FORM_CHANNELS
from duoview.motion_compensation import PIXELS
from duoview.motion_field import MotionField
from duoview.motion_search import OFFERED, chosen_field, offered_vectors


def shared_operators(networks: DeviceNetworks) -> Any:
    """The profile's shift operators on the device, the same for all streams. Raises ProfileError where it has none."""
    return networks.shared("shift operators", networks.profile.motion().summed)


def check_channels(networks: DeviceNetworks, latent: int) -> None:
    """Raises ProfileError for a latent of more channels than errors are measured of on a device."""
    if latent > MAX_FORM_CHANNELS:
        raise ProfileError(f"profile {networks.profile.name!r}: a latent of {latent} channels; a device looks for "
                           f"motion in up to {MAX_FORM_CHANNELS}: expected motion=False")


class DeviceCompensation:
    """What moves z_m of one size; memory is used again for every frame.

    shape: (latent, h, w) of z_m. Raises ProfileError for a profile without shift operators.
    """

    def __init__(self, networks: DeviceNetworks, shape: tuple[int, int, int]) -> None:
        self._networks, self._shape = networks, shape
        self._operators = shared_operators(networks)
        self._vectors = networks.empty((shape[1] // 2, shape[2] // 2, 2), np.int8)
        self._scratch = networks.empty((networks.kernels.compensate_scratch_bytes(*shape),), np.uint8)
        #: The error of the last frame that was moved, to be looked at when all of it is done.
        self.status = networks.empty((1,), np.uint64)

    def compensate(self, z_m: Any, field: MotionField) -> Any:
        """z_m (1, latent, h, w) as the field moves it, in memory of its own."""
        networks = self._networks
        start = networks.empty((1, *self._shape), np.float32)
        networks.put(field.vectors, self._vectors)
        networks.kernels.compensate(z_m, self._vectors, self._operators, start, self._scratch, self.status,
                                    cuda_stream=networks.stream)
        return start


class DeviceMotionSearch:
    """An encoder's search for motion in pictures of one size, as ``MotionSearch`` does it on the host.

    It has luma of the picture that comes, and of what z_m shows, as well as an encoder knows that
    (``motion_search.Reference``).

    shape: (latent, h, w) of z_m. Raises ProfileError for a profile without shift operators, or whose latent has more
    channels than errors are measured of.
    """

    def __init__(self, networks: DeviceNetworks, shape: tuple[int, int, int]) -> None:
        self._networks, self._kernels, self._stream = networks, networks.kernels, networks.stream
        latent, height, width = shape
        check_channels(networks, latent)
        self._operators = shared_operators(networks)
        forms = kernels.ErrorForms(np.ascontiguousarray(networks.profile.latent_weight, np.float32))
        self._unit_bits = forms.unit_bits
        self._forms = networks.shared("error forms", forms.integers)
        empty, run = networks.empty, networks.kernels
        cells, pixels = (height // 2, width // 2), (height * PIXELS, width * PIXELS)
        self._plane, self._reference = (empty(pixels, np.uint8) for _ in range(2))
        self._found, self._sums = empty((*cells, 2), np.int8), empty((*cells, 2), np.uint32)
        self._offered = empty((OFFERED, *cells, 2), np.int8)
        self._errors = empty((OFFERED, *cells), np.float32)
        # One after the other use it.
        size = max(run.block_motion_scratch_bytes(*pixels), run.vector_errors_scratch_bytes(*shape))
        self._scratch = empty((size,), np.uint8)
        self._status = empty((1,), np.uint64)

    def see(self, picture: Any, *, key: bool) -> None:
        """The padded picture (1, 3, H, W) uint8 that comes. key: z_m will show it everywhere."""
        self._kernels.luma(picture, self._reference if key else self._plane, cuda_stream=self._stream)

    def update(self, changed: Any) -> None:
        """The picture changed z_m where ``changed``, (H / 8, W / 8) uint8 on the device, is not 0."""
        self._kernels.update_reference(self._plane, changed, self._reference, cuda_stream=self._stream)

    def field(self, z: Any, z_m: Any, before: MotionField, worth: float) -> MotionField:
        """The field for a frame with latent z (1, latent, h, w) after z_m; before, worth: as of ``MotionSearch.field``.

        Raises ValueError for a latent that is not finite.
        """
        networks, run, stream = self._networks, self._kernels, self._stream
        run.block_motion(self._reference, self._plane, self._found, self._sums, self._scratch, cuda_stream=stream)
        vectors = offered_vectors(networks.get(self._found), before)
        if not vectors.any():
            return MotionField.still(*vectors.shape[1:3])
        networks.put(vectors, self._offered)
        run.vector_errors(z, z_m, self._offered, self._operators, self._forms, self._errors, self._scratch,
                          self._status, unit_bits=self._unit_bits, cuda_stream=stream)
        run.check(self._status, cuda_stream=stream)
        return chosen_field(vectors, networks.get(self._errors), before, worth)
