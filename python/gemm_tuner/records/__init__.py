"""The record files: what was learned, kept as one self-contained line each. docs/records.md has the format."""

from .export import Left, lookup_table_key, serving_file_name, to_lookup_table, to_serving, write_serving
from .file import (
    Contents,
    Line,
    RecordsSource,
    Skipped,
    append,
    open_for_append,
    read,
    read_all,
    require_writable,
    write_atomically,
)
from .lookup import Index, Match, kernel_state, shape_distance
from .record import SCHEMA, Basis, Fingerprint, Kind, Record, Versions, aten_kernel
from .upkeep import Tally, Verdict, compact, merge, verify

__all__ = [
    "SCHEMA",
    "Basis",
    "Contents",
    "Fingerprint",
    "Index",
    "Kind",
    "Left",
    "Line",
    "Match",
    "Record",
    "RecordsSource",
    "Skipped",
    "Tally",
    "Verdict",
    "Versions",
    "append",
    "aten_kernel",
    "compact",
    "kernel_state",
    "lookup_table_key",
    "merge",
    "open_for_append",
    "read",
    "read_all",
    "require_writable",
    "serving_file_name",
    "shape_distance",
    "to_lookup_table",
    "to_serving",
    "verify",
    "write_atomically",
    "write_serving",
]
