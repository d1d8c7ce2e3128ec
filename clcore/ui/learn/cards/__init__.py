"""What a method's card says beside its declared facts: one module a family, keyed by the methods' names.

Idea, formula, scenarios, paper and knobs come from the catalogue and are not repeated here. To add a method, add its
sheet to its family's module; a test misses it otherwise.
"""

from clcore.ui.learn.cards import baselines, distillation, isolation, regularization, rehearsal
from clcore.ui.learn.cards.sheet import Sheet, Sizes, example_sizes

FAMILIES = (baselines, regularization, distillation, rehearsal, isolation)


def sheets() -> dict[str, Sheet]:
    """Every method's sheet, by name."""
    return {name: sheet for family in FAMILIES for name, sheet in family.sheets().items()}


__all__ = ["Sheet", "Sizes", "example_sizes", "sheets"]
