"""Forgetting Lab: watch neural networks forget, and compare the cures."""

__version__ = "0.1.0"
