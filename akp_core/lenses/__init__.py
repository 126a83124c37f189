"""Lenses applied to a trained population: stability, clones, order of learning, and all together."""
