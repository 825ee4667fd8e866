"""Networks that several streams of a device share: their calls that come at the same moment are run as one batch.

As ``duoview.backends.batching`` does it on the host, but on the device: inputs are put together there, and each stream
copies what is its own out of the outputs, on its own CUDA stream.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnxruntime

from duoview.backends.batching import BatchedNetwork, BatchingBackend, Inputs, NetworkBatcher
from duoview.backends.onnxruntime_cpu import Network
from duoview.device.network import DeviceNetwork, kind
from duoview.errors import ProfileError
from duoview.kernels.cuda_array import DeviceArray

if TYPE_CHECKING:
    from duoview.device.networks import DeviceNetworks


@dataclass(frozen=True)
class Part:
    """What of an output, which several calls may have together, is a call's: so many of the first axis."""

    value: onnxruntime.OrtValue
    begin: int
    count: int

    @property
    def whole(self) -> bool:
        """Nobody else has any of it."""
        return self.count == int(self.value.shape()[0])


class DeviceBatcher(NetworkBatcher):
    """One network, and the calls of several streams that wait for it; inputs are memory of the device, filled.

    network: on a lane of its own, which batches are put together on.
    """

    def __init__(self, network: DeviceNetwork, batch: int) -> None:
        super().__init__(cast(Network, network), network.joined, batch)
        self._device_network = network

    def kind(self, inputs: Inputs) -> Hashable:
        """Calls of equal kinds go into one batch: the same sizes, and the same arrays of what the batch has once."""
        arrays = cast(Mapping[str, DeviceArray], inputs)
        return tuple((name, one.dtype.str, one.shape[1:]) if name in self.joined else
                     (name, one.dtype.str, one.shape, one.pointer) for name, one in sorted(arrays.items()))

    def _together(self, calls: Sequence[Inputs]) -> list[list[Any]]:
        """The parts of outputs that are each call's."""
        network, given = self._device_network, [cast(Mapping[str, DeviceArray], call) for call in calls]
        counts = [call[self.joined[0]].shape[0] for call in given]
        if len(calls) == 1:
            return [[Part(value, 0, int(value.shape()[0])) for value in network.run(given[0])]]
        arrays = {name: self._joined([call[name] for call in given]) if name in self.joined else one
                  for name, one in given[0].items()}
        network.lane.wait()
        values = network.run(arrays)
        if any(int(value.shape()[0]) != sum(counts) for value in values):
            raise ProfileError(f"a network that is given a batch of {sum(counts)} gives "
                               f"{[int(value.shape()[0]) for value in values]}")
        begins = [0, *np.cumsum(counts).tolist()]
        return [[Part(value, begin, count) for value in values]
                for begin, count in zip(begins, counts, strict=False)]

    def _joined(self, parts: Sequence[DeviceArray]) -> DeviceArray:
        """An array of all of them, queued."""
        driver, lane = self._device_network.driver, self._device_network.lane
        memory = lane.allocate(sum(part.nbytes for part in parts))
        offset = 0
        for part in parts:
            driver.copy(part.pointer, memory.pointer + offset, part.nbytes, lane.stream)
            offset += part.nbytes
        shape = sum(part.shape[0] for part in parts), *parts[0].shape[1:]
        return DeviceArray(memory.pointer, parts[0].dtype, shape, True, memory)


class BatchedDeviceNetwork:
    """A network as one stream has it.

    network: the same on the stream's own lane. seat: tells how long the stream's frame may wait for others.
    """

    def __init__(self, network: DeviceNetwork, batcher: DeviceBatcher, seat: DeviceNetworks) -> None:
        self._network = network
        self._batched = BatchedNetwork(batcher, cast(BatchingBackend, seat))
        self.batcher = batcher
        self.join()

    def join(self) -> None:
        """From now on the others wait for this stream's calls."""
        self.batcher.join(self._batched)

    def leave(self) -> None:
        """Nobody waits for them any more."""
        self.batcher.leave(self._batched)

    def __call__(self, **inputs: Any) -> list[Any]:
        """See DeviceNetwork."""
        arrays = self._network.arrays(inputs)
        return [self._own(part) for part in cast(list[Part], self._batched(**cast(Any, arrays)))]

    def _own(self, part: Part) -> Any:
        """A call's part of an output as an array, of memory that holds nothing of the others' if they have any."""
        if part.whole:
            return self._network.own(part.value)
        lane, value = self._network.lane, part.value
        made = lane.empty((part.count, *value.shape()[1:]), kind(value))
        target = self._network.driver.array("output", made)
        self._network.driver.copy(value.data_ptr() + part.begin * (target.nbytes // part.count), target.pointer,
                                  target.nbytes, lane.stream)
        lane.keep(value)
        return made
