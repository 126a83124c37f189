"""Streams of randomness derived from one seed by name, so that no two purposes share a stream."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *path: str | int) -> int:
    """Derive a child seed, in [0, 2**63), from a seed and the path of names that leads to its use.

    The child is the SHA-256 of the seed and the path, so it depends on nothing else: not on how many
    members a study has, nor on the order in which they are trained.
    """
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """Open the CPU stream of random numbers at the end of a path (see `derive`)."""
    return torch.Generator().manual_seed(derive(seed, *path))
