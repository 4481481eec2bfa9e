"""Carry what one model knows into another, with its lineage: distillation, parametric transfer and weight projection."""
