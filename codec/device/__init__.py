"""Pictures that lie on a GPU, coded and shown there: device arrays in and out, coded bytes on the host.

It needs no array library: pictures come by ``__cuda_array_interface__`` or DLPack, and go out by the former. Networks
are onnxruntime's with bound inputs and outputs; what is between them are the kernels of ``duoview.kernels.cuda``.
"""

from duoview.device.decoder import DeviceDecoder, DevicePicture
from duoview.device.encoder import DeviceEncoder
from duoview.device.hardware import HardwareFrames, open_hardware
from duoview.device.networks import DeviceNetworks

__all__ = ["DeviceDecoder", "DeviceEncoder", "DeviceNetworks", "DevicePicture", "HardwareFrames", "open_hardware"]
