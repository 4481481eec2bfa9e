"""Carry what one model knows into another: distillation, parametric transfer and weight projection."""
