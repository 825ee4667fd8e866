"""onnxruntime on an NVIDIA GPU. A session, or a single operator, that did not get the GPU is an error.

onnxruntime itself goes on with the CPU, after a line on stderr, when a library of CUDA or cuDNN is missing, and without
a word for an operator that its provider lacks. What each session and each operator got is asked for; only in networks
that compute shapes may arithmetic be on the CPU. This has not run
on a GPU yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from duoview.backends import nvidia
from duoview.backends.cuda_graph import CapturedNetwork, failure
from duoview.backends.onnxruntime_cpu import CpuBackend, signature_of
from duoview.backends.signature import Signature
from duoview.errors import BackendUnavailableError, ProfileError

PROVIDER = "CUDAExecutionProvider"
#: Of networks that compute shapes, as detectors do, onnxruntime puts these small integer parts on the CPU on purpose.
SHAPE_OPERATORS = frozenset(("Shape", "Size", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Cast", "Add", "Sub",
                             "Mul", "Div", "Range", "Reshape", "Constant", "ConstantOfShape", "Equal", "Where",
                             "Expand", "Floor", "Identity", "Split", "ReduceProd", "Neg", "Min", "Max"))
_INSTALL = "pip install duoview[gpu] in an environment without plain onnxruntime"


def unavailable() -> str:
    """Why sessions on a GPU cannot be had here, as far as that shows before one is made; empty where they may be."""
    found = nvidia.driver()
    if found.problem:
        return f"NVIDIA driver: {found.problem}"
    if PROVIDER not in onnxruntime.get_available_providers():
        return f"onnxruntime {onnxruntime.__version__} lacks {PROVIDER}; {_INSTALL}"
    return ""


def provider_options(index: int) -> dict[str, str]:
    """Options of the provider. Sizes change from stream to stream: memory is taken as asked for, not in powers of two.

    Without TF32, whose products have 10 bits: exact networks would bear it, the pictures would not be the CPU's.
    """
    return {"device_id": str(index), "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0",
            "cudnn_conv_algo_search": "HEURISTIC", "do_copy_in_default_stream": "1"}


class BoundNetwork:
    """A session whose inputs and outputs are bound: one copy to the device, one back, no other.

    device: onnxruntime's name of where outputs are made, ``cuda`` or ``cpu``. path: of the file, for errors.
    """

    def __init__(self, session: onnxruntime.InferenceSession, device: str, index: int,
                 path: Path = Path("network")) -> None:
        self.session, self.device, self.index, self.path = session, device, index, path
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Raises ProfileError for a file with other inputs, BackendUnavailableError where the GPU fails."""
        try:
            return self._run(inputs)
        except Exception as error:
            raise failure(self.session, inputs, self.path, error) from error

    def _run(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        binding = self.session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(
                name, onnxruntime.OrtValue.ortvalue_from_numpy(value, self.device, self.index))
        for name in self._outputs:
            binding.bind_output(name, self.device, self.index)
        self.session.run_with_iobinding(binding)
        outputs: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return outputs

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the file declares them, and its metadata."""
        return signature_of(self.session)


class CudaBackend:
    """Makes sessions on one GPU.

    Args:
        index: the GPU, counted as the CUDA driver does.
        graphs: calls are replays of CUDA graphs, one for each combination of shapes (``duoview.backends.cuda_graph``).
            Networks with a single operator on the CPU, as detectors have, cannot be captured: that is an error.

    Raises BackendUnavailableError naming what is missing: driver, GPU, or onnxruntime's provider.
    """

    name = "cuda"

    def __init__(self, index: int = 0, *, graphs: bool = False) -> None:
        missing = unavailable()
        if missing:
            raise BackendUnavailableError(f"device 'cuda': {missing}; use device 'cpu' or 'auto'")
        self.index, self.graphs = index, graphs

    @property
    def identity(self) -> Hashable | None:
        """What its networks depend on beside their files. A class made of this one may load others: it shares none."""
        return (CudaBackend, self.index, self.graphs) if type(self) is CudaBackend else None

    def providers(self, path: Path) -> list[tuple[str, dict[str, str]]]:
        """Providers that a network's session is asked for, the first one first, with their options."""
        return [(PROVIDER, provider_options(self.index) | ({"enable_cuda_graph": "1"} if self.graphs else {}))]

    def load(self, path: Path) -> BoundNetwork | CapturedNetwork:
        """Raises ProfileError for a file that holds no network, BackendUnavailableError when the GPU was not got."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_mem_pattern = False
        # Sizes alone are computed on the CPU; a pool of threads for each network would wait awake for them.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        told = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
        # Where onnxruntime cannot tell what got the GPU, it must not make a session in which anything did not.
        options.add_session_config_entry(
            "session.record_ep_graph_assignment_info" if told else "session.disable_cpu_ep_fallback", "1")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=self.providers(path))
        except Exception as error:  # onnxruntime's errors have no nearer base class in common
            if not told:
                CpuBackend(1).load(path)  # raises ProfileError for a file that nothing can load
                raise BackendUnavailableError(
                    f"device 'cuda': onnxruntime {onnxruntime.__version__} cannot tell which operators get the GPU "
                    f"(it lacks get_provider_graph_assignment_info), and without the CPU it does not load {path.name} "
                    f"({error}); use a newer one, or device 'cpu' or 'auto'") from error
            if self.graphs:
                CpuBackend(1).load(path)
                raise BackendUnavailableError(
                    f"device 'cuda': onnxruntime {onnxruntime.__version__} cannot capture {path.name} into a CUDA "
                    f"graph ({error}); use CudaBackend(graphs=False)") from error
            raise ProfileError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load this network on the GPU "
                               f"({error})") from error
        for provider, _ in self.providers(path):
            check_providers(session.get_providers(), path, provider)
        if told:
            check_placement(placement(session), path, tuple(name for name, _ in self.providers(path)))
        session.disable_fallback()
        return (CapturedNetwork if self.graphs else BoundNetwork)(session, "cuda", self.index, path)


def check_providers(got: list[str], path: Path, wanted: str = PROVIDER) -> None:
    """Raises BackendUnavailableError unless the session got the provider."""
    if wanted not in got:
        raise BackendUnavailableError(
            f"device 'cuda': onnxruntime {onnxruntime.__version__} was asked for {wanted} and gives {path.name} "
            f"{', '.join(got) or 'nothing'}: libraries of CUDA or cuDNN that it needs are missing or too old; "
            "pip install 'onnxruntime-gpu[cuda,cudnn]', or use device 'cpu' or 'auto'")


def placement(session: onnxruntime.InferenceSession) -> list[tuple[str, str]]:
    """Provider and type of every operator of a session that was told to record them."""
    return [(str(part.ep_name), str(node.op_type)) for part in session.get_provider_graph_assignment_info()
            for node in part.get_nodes()]


def check_placement(operators: Sequence[tuple[str, str]], path: Path, providers: Sequence[str] = (PROVIDER,)) -> None:
    """Raises BackendUnavailableError where an operator that is more than a shape's arithmetic did not get the GPU."""
    allowed = SHAPE_OPERATORS if any(kind == "Shape" for _, kind in operators) else frozenset[str]()
    elsewhere = Counter(kind for provider, kind in operators if provider not in providers and kind not in allowed)
    if elsewhere:
        named = ", ".join(f"{count} {kind}" for kind, count in sorted(elsewhere.items()))
        raise BackendUnavailableError(
            f"device 'cuda': onnxruntime {onnxruntime.__version__} computes {named} of {path.name} on the CPU, "
            f"{elsewhere.total()} of {len(operators)} operators; use device 'cpu' or 'auto', or another version of it")
