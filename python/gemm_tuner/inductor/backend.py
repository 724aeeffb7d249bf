"""`torch.compile(model, backend="gemm_tuner")`: Inductor, tuned, for that model alone. No import of ours is needed."""

from __future__ import annotations

import inspect
from typing import Any

from . import switch


def gemm_tuner(graph: Any, inputs: Any, *, mode: str | None = None, options: dict[str, Any] | None = None) -> Any:
    """The backend. options: those of `gemm_tuner.enable`, and any of Inductor's own beside them; mode: Inductor's.

    Raises what `enable` raises for options that make no sense.
    """
    from . import _compat

    given = dict(options or {})
    ours = {name: given.pop(name) for name in inspect.signature(switch.enable).parameters if name in given}
    theirs = {**_compat.mode_options(mode), **given}
    return switch.covering(switch.session(**ours), _compat.front_door())(graph, inputs, config_patches=theirs or None)
