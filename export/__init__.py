"""From trained torch networks to the ONNX files, tables and golden vectors of a profile (extra: ``train``)."""
