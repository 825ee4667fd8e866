"""How views look to people, by measures that need none: ``duoview bench views``."""
