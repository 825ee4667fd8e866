"""The neural machine layer with only coded bytes on the host: torch's networks and our kernels on one device.

What a GPU can reach is measured with it; sections decode like all others. It rounds as the encoder does, but takes no
decision on what is worth its bits, which needs the picture's error on the way, and nothing moves in its P frames, where
the profile has motion compensation. In a dry run the kernels run on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from duoview import Profile
from duoview.decision import SymbolDecision
from duoview.errors import BitstreamError
from duoview.export.torch_backend import TorchBackend, TorchNetwork
from duoview.kernels import checkerboard
from duoview.kernels.cuda import Device

NETWORKS = ("encoder", "decoder", "key_analysis", "key_hyper", "key_context", "key_synthesis", "inter_analysis",
            "inter_hyper", "inter_context", "inter_synthesis")
CHUNK, LANES = 8192, 32
#: What P frames of a profile with motion compensation begin with: nothing moves, and symbols follow; and the classes.
NO_MOTION, NO_MOTION_CLASSES = (0, 1), (178, 170)


class DeviceNetworks:
    """All networks of a stream on a device, the exact ones proven by their golden vectors; shared by its streams."""

    def __init__(self, profile: Profile, device: str) -> None:
        self.profile, self.device = profile, torch.device(device)
        backend = TorchBackend(device)
        self.of: dict[str, TorchNetwork] = {}
        for name in NETWORKS:
            network = profile.load(name, backend)
            assert isinstance(network, TorchNetwork)
            self.of[name] = network


class DeviceCodec:
    """One stream's encoder or decoder for pictures of one size, multiples of 64 pixels."""

    def __init__(self, networks: DeviceNetworks, kernels: Device, width: int, height: int, q: int) -> None:
        self.networks, self.kernels = networks, kernels
        sizes, device = networks.profile.sizes, networks.device
        self.planes = (sizes.symbols, height // 16, width // 16)
        hyper = (1, sizes.hyper, height // 64, width // 64)
        self.hyper_shape = hyper
        self.hyper_count = hyper[1] * hyper[2] * hyper[3]
        self.halves = [checkerboard.size(self.planes, half) for half in (0, 1)]
        self.head = len(NO_MOTION) if networks.profile.has_motion else 0
        count = self.head + self.hyper_count + sum(self.halves)
        self.q = torch.tensor([q], dtype=torch.int64, device=device)
        tables = {True: networks.profile.key_hyper_classes, False: networks.profile.inter_hyper_classes}
        self.hyper_classes = {key: torch.from_numpy(np.repeat(table[q], hyper[2] * hyper[3])).to(device)
                              for key, table in tables.items()}
        self.margins = {key: torch.from_numpy(np.asarray(SymbolDecision().margins(key), np.float32)).to(device)
                        for key in (True, False)}
        self.symbols_row = torch.empty(count, dtype=torch.int16, device=device)
        self.classes_row = torch.empty(count, dtype=torch.uint8, device=device)
        self.no_motion = torch.tensor(NO_MOTION[:self.head], dtype=torch.int16, device=device)
        self.no_motion_classes = torch.tensor(NO_MOTION_CLASSES[:self.head], dtype=torch.uint8, device=device)
        chunks = -(-count // CHUNK)
        self.output = self._memory(kernels.encode_output_bytes(count, CHUNK))
        self.encode_scratch = self._memory(kernels.encode_scratch_bytes(count, CHUNK))
        self.result, self.status = self._memory(16), self._memory(16)
        self.state = self._memory(kernels.decode_state_bytes(chunks))
        self.decode_scratch = self._memory(kernels.decode_scratch_bytes(count))
        self.z_m: Tensor | None = None
        self.previous: Tensor | None = None

    def _memory(self, size: int) -> Tensor:
        # Kernels want memory that begins at a multiple of 16 bytes; torch's does, on the CPU too.
        return torch.zeros(max(size, 16), dtype=torch.uint8, device=self.networks.device)

    @property
    def _stream(self) -> int | None:
        return torch.cuda.current_stream().cuda_stream if self.networks.device.type == "cuda" else None

    def _array(self, tensor: Tensor) -> Any:
        return tensor if tensor.is_cuda else tensor.numpy()

    def _row_part(self, row: Tensor, part: int) -> Tensor:
        begin = self.head + (0, self.hyper_count, self.hyper_count + self.halves[0])[part]
        return row[begin:begin + (self.hyper_count, *self.halves)[part]]

    def _first(self, hyper: Tensor, key: bool) -> tuple[Tensor, Tensor, Tensor]:
        inputs = {"hyper": hyper, "q": self.q}
        if not key:
            assert self.previous is not None
            inputs["previous"] = self.previous
        features, classes, means = self.networks.of["key_hyper" if key else "inter_hyper"].tensors(**inputs)
        return features, classes[0].contiguous(), means[0].contiguous()

    def _second(self, features: Tensor, decoded: Tensor, key: bool) -> tuple[Tensor, Tensor]:
        network = self.networks.of["key_context" if key else "inter_context"]
        classes, means = network.tensors(features=features, decoded=decoded)
        return classes[0].contiguous(), means[0].contiguous()

    def _move_on(self, decoded: Tensor, symbols: Tensor, key: bool) -> Tensor:
        if key:
            (self.z_m,) = self.networks.of["key_synthesis"].tensors(decoded=decoded, q=self.q)
            self.previous = torch.zeros_like(decoded)
        else:
            assert self.z_m is not None
            (self.z_m,) = self.networks.of["inter_synthesis"].tensors(
                decoded=decoded, symbols=symbols[None].float(), previous=self.z_m, q=self.q)
            self.previous = decoded
        return self.z_m

    def _planes(self) -> tuple[Tensor, Tensor]:
        device = self.networks.device
        return (torch.empty(self.planes, dtype=torch.int16, device=device),
                torch.zeros((1, *self.planes), dtype=torch.float32, device=device))

    def encode(self, picture: Tensor, *, key: bool) -> bytes:
        """The machine section of a picture, uint8 (1, 3, H, W) on the device. The state moves on."""
        a, stream = self._array, self._stream
        (z,) = self.networks.of["encoder"].tensors(picture=picture)
        if key:
            y, hyper = self.networks.of["key_analysis"].tensors(z=z, q=self.q)
        else:
            assert self.z_m is not None
            y, hyper = self.networks.of["inter_analysis"].tensors(z=z, previous=self.z_m, q=self.q)
        features, classes, means = self._first(hyper, key)
        symbols, decoded = self._planes()
        self._row_part(self.symbols_row, 0).copy_(hyper.reshape(-1))
        self._row_part(self.classes_row, 0).copy_(self.hyper_classes[key])
        values = y[0].contiguous()
        for half in (0, 1):
            if half:
                classes, means = self._second(features, decoded, key)
            self.kernels.quantise_half(a(values), a(classes), a(means), half, margins=a(self.margins[key]),
                                       symbols=a(symbols), decoded=a(decoded[0]), status=a(self.status),
                                       cuda_stream=stream)
            self.kernels.gather_half(a(classes), a(self._row_part(self.classes_row, 1 + half)), half,
                                     cuda_stream=stream)
            self.kernels.gather_half(a(symbols), a(self._row_part(self.symbols_row, 1 + half)), half,
                                     cuda_stream=stream)
        begin = self.head if key else 0
        self.symbols_row[:self.head], self.classes_row[:self.head] = self.no_motion, self.no_motion_classes
        self.kernels.encode(a(self.symbols_row[begin:]), a(self.classes_row[begin:]), a(self.output), a(self.result),
                            a(self.encode_scratch), chunk=CHUNK, lanes=LANES, cuda_stream=stream)
        self._move_on(decoded, symbols, key)
        size = self.kernels.check_encode(a(self.result), cuda_stream=stream)
        return self.output[:size].cpu().numpy().tobytes()

    def decode(self, section: bytes, *, key: bool) -> Tensor:
        """The machine view, uint8 (1, 3, H, W) on the device. The state moves on.

        Raises BitstreamError, also for a P frame in which something moves.
        """
        a, stream = self._array, self._stream
        data = torch.from_numpy(np.frombuffer(section, np.uint8).copy()).to(self.networks.device)
        decoder = self.kernels.decoder(a(data), a(self.state), cuda_stream=stream)
        head = self.symbols_row[:0 if key else self.head]
        if len(head):
            decoder.decode(a(self.no_motion_classes), a(head), a(self.decode_scratch), cuda_stream=stream)
        row = self._row_part(self.symbols_row, 0)
        decoder.decode(a(self.hyper_classes[key]), a(row), a(self.decode_scratch), cuda_stream=stream)
        features, classes, means = self._first(row.float().reshape(self.hyper_shape), key)
        symbols, decoded = self._planes()
        for half in (0, 1):
            if half:
                classes, means = self._second(features, decoded, key)
            ordered, part = (self._row_part(one, 1 + half) for one in (self.classes_row, self.symbols_row))
            self.kernels.gather_half(a(classes), a(ordered), half, cuda_stream=stream)
            decoder.decode(a(ordered), a(part), a(self.decode_scratch), cuda_stream=stream)
            self.kernels.dequantise_half(a(part), a(means), half, symbols=a(symbols), decoded=a(decoded[0]),
                                         cuda_stream=stream)
        decoder.finish(cuda_stream=stream)
        (view,) = self.networks.of["decoder"].tensors(z=self._move_on(decoded, symbols, key))
        if len(head) and not torch.equal(head, self.no_motion):
            raise BitstreamError("motion in a P frame: expected one in which nothing moves and symbols follow",
                                 offset=0)
        decoder.check(cuda_stream=stream)
        return view
