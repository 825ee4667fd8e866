"""Pictures that lie on a GPU, coded and shown there: device arrays in and out, coded bytes on the host.

It needs no array library: pictures come and go by ``__cuda_array_interface__`` or DLPack. Networks are onnxruntime's
with bound inputs and outputs; what is between them are the kernels of ``duoview.kernels.cuda``.
"""

from duoview.device.decoder import DeviceDecoder
from duoview.device.encoder import DeviceEncoder
from duoview.device.frame_decoder import DeviceFrameDecoder
from duoview.device.frame_encoder import DeviceFrameEncoder
from duoview.device.hardware import HardwareFrames, open_hardware
from duoview.device.networks import DeviceNetworks
from duoview.device.picture import DevicePicture

__all__ = ["DeviceDecoder", "DeviceEncoder", "DeviceFrameDecoder", "DeviceFrameEncoder", "DeviceNetworks",
           "DevicePicture", "HardwareFrames", "open_hardware"]
