"""Measurements of duoview. Every program writes JSON with the machine it ran on beside the numbers."""
