"""Permuted MNIST as in Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS 2020, with a memory of 500.

20 tasks of all 60 000 examples (here less the tenth that is validation), MLP 784-100-100, SGD, batch 128, one epoch,
learning rates and coefficients as the authors tuned them. The published figures are quoted from memory in our notes and are
for orientation.
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "Permuted MNIST, protocol of Buzzega et al. 2020"
CONDITIONS = dict(
    benchmark="permuted-mnist",
    options={"tasks": 20},
    network=NetworkChoice(hidden=(100, 100)),
    optimizer=OptimizerChoice(lr=0.2),
    epochs=1,
    batch_size=128,
    device="cpu",
)
_SEEDS = tuple(range(5))
_SLOWER = {"optimizer": OptimizerChoice(lr=0.1)}
CLAIMS = [
    Claim("finetune", "domain", 40.7, 2.33, 10, seeds=_SEEDS),
    Claim("er", "domain", 80.6, 0.86, 10, seeds=_SEEDS, memory=500, settings={"er.memory_update": "online"}),
    Claim("der", "domain", 87.29, 0.46, 10, seeds=_SEEDS, memory=500, settings={"der.strength": 1.0}),
    Claim("derpp", "domain", 88.21, 0.39, 10, seeds=_SEEDS, memory=500,
          settings={"derpp.strength": 1.0, "derpp.beta": 0.5}),
    Claim("agem", "domain", 67.56, 1.28, 10, seeds=_SEEDS, memory=500, settings={"agem.reference_batch": 128},
          conditions=_SLOWER),
    Claim("gem", "domain", 76.88, 0.52, 10, seeds=_SEEDS, memory=500, settings={"gem.strength": 0.5}, conditions=_SLOWER,
          cause="the source adds 0.001 to the matrix of its quadratic program; with it ours agrees (next row)"),
    Claim("gem", "domain", 76.88, 0.52, 10, seeds=_SEEDS, memory=500, variant="the source's ridge of 0.001",
          settings={"gem.strength": 0.5, "gem.ridge": 0.001}, conditions=_SLOWER),
]  # fmt: skip
