"""Every error Amends raises on purpose, one tree, one sentence each.

::

    AmendsError
    ├── BadInput               the caller can mend it; the CLI leaves with 2
    │   ├── BadRecords         a data file, with its line
    │   ├── BadPolicy          a policy file, with its rule
    │   ├── UnknownOperation   no plugin offers the name
    │   ├── UnknownProbe
    │   ├── UnknownModel       no such model, version or alias
    │   ├── UnknownCase
    │   └── Infeasible         no node has the resources
    ├── Denied                 a policy, a reviewer or a role says no; the CLI leaves with 1
    │   └── Suppressed         an erased person would come back
    ├── Waiting                somebody has to act first; the CLI leaves with 3
    ├── Broken                 something here is not as it was recorded
    │   ├── BrokenPlugin       a plugin could not be loaded or checked
    │   ├── DigestMismatch     bytes are not what their digest says
    │   └── Tampered           the chain, a signature or a row was changed
    └── TaskFailed             a worker gave up for good
        ├── Refused            an operation said itself that it cannot do this
        └── Cancelled          somebody asked it to stop
"""

from __future__ import annotations


class AmendsError(Exception):
    """A failure with a sentence for people; never holds personal data."""

    exit_code = 1


class BadInput(AmendsError):
    """The caller gave something that cannot be used; the sentence names the way out."""

    exit_code = 2


class BadRecords(BadInput):
    """A data file cannot be read; the sentence names the line."""


class BadPolicy(BadInput):
    """A policy file cannot be used; the sentence names the rule."""


class UnknownOperation(BadInput):
    """No plugin offers an operation of that name."""


class UnknownProbe(BadInput):
    """No plugin offers a probe of that name."""


class UnknownModel(BadInput):
    """No such model, version or alias."""


class UnknownCase(BadInput):
    """No such case."""


class Infeasible(BadInput):
    """No node of the cluster has the resources that were asked for."""


class Denied(AmendsError):
    """A policy, a reviewer or a role said no."""


class Suppressed(Denied):
    """The data would bring back a person who was erased."""


class Waiting(AmendsError):
    """Somebody has to act before this can go on."""

    exit_code = 3


class Broken(AmendsError):
    """Something in the workspace is not as it was recorded."""


class BrokenPlugin(Broken):
    """A plugin could not be loaded or checked; nothing is approved until it is mended."""


class DigestMismatch(Broken):
    """Bytes are not what their digest says; they were set aside."""


class Tampered(Broken):
    """A chain, a signature or a row was changed after it was written."""


class TaskFailed(AmendsError):
    """A worker gave up for good."""


class Refused(TaskFailed):
    """An operation or probe gave up with a sentence of its own: it cannot do this, here or anywhere."""


class Cancelled(TaskFailed):
    """A task stopped because somebody asked it to."""
