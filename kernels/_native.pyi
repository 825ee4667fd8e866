from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

def paths() -> list[str]: ...
def all_paths() -> list[str]: ...
def crc32c(data: Buffer, value: int, path: str) -> int: ...
def crc32c_paths() -> list[str]: ...
def philox_block(counter: Sequence[int], key: Sequence[int]) -> list[int]: ...
def philox(
    seed: int, stream: int, offset: int, count: int, threads: int, path: str
) -> NDArray[np.uint32]: ...
def normals(
    seed: int, stream: int, offset: int, count: int, threads: int, path: str
) -> NDArray[np.float32]: ...
def normals_into(
    seed: int, stream: int, offset: int, out: NDArray[np.float32], threads: int, path: str
) -> None: ...
def sample_child(
    nodes: NDArray[np.uint8], classes: NDArray[np.uint8], seed: int, stream: int, offset: int, threads: int, path: str
) -> NDArray[np.uint8]: ...
def octave_weight(distance: int) -> int: ...
def dlpack_capsule(
    pointer: int, code: int, bits: int, shape: list[int], device_type: int, device_id: int, owner: object
) -> Any: ...
def nearest(
    vectors: NDArray[np.float32], leaves: NDArray[np.float32], threads: int, path: str
) -> NDArray[np.uint8]: ...
def node_errors(
    vectors: NDArray[np.float32],
    nodes: NDArray[np.uint8],
    table: NDArray[np.float32] | None,
    scale: NDArray[np.float32],
    factor: float,
) -> NDArray[np.float32]: ...
def posterior_uniform(
    logits: NDArray[np.int16],
    states: NDArray[np.uint8],
    model: int,
    flat: int,
    stay: int,
    agree: int,
    own: int,
    seed: int,
    stream: int,
    offset: int,
    threads: int,
    path: str,
) -> NDArray[np.uint8]: ...
def posterior_absorbing(
    logits: NDArray[np.int16],
    states: NDArray[np.uint8],
    masked: int,
    seed: int,
    stream: int,
    offset: int,
    threads: int,
    path: str,
) -> NDArray[np.uint8]: ...
def posterior_tree(
    logits: NDArray[np.int16],
    states: NDArray[np.uint8],
    depth: int,
    next_depth: int,
    seed: int,
    stream: int,
    offset: int,
    threads: int,
    path: str,
) -> NDArray[np.uint8]: ...
def build_tree(
    vectors: NDArray[np.float32], weights: NDArray[np.uint32] | None, depth: int, scale: float, rounds: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...
def checkerboard_size(channels: int, height: int, width: int, half: int) -> int: ...
@overload
def checkerboard_gather(planes: NDArray[np.uint8], half: int) -> NDArray[np.uint8]: ...
@overload
def checkerboard_gather(planes: NDArray[np.int16], half: int) -> NDArray[np.int16]: ...
def checkerboard_quantise(
    values: NDArray[np.float32],
    classes: NDArray[np.uint8],
    means: NDArray[np.int16],
    half: int,
    margins: NDArray[np.float32],
    keep: NDArray[np.bool_] | None,
    symbols: NDArray[np.int16],
    decoded: NDArray[np.float32],
) -> None: ...
def checkerboard_dequantise(
    coded: NDArray[np.int16],
    means: NDArray[np.int16],
    half: int,
    symbols: NDArray[np.int16],
    decoded: NDArray[np.float32],
) -> None: ...
def block_motion(
    previous: NDArray[np.uint8], current: NDArray[np.uint8], cell: int, reach: int, threads: int
) -> tuple[NDArray[np.int8], NDArray[np.uint32]]: ...
def choose_motion(
    offered: NDArray[np.int8],
    errors: NDArray[np.float32],
    before: NDArray[np.int8],
    worth: float,
    stay: float,
    same: float,
    other: float,
    length: float,
) -> NDArray[np.int8]: ...
def luma(picture: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
def picture_error(
    error: NDArray[np.float32], weights: NDArray[np.float32], threads: int, path: str
) -> NDArray[np.float32]: ...
def picture_gain(
    wanted: NDArray[np.float32],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    weights: NDArray[np.float32],
    threads: int,
    path: str,
) -> NDArray[np.float32]: ...
def rans_encode(
    symbols: NDArray[np.int16] | NDArray[np.int8],
    classes: NDArray[np.uint8],
    lanes: int,
    chunk: int,
    threads: int,
    path: str,
) -> bytes: ...
def rans_frequencies(class_index: int) -> list[int]: ...

class RansDecoder:
    def __init__(self, data: Buffer, threads: int, path: str) -> None: ...
    def decode(self, classes: NDArray[np.uint8]) -> NDArray[np.int16]: ...
    def decode_into(self, classes: NDArray[np.uint8], out: NDArray[np.int16]) -> None: ...
    def finish(self) -> None: ...

class ShiftOperators:
    def __init__(self, weights: NDArray[np.int16], path: str) -> None: ...
    def shift(
        self,
        state: NDArray[np.int16],
        cells: NDArray[np.int32] | NDArray[np.int64],
        vectors: NDArray[np.int8],
        threads: int,
    ) -> NDArray[np.int16]: ...
    def summed(self) -> NDArray[np.int16]: ...
    def compensate(
        self, state: NDArray[np.float32], vectors: NDArray[np.int8], threads: int
    ) -> NDArray[np.float32]: ...

class ErrorForms:
    fraction_bits: int
    unit_bits: int
    def __init__(self, weights: NDArray[np.float32], path: str) -> None: ...
    def integers(self) -> NDArray[np.int16]: ...
    def errors(
        self,
        operators: ShiftOperators,
        wanted: NDArray[np.float32],
        state: NDArray[np.float32],
        offered: NDArray[np.int8],
        threads: int,
    ) -> NDArray[np.float32]: ...

def warp_programs() -> dict[str, int]: ...
def warp_run(name: str, warps: int, arguments: Sequence[int], backwards: bool) -> None: ...
def warp_table(name: str) -> bytes: ...
