"""What a plugin offers: operations, probes, stores and attachments, with the tasks they are given."""

from amends.operation.declaration import Operation, Probe, operation, probe
from amends.operation.effort import Load
from amends.operation.parameters import Parameter
from amends.operation.seams import Attachment, Finding, Seams, Setting, Store, Tunable, Workspace
from amends.operation.task import ProbeTask, State, Task

__all__ = [
    "Attachment",
    "Finding",
    "Load",
    "Operation",
    "Parameter",
    "Probe",
    "ProbeTask",
    "Seams",
    "Setting",
    "State",
    "Store",
    "Task",
    "Tunable",
    "Workspace",
    "operation",
    "probe",
]
