"""The scale-detection task: two points, near or far? Data, networks, training, and what depth does."""
