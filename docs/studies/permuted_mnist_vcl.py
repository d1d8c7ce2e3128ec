"""Permuted MNIST, after Nguyen, Li, Bui & Turner, "Variational Continual Learning", ICLR 2018, at a reduced budget.

The paper trains 10 tasks of 60 000 examples for 100 epochs, which takes hours on two cores. Here a task has 6000 examples and
5 epochs of batches of 128, so the figures stand beside the paper's for orientation only.
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "Permuted MNIST, reduced from Nguyen et al. 2018"
CONDITIONS = dict(
    benchmark="permuted-mnist",
    options={"tasks": 10, "train_per_task": 6000},
    network=NetworkChoice(hidden=(100, 100)),
    optimizer=OptimizerChoice(name="adam", lr=0.001),
    epochs=5,
    batch_size=128,
    device="cpu",
)
_SEEDS = tuple(range(5))
_WHY = "reduced: 6000 examples and 5 epochs a task instead of 60 000 and 100"
_EWC = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_SI = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
_MAS = (0.0001, 0.001, 0.01, 0.1)
_VCL = (0.3, 1.0, 3.0, 10.0)
CLAIMS = [
    Claim("finetune", "domain", None, seeds=_SEEDS),
    Claim("ewc", "domain", 84.0, grid=_EWC, seeds=_SEEDS, cause=_WHY),
    Claim("si", "domain", 86.0, grid=_SI, seeds=_SEEDS, cause=_WHY),
    Claim("mas", "domain", None, grid=_MAS, seeds=_SEEDS),
    Claim("vcl", "domain", 90.0, grid=_VCL, seeds=_SEEDS, cause=_WHY),
    Claim("vcl", "domain", 93.0, seeds=_SEEDS, cause=_WHY, variant="random coreset",
          settings={"vcl.coreset": "random", "vcl.coreset_size": 200}),
    Claim("vcl", "domain", 93.0, seeds=_SEEDS, cause=_WHY, variant="k-center coreset",
          settings={"vcl.coreset": "k-center", "vcl.coreset_size": 200}),
]  # fmt: skip
