"""Inference backends. A backend loads the ONNX networks of a profile and runs them; only ``auto`` may choose one."""

from duoview.backends.onnxruntime_cpu import Backend, CpuBackend, Network, open_backend
from duoview.backends.signature import DescribedNetwork, Signature, TensorSpec

__all__ = ["Backend", "CpuBackend", "DescribedNetwork", "Network", "Signature", "TensorSpec", "open_backend"]
