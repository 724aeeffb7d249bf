"""What a person reads: tables of what was tuned, what is on record, and what a prediction is made of."""

from .console import print_table
from .tables import calibration_table, devices_table, doctor_table, explain_table, records_table, tuned_table
from .totals import Totals, totals_of

__all__ = [
    "Totals",
    "calibration_table",
    "devices_table",
    "doctor_table",
    "explain_table",
    "print_table",
    "records_table",
    "totals_of",
    "tuned_table",
]
