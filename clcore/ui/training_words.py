"""How a run was trained, where that is not what suits its benchmark: what tells it from its neighbours in a list."""

from __future__ import annotations

from clcore.catalogue import catalogue
from clcore.spec import RunSpec
from clcore.ui.text import _, n_

OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}


def unusual_training(spec: RunSpec) -> list[str]:
    """A few words for each thing that differs from the benchmark's suggested training; empty where nothing does."""
    usual, words = catalogue().benchmark(spec.benchmark).training, []
    if spec.epochs != usual.epochs and not isinstance(spec.gradient_samples, int):  # else the budget decides the epochs
        words.append(n_("{n} epoch", "{n} epochs", spec.epochs))
    if network := _network(spec, usual.hidden):
        words.append(network)
    optimizer = spec.optimizer
    if optimizer.name != usual.optimizer:
        words.append(f"{OPTIMIZERS[optimizer.name]} lr {optimizer.lr:g}")
    elif optimizer.lr != usual.lr:
        words.append(f"lr {optimizer.lr:g}")
    if optimizer.momentum:
        words.append(_("momentum {value}").format(value=f"{optimizer.momentum:g}"))
    if optimizer.weight_decay:
        words.append(_("weight decay {value}").format(value=f"{optimizer.weight_decay:g}"))
    if spec.batch_size != usual.batch_size:
        words.append(_("batch size {n}").format(n=spec.batch_size))
    if spec.optimizer_state != "reset":
        words.append(f"{_('optimizer state')}: {spec.optimizer_state}")
    if spec.scenario == "class" and spec.active_classes != "seen":
        words.append(f"{_('active classes')}: {spec.active_classes}")
    return words


def _network(spec: RunSpec, suggested: tuple[int, ...]) -> str:
    """Its name where it is no MLP, its widths where they are neither its own nor the suggested ones, its settings."""
    network = spec.network
    own = catalogue().network(network.name).hidden
    other_widths = tuple(network.hidden) != tuple(suggested if own is None else own)
    words = [network.name] if network.name != "mlp" or other_widths or network.settings else []
    if other_widths:
        words.append("-".join(map(str, network.hidden)) or _("linear"))
    return " ".join([*words, *(f"{name} {value}" for name, value in network.settings.items())])
