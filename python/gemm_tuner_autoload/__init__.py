"""What `import torch` calls when it is done, through the entry-point group `torch.backends`.

A package of its own, as one inside `gemm_tuner` would import that first: where GEMM_TUNER_ENABLE is not set, importing
torch must cost next to nothing more. And nothing that goes wrong here may break that import.
"""

import os


def autoload() -> None:
    """Switches gemm_tuner on for torch.compile where GEMM_TUNER_ENABLE is 1; whatever goes wrong is one warning."""
    wanted = os.environ.get("GEMM_TUNER_ENABLE", "")
    if wanted in ("", "0"):
        return
    from logging import getLogger

    log = getLogger("gemm_tuner")
    if wanted != "1":
        log.warning("GEMM_TUNER_ENABLE=%r is neither 0 nor 1; taken as unset", wanted)
        return
    try:
        from importlib import import_module

        import_module("gemm_tuner.inductor.switch").enable_from_environment()
    except (Exception, SystemExit) as error:  # noqa: BLE001
        kind = type(error).__name__
        log.warning("GEMM_TUNER_ENABLE=1 did not switch gemm_tuner on, torch works without it: %s: %s", kind, error)
