"""Permuted MNIST at the published budgets of SI and of VCL: all 60 000 examples of ten tasks, for as long as the sources train.

Zenke, Poole & Ganguli (ICML 2017): MLP of two layers of 2000, 20 epochs, batch 256, Adam 1e-3 that is not reset, c = 0.1; the
figures are those of the result file that its authors keep beside their code, one run each. Nguyen, Li, Bui & Turner (ICLR
2018): two layers of 100, 100 epochs, batch 256, Adam 1e-3; they quote EWC and SI at the best strength that they found. Hours on
a processor, minutes on a GPU:

    python -m docs.claims docs/studies/permuted_mnist_published.py --device cuda --together
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "Permuted MNIST at the published budgets"
CONDITIONS = dict(
    benchmark="permuted-mnist",
    options={"tasks": 10, "validation": 0.05},
    network=NetworkChoice(hidden=(100, 100)),
    optimizer=OptimizerChoice(name="adam", lr=0.001),
    epochs=100,
    batch_size=256,
    device="cpu",
)
_ZENKE = {"network": NetworkChoice(hidden=(2000, 2000)), "epochs": 20, "optimizer_state": "keep"}
_SEEDS, _FEW = (0, 1, 2, 3, 4), (0, 1, 2)
_VCL = {"vcl.strength": 1.0, "vcl.coreset_size": 200}
CLAIMS = [
    Claim("finetune", "domain", 57.4, seeds=_FEW, variant="as SI", conditions=_ZENKE,
          cause="one published run, without a spread; our runs spread by 3.2"),
    Claim("si", "domain", 96.9, seeds=_SEEDS, variant="as SI", conditions=_ZENKE, settings={"si.strength": 0.1}),
    Claim("finetune", "domain", None, seeds=_SEEDS, variant="as VCL"),
    Claim("ewc", "domain", 84.0, grid=(1.0, 10.0, 100.0, 1000.0), seeds=_SEEDS, variant="as VCL"),
    Claim("si", "domain", 86.0, grid=(0.03, 0.1, 0.3, 1.0), seeds=_SEEDS, variant="as VCL"),
    Claim("mas", "domain", None, grid=(0.001, 0.01, 0.1), seeds=_SEEDS, variant="as VCL"),
    Claim("vcl", "domain", 90.0, seeds=_SEEDS, variant="as VCL", settings=_VCL,
          cause="cause not found: after five tasks ours is at 94.4 (seed 0) and the authors' code records 93.3; see above"),
    Claim("vcl", "domain", 93.0, seeds=_SEEDS, variant="as VCL, random coreset", cause="as without a coreset",
          settings=_VCL | {"vcl.coreset": "random"}),
    Claim("vcl", "domain", 93.0, seeds=_SEEDS, variant="as VCL, k-center coreset", settings=_VCL | {"vcl.coreset": "k-center"}),
]  # fmt: skip
