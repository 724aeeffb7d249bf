"""Which versions are installed, without importing what they belong to."""

from __future__ import annotations

TRITON = ("triton", "pytorch-triton", "triton-nightly")  # the distributions that bring Triton


def installed_version(*distributions: str) -> str:
    """The version of the first of `distributions` that is installed; empty where none is."""
    from importlib import metadata  # here: it would be a fifth of the time that importing this package takes

    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return ""
