"""``duoview run``: cameras and files through filtergraphs into files, recordings and analytics."""
