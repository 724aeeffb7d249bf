"""One class per failure. Every message is a sentence: what was asked, what was found, what to do."""


class GemmTunerError(Exception):
    """Base of every error that this package raises on purpose."""


class RecordsError(GemmTunerError):
    """A records file cannot be read, is none, or cannot be written."""
