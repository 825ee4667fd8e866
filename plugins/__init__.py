"""Filter stages, filtergraph strings and containers: duoview seen from FFmpeg and PyAV."""
