"""Amends puts a trained language model right, and proves it: everything a plugin's author imports."""

from amends.errors import AmendsError, BadInput, BadRecords, Cancelled, Denied
from amends.hookspecs import hookimpl
from amends.operation import (
    Attachment,
    Finding,
    Load,
    Operation,
    Probe,
    ProbeTask,
    Seams,
    Setting,
    State,
    Store,
    Task,
    Tunable,
    Workspace,
    operation,
    probe,
)
from amends.records import (
    AuditEntry,
    Change,
    DataSubject,
    Disclosure,
    Guarantee,
    ModelVersion,
    Reading,
    Records,
)

__version__ = "0.1.0"

__all__ = [
    "AmendsError",
    "Attachment",
    "AuditEntry",
    "BadInput",
    "BadRecords",
    "Cancelled",
    "Change",
    "DataSubject",
    "Denied",
    "Disclosure",
    "Finding",
    "Guarantee",
    "Load",
    "ModelVersion",
    "Operation",
    "Probe",
    "ProbeTask",
    "Reading",
    "Records",
    "Seams",
    "Setting",
    "State",
    "Store",
    "Task",
    "Tunable",
    "Workspace",
    "hookimpl",
    "operation",
    "probe",
]
