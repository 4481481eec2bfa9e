"""Webhooks out: other systems are told of what the audit log says happened, signed, at least once."""
