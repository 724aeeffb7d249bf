"""One class per failure. Every message is a sentence: what was asked, what was found, what to do."""


class GemmTunerError(Exception):
    """Base of every error that this package raises on purpose."""


class NoDeviceError(GemmTunerError):
    """There is no GPU to speak of: no driver, no device, or none of that ordinal."""


class UnknownDeviceError(GemmTunerError, LookupError):
    """No catalogued device goes by the name given, or several do."""


class DriverError(GemmTunerError):
    """The NVIDIA driver is there, but it is too old, does not start, or a call of it failed."""

    code: str = ""  # the driver's name of the failure, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; empty where no call failed


class NotBuiltError(GemmTunerError):
    """What was asked for needs a part that this build of the extension does not have, or not for this device."""


class LibraryError(GemmTunerError):
    """cuBLASLt cannot be opened, or refuses what was asked."""


class CalibrationError(GemmTunerError):
    """A GPU's own figures make no sense or vary too much, or a calibration cannot be kept."""


class TorchMissingError(GemmTunerError):
    """What was asked for needs PyTorch, which is not installed."""


class TritonMissingError(GemmTunerError):
    """What was asked for needs Triton, which is not installed."""


class ProblemsError(GemmTunerError):
    """A problems file cannot be read, understood or written."""


class CaptureError(GemmTunerError):
    """The script or model to capture cannot be found or has the wrong form."""


class RecordsError(GemmTunerError):
    """A records file cannot be read, is none, or cannot be written."""


class GpuLostError(GemmTunerError):
    """The GPU does not answer any more, or the process that is to use it does not start."""
