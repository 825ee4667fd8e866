"""What is kept of recordings, for how long, and what goes first when the disk is full."""
