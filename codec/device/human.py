"""The human view on a device: noise, steps, windows and colour control there, as ``duoview.human`` does it on the host.

Of a window, what it depends on is kept beside its result; the next frame's is compared on the device, and the host
reads a word a window. Captions are laid out on the host: a number for every 32x32 pixels and channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Backend
from duoview.device.networks import DeviceNetworks
from duoview.errors import BackendUnavailableError
from duoview.generation import span_of
from duoview.human import CAPTION_STRIDE, ROW_COLUMNS, Hints, HumanView
from duoview.profile import Profile
from duoview.windows import Windows


@dataclass(frozen=True)
class Known:
    """What texture knows: what ``base`` lacks, both (1, C, H/8, W/8), and how deep it is known, (H/8, W/8) uint8."""

    residual: Any
    base: Any
    depths: Any


class _Window:
    """What the last result of a window depends on, and that result; all on the device but what a caption says."""

    def __init__(self, networks: DeviceNetworks, channels: int, height: int, width: int, textured: bool) -> None:
        shape, one = (1, channels, height, width), (1, 1, height, width)
        self.z_m = networks.empty(shape, np.float32)
        self.known = networks.empty(shape, np.float32) if textured else None
        self.level = networks.empty(one, np.float32) if textured else None
        #: Seed, quality, and the caption's planes; None before there is a result.
        self.numbers: tuple[int, int] | None = None
        self.planes: NDArray[np.float32] | None = None
        self.result: Any = None

    def arrays(self) -> list[Any]:
        """What lies on the device of it, in one order for all windows."""
        return [self.z_m] if self.known is None else [self.z_m, self.known, self.level]

    def says(self, numbers: tuple[int, int], planes: NDArray[np.float32] | None) -> bool:
        """Whether there is a result, and what the host knows of it is this."""
        if self.numbers != numbers or (self.planes is None) != (planes is None):
            return False
        return planes is None or self.planes is None or np.array_equal(planes, self.planes)


class _Planes:
    """Memory for a latent of one size, used again for every frame."""

    def __init__(self, networks: DeviceNetworks, channels: int, windows: Windows, textured: bool, level: float) -> None:
        self.windows, (height, width) = windows, windows.side
        self.kept = [_Window(networks, channels, height, width, textured) for _ in windows.areas]
        #: Of the frame at hand; those that are used change places with what was kept.
        self.given = [_Window(networks, channels, height, width, textured) for _ in windows.areas]
        self.shares = [networks.array(one) for one in windows.shares] if len(windows.areas) > 1 else []
        #: A word for each window, and one for the depths of texture.
        self.status = networks.empty((len(windows.areas) + 1,), np.uint64)
        whole = (1, channels, windows.rows, windows.columns)
        self.whole, self.latent = networks.empty(whole, np.float32), networks.empty(whole, np.float32)
        self.noise, self.state = (networks.empty((1, channels, height, width), np.float32) for _ in range(2))
        if textured:
            self.known = networks.empty(whole, np.float32)
            self.level = networks.empty((1, 1, *whole[2:]), np.float32)
            #: What D_h is given of the noise, and what that is made with.
            self.lacking = networks.empty(whole, np.float32)
            self.zeros = networks.array(np.zeros(whole, np.float32))
            #: Depths where nothing is known, four in each.
            self.no_depths = networks.array(np.zeros(windows.rows * windows.columns // 4, np.float32))
        #: Where nothing of the residual is known, and the noise level is one everywhere.
        self.nothing = networks.array(np.zeros((1, channels, height, width), np.float32))
        self.plain_level = networks.array(np.full((1, 1, height, width), level, np.float32))


class DeviceHumanView(HumanView):
    """The sampler of one stream on a device. Arguments: see HumanView.

    Raises BackendUnavailableError for a profile that was made of a latent diffusion model.
    """

    def __init__(self, networks: DeviceNetworks, *, start: str, steps: int | None, seed: int | None,
                 noise: float | None, tile: int | None, text: str = "") -> None:
        self._networks, self._kernels, self._stream = networks, networks.kernels, networks.stream  # the base asks
        super().__init__(networks.profile, networks.backend, start=start, steps=steps, seed=seed, noise=noise,
                         tile=tile, text=text)
        self._planes_of: _Planes | None = None
        self._device_noise: tuple[tuple[int, int, int], Any] | None = None
        self._scales: dict[int, Any] = {}
        self._levels: dict[int, Any] = {}
        if self.generation is not None and start == "texture":
            by_depth = np.zeros(256, np.float32)  # as many as the kernel's index reaches
            by_depth[:len(self.generation.levels)] = self.generation.levels
            self._level_table = networks.array(by_depth)
        if not self.steps:
            return  # what follows is for the denoiser
        self._steps = [(networks.constant(np.array([[step / self.steps]], np.float32)),
                        networks.constant(np.array([1.0 / (self.steps - step)], np.float32)))
                       for step in range(self.steps)]
        self._span = networks.constant(np.array([[span_of(self.steps)]], np.float32))
        self._told = {told: networks.constant(np.array([[1, told, 1]], np.float32)) for told in (False, True)}

    def _networks_of(self, profile: Profile, backend: Backend, text: str) -> tuple[Any, Any, Any]:
        if profile.latent_diffusion is not None:
            raise BackendUnavailableError(f"the denoiser of profile {profile.name!r} is that of a latent diffusion "
                                          "model, whose inputs are made on the host; expected duoview.Decoder")
        if text:
            raise ValueError(f"text={text!r}: no profile that generates on a device reads texts; expected none")
        denoiser = self._networks["denoiser"] if self.steps else None
        return denoiser, self._networks[profile.human_view_network], self._networks["colour"]

    def _sized(self, rows: int, columns: int) -> _Planes:
        found = self._planes_of
        if found is None or (found.windows.rows, found.windows.columns) != (rows, columns):
            found = _Planes(self._networks, self.profile.sizes.latent, Windows(rows, columns, self.tile),
                            self.start == "texture", self.strength if self.start == "slim" else 1.0)
            self._planes_of = found
        return found

    def noise(self, height: int, width: int, seed: int | None = None) -> Any:
        """Standard normals (1, latent, height, width) on the device, the numbers of the host."""
        seed = seed if seed is not None else self.seed or 0
        if self._device_noise is None or self._device_noise[0] != (seed, height, width):
            channels, networks = self.profile.sizes.latent, self._networks
            rows = networks.empty((height, width, channels), np.float32)
            for row in range(height):
                self._kernels.normals(networks.view(rows, (width * channels,), np.float32, 4 * row * width * channels),
                                      seed, stream=0, offset=row * ROW_COLUMNS * channels, cuda_stream=self._stream)
            planes = networks.empty((1, channels, height, width), np.float32)
            self._kernels.channels_first(rows, planes, cuda_stream=self._stream)
            self._device_noise = (seed, height, width), planes
        return self._device_noise[1]

    def latent(self, z_m: Any, q: int, hints: Hints | None = None, known: Known | None = None) -> Any:
        """z_h for the human view, the shape of z_m, in memory that the next frame's gets too.

        Raises ValueError where start is ``texture`` and ``known`` is None.
        """
        hints, networks, kernels, stream = hints or Hints(), self._networks, self._kernels, self._stream
        rows, columns = networks.driver.array("z_m", z_m).shape[2:]
        memory = self._sized(rows, columns)
        seed = self.seed if self.seed is not None else hints.seed or 0
        kernels.begin_comparison(memory.status, cuda_stream=stream)
        if self.start == "texture":
            self._know(memory, z_m, q, known)
        planes = self._planes(hints, rows, columns)
        noise = self.noise(rows, columns, seed)
        captions = self._cut(memory, z_m, planes)
        *same, without = kernels.check_comparison(memory.status, cuda_stream=stream)
        for index, (area, caption) in enumerate(zip(memory.windows.areas, captions, strict=True)):
            if same[index] and memory.kept[index].says((seed, q), caption):
                self.kept += 1
                continue
            self.computed += 1
            window = memory.given[index]
            window.result = self._sample_window(memory, window, noise, area, q, caption)
            window.numbers, window.planes = (seed, q), caption.copy() if caption is not None else None
            memory.kept[index], memory.given[index] = window, memory.kept[index]
        layers: tuple[str, ...] = ("machine",) if without else ("machine", "texture")
        if planes is not None and hints.sent:
            layers = (*layers, "caption")
        self.provenance = replace(self.provenance, coded_layers=layers, seed=seed,
                                  caption=str(hints.caption) if planes is not None else "")
        whole = self._put_together(memory)
        kernels.add_scaled(z_m, whole, memory.latent, scale=self._scale(q), cuda_stream=stream)
        return memory.latent

    def picture(self, z_m: Any, q: int, hints: Hints | None = None, known: Known | None = None) -> Any:
        """The human picture before its colours are put right, (1, 3, H, W) on the device: see ``HumanView``."""
        rows, columns = self._networks.driver.array("z_m", z_m).shape[2:]
        return self._decoded(self.latent(z_m, q, hints, known), rows, columns)

    def _noise_of_decoder(self, noise: Any) -> Any:
        memory = self._planes_of
        if self.start != "texture" or memory is None:
            return noise
        self._kernels.add_noise(memory.zeros, memory.level, noise, memory.lacking, cuda_stream=self._stream)
        return memory.lacking

    def colour(self, human: Any, machine: Any) -> Any:
        """The human picture with the machine picture's low frequencies; both (1, 3, H, W) on the device."""
        return self._colour(human=human, machine=machine)[0]

    def _scale(self, q: int) -> Any:
        if q not in self._scales:
            self._scales[q] = self._networks.array(self.profile.residual_scale[q].astype(np.float32))
            self._levels[q] = self._networks.constant(np.array([q], np.int64))
        return self._scales[q]

    def _know(self, memory: _Planes, z_m: Any, q: int, known: Known | None) -> None:
        """Compute what texture knows of the residual, and compare its depths with those of nothing."""
        if known is None:
            raise ValueError("start='texture': expected what texture knows")
        kernels, stream = self._kernels, self._stream
        kernels.known_residual(known.residual, known.base, z_m, known.depths, scale=self._scale(q),
                               levels=self._level_table, known=memory.known, level=memory.level, cuda_stream=stream)
        shape = self._networks.driver.array("no_depths", memory.no_depths).shape
        kernels.compare(self._networks.view(known.depths, shape, np.float32), memory.no_depths, memory.status,
                        word=len(memory.windows.areas), cuda_stream=stream)

    def _cut(self, memory: _Planes, z_m: Any, planes: NDArray[np.float32] | None) -> list[NDArray[np.float32] | None]:
        """Cut out what windows depend on, and compare it with what was kept; the captions' parts of all windows."""
        kernels, stream, captions = self._kernels, self._stream, []
        for index, (rows, columns) in enumerate(memory.windows.areas):
            sources = [z_m] if self.start != "texture" else [z_m, memory.known, memory.level]
            given, kept = memory.given[index], memory.kept[index]
            for source, target in zip(sources, given.arrays(), strict=True):
                kernels.cut_window(source, target, top=rows.start, left=columns.start, cuda_stream=stream)
            if kept.numbers is not None:
                for one, other in zip(given.arrays(), kept.arrays(), strict=True):
                    kernels.compare(one, other, memory.status, word=index, cuda_stream=stream)
            part = (slice(side.start // CAPTION_STRIDE, side.stop // CAPTION_STRIDE) for side in (rows, columns))
            captions.append(planes[:, :, *part] if planes is not None else None)
        return captions

    def _sample_window(self, memory: _Planes, window: _Window, noise: Any, area: tuple[slice, slice], q: int,
                       planes: NDArray[np.float32] | None) -> Any:
        """The residual of one window, in units of its scale: see ``HumanView``."""
        networks, kernels, stream = self._networks, self._kernels, self._stream
        known = window.known if window.known is not None else memory.nothing
        if not self.steps:
            return known
        level = window.level if window.level is not None else memory.plain_level
        kernels.cut_window(noise, memory.noise, top=area[0].start, left=area[1].start, cuda_stream=stream)
        kernels.add_noise(known, level, memory.noise, memory.state, cuda_stream=stream)
        self._scale(q)
        given = {"z_m": window.z_m, "q": self._levels[q]}
        if self.generation is not None:
            given |= {"known": known, "level": level, "span": self._span, "given": self._told[planes is not None]}
            if self.generation.caption:
                height, width = (side // CAPTION_STRIDE for side in memory.windows.side)
                nothing = np.zeros((1, self.generation.caption, height, width), np.float32)
                given["caption"] = networks.array(planes if planes is not None else nothing)
        state = memory.state
        for time, gain in self._steps:
            (state,) = self._denoiser(state=state, time=time, gain=gain, **given)
        return state

    def _put_together(self, memory: _Planes) -> Any:
        """The whole of all windows' results: see ``Windows.put_together``."""
        if len(memory.kept) == 1:
            return memory.kept[0].result
        self._kernels.clear(memory.whole, cuda_stream=self._stream)
        for window, share, (rows, columns) in zip(memory.kept, memory.shares, memory.windows.areas, strict=True):
            self._kernels.blend_window(window.result, share, memory.whole, top=rows.start, left=columns.start,
                                       cuda_stream=self._stream)
        return memory.whole
