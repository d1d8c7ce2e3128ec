"""Continual-learning methods, one file each. `SUPPORT` names the shared modules."""

SUPPORT = ("base", "context", "composition", "parts")
