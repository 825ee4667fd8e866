"""What a network file says of itself: its inputs, outputs and metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: name, shape with None for each length that is settled at run time, element type."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @classmethod
    def of(cls, name: str, shape: Sequence[Any], dtype: str) -> Self:
        """From a shape whose free lengths may be names, None, or not positive."""
        return cls(name, tuple(n if isinstance(n, int) and n > 0 else None for n in shape), dtype)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs in the order in which they come, and metadata as pairs of key and value."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return (f"inputs: {'; '.join(map(str, self.inputs)) or 'none'}; "
                f"outputs: {'; '.join(map(str, self.outputs)) or 'none'}")


@runtime_checkable
class DescribedNetwork(Protocol):
    """A network that can tell its signature."""

    @property
    def signature(self) -> Signature: ...

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]: ...
