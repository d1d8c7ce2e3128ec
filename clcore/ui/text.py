"""The words of the pages: `_` and `n_` from clcore.text, which charts share."""

from clcore.text import _, n_

__all__ = ["_", "n_"]
