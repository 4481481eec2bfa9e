"""Carry parameters from one model into another: grafts of a teacher's matrices, neurons and edits."""
