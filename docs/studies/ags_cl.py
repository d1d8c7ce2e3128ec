"""AGS-CL on Split and Permuted MNIST, with the free and the important nodes of each layer after the last task.

Jung et al., NeurIPS 2020, report no MNIST figures, so nothing is published to stand beside these. Adam 1e-3, 5 epochs, batch
128, 5000 examples a task, MLP 784-400-400. Two rows are trained for 20 epochs, which AGS-CL needs on permuted digits.
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "AGS-CL, free and important nodes"
CONDITIONS = dict(
    benchmark="split-mnist",
    options={"train_per_task": 5000},
    network=NetworkChoice(hidden=(400, 400)),
    optimizer=OptimizerChoice(name="adam", lr=0.001),
    epochs=5,
    batch_size=128,
    device="cpu",
)
_PERMUTED = {"benchmark": "permuted-mnist", "options": {"tasks": 5, "train_per_task": 5000}}
_SEEDS = tuple(range(5))
_LONGER = _PERMUTED | {"epochs": 20}
_SHOWS = ("free_nodes", "important_nodes")
_FIRM = (1e3, 1e4, 1e5)
_SOFT = (1.0, 10.0, 100.0, 1e3)
CLAIMS = [
    Claim("finetune", "task", None, seeds=_SEEDS, variant="Split MNIST"),
    Claim("ags-cl", "task", None, grid=_FIRM, seeds=_SEEDS, shows=_SHOWS, variant="Split MNIST"),
    Claim("finetune", "task", None, seeds=_SEEDS, variant="Permuted MNIST", conditions=_PERMUTED),
    Claim("ags-cl", "task", None, grid=_SOFT, seeds=_SEEDS, shows=_SHOWS, variant="Permuted MNIST", conditions=_PERMUTED),
    Claim("finetune", "task", None, seeds=_SEEDS, variant="Permuted MNIST, 20 epochs", conditions=_LONGER),
    Claim("ags-cl", "task", None, grid=(300.0, 3e3, 3e4), seeds=_SEEDS, shows=_SHOWS, variant="Permuted MNIST, 20 epochs",
          conditions=_LONGER),
    Claim("finetune", "domain", None, seeds=_SEEDS, variant="Permuted MNIST", conditions=_PERMUTED),
    Claim("ags-cl", "domain", None, grid=_SOFT, seeds=_SEEDS, shows=_SHOWS, variant="Permuted MNIST", conditions=_PERMUTED),
]  # fmt: skip
