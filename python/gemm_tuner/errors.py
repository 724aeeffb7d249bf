"""One class per failure. Every message is a sentence: what was asked, what was found, what to do."""


class GemmTunerError(Exception):
    """Anything that gemm_tuner refuses or cannot do."""


class TorchMissingError(GemmTunerError):
    """What was asked for needs PyTorch, which is not installed."""


class ProblemsError(GemmTunerError):
    """A problems file cannot be read, understood or written."""


class CaptureError(GemmTunerError):
    """The script or model to capture cannot be found or has the wrong form."""
