"""Where a coder's time goes: wraps the networks, the entropy coder and the conversions of one Encoder or Decoder."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from duoview import Decoder, Encoder, decoder, kernels


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def wrap(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds[stage] += time.perf_counter() - began

        return timed

    def attach(self, coder: Encoder | Decoder) -> None:
        """Time the networks and the conversion of a coder that has coded its first frame."""
        layer = coder._machine
        assert layer is not None
        layer.networks = {name: self.wrap(name, network) for name, network in layer.networks.items()}
        if isinstance(coder, Encoder):
            coder._reader.read = self.wrap("conversion", coder._reader.read)  # type: ignore[method-assign]
        else:
            assert coder._picture_network is not None
            coder._picture_network = self.wrap("decoder", coder._picture_network)
            if coder._human is not None:
                coder._human._denoiser = self.wrap("denoiser", coder._human._denoiser)
                coder._human._decoder = self.wrap(coder._human.profile.human_view_network, coder._human._decoder)
                coder._human._colour = self.wrap("colour", coder._human._colour)

    @contextmanager
    def entropy_coding(self) -> Iterator[None]:
        """Within the block, the entropy coder and the conversion to frames are timed, whoever calls them."""
        encode, class_, to_frame = kernels.encode, kernels.Decoder, decoder.to_frame
        watch = self

        class TimedDecoder:
            """Same calls as kernels.Decoder."""

            def __init__(self, data: bytes) -> None:
                inner = class_(data)
                self.decode = watch.wrap("entropy coding", inner.decode)
                self.finish = watch.wrap("entropy coding", inner.finish)

        kernels.encode = self.wrap("entropy coding", encode)
        kernels.Decoder = TimedDecoder  # type: ignore[assignment,misc]
        decoder.to_frame = self.wrap("conversion", to_frame)
        try:
            yield
        finally:
            kernels.encode, kernels.Decoder, decoder.to_frame = encode, class_, to_frame  # type: ignore[misc]
