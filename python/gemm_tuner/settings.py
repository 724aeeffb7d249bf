"""What the environment sets. The one place that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """cache_dir: where compiled candidates are kept (GEMM_TUNER_CACHE_DIR; the user's cache folder by default)."""

    cache_dir: Path


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings as the environment has them now."""
    named = environment.get("GEMM_TUNER_CACHE_DIR")
    if named:
        return Settings(cache_dir=Path(named).expanduser())
    from platformdirs import user_cache_path

    return Settings(cache_dir=user_cache_path("gemm_tuner"))
