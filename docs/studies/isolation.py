"""Networks that divide, mask and grow, beside fine-tuning, EWC and joint training, with what they keep.

Reduced: 5 tasks of 5000 examples, 5 epochs, batch 64, SGD 0.05, MLP 784-256-256, 3 seeds. The sources report other streams and
networks, so nothing published stands beside these but SupSup's inference on Permuted MNIST (Wortsman et al., NeurIPS 2020:
about 92.4 with many more tasks and a larger network). The rows of the MNIST variation stand for the data that DEN was shown on:
1000 examples a digit, MLP 784-312-128, 10 epochs; its tasks are one digit against the rest there, two digits each here.
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "The isolation family: accuracy and size"
SIZES = True
CONDITIONS = dict(
    benchmark="permuted-mnist",
    options={"tasks": 5, "train_per_task": 5000},
    network=NetworkChoice(hidden=(256, 256)),
    optimizer=OptimizerChoice(lr=0.05),
    epochs=5,
    batch_size=64,
    device="cpu",
)
_SEEDS = (0, 1, 2)
_SPLIT = {"benchmark": "split-mnist", "options": {"train_per_task": 5000}}
_METHODS = {
    "finetune": (), "joint": (), "single": (), "ewc": (1.0, 10.0, 100.0, 1000.0), "pnn": (), "packnet": (), "piggyback": (),
    "supsup": (), "cpg": (), "hat": (0.05, 0.1, 0.25, 0.75), "den": (0.003, 0.03, 0.3),
}  # fmt: skip
CLAIMS = [
    Claim(method, "task", None, grid=grid, seeds=_SEEDS, variant=title, conditions=conditions)
    for title, conditions in (("Permuted MNIST", {}), ("Split MNIST", _SPLIT))
    for method, grid in _METHODS.items()
]
_VARIED = {
    "benchmark": "split-mnist-variation", "options": {"train_per_task": 2000}, "network": NetworkChoice(hidden=(312, 128)),
    "epochs": 10,
}  # fmt: skip
CLAIMS += [
    Claim(method, "task", None, grid=_METHODS[method], seeds=_SEEDS, variant="MNIST variation", conditions=_VARIED)
    for method in ("finetune", "joint", "single", "ewc", "pnn", "packnet", "den")
]
CLAIMS.append(Claim("supsup", "domain", None, seeds=_SEEDS, variant="Permuted MNIST, task inferred"))
CLAIMS.append(Claim("finetune", "domain", None, seeds=_SEEDS, variant="Permuted MNIST, one head"))
