"""How well detectors see through codecs: ours and the peers by real bytes, judged alike. See docs/accuracy.md."""
