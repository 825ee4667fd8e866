"""Torch networks, data sets, losses and training of duoview's profiles (extra: ``train``).

Nothing that runs at encode or decode time imports this package; it hands its networks to ``duoview.export``.
"""
