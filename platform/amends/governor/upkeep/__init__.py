"""Upkeep: the doctor, backups, and restoring one without the people who were erased."""
