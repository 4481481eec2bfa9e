"""Data subjects: where a person is, and what only a case's key opens."""
