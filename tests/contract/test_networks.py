"""Every method trains on every network, or says in one sentence why not."""

from __future__ import annotations

import math

import pytest

from clcore.catalogue import catalogue
from clcore.errors import RequestError
from clcore.spec import NetworkChoice, make
from tests.training_cases import digits_run, result_of

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORKS = {
    "cnn": make(NetworkChoice, name="cnn", settings={"channels": 4}),
    "cnn with batch normalisation": make(NetworkChoice, name="cnn", settings={"channels": 4, "norm": "batch"}),
    "cnn without normalisation": make(NetworkChoice, name="cnn", hidden=(6,), settings={"channels": 4, "norm": "none"}),
    "resnet18-slim": make(NetworkChoice, name="resnet18-slim", settings={"channels": 2}),
    "vgg-small": make(NetworkChoice, name="vgg-small", hidden=(8,), settings={"channels": 2}),
}
METHODS = catalogue().methods
SMALL = {"tasks": 2, "train_per_task": 24}
QUICK = {"gdumb": {"gdumb.memory_epochs": 2}}


def small_run(method: str, network: NetworkChoice, scenario: str, **more):
    return digits_run(
        method, benchmark="split-digits", scenario=scenario, network=network, options=SMALL, lr=0.02, live_points=0,
        settings=QUICK.get(method), **{"seeds": (0, 1), "memories": (100,), **more},
    )  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("card", METHODS, ids=lambda card: card.name)
def test_a_method_trains_on_a_network_or_is_refused_with_a_reason(card, name):
    network, scenario = NETWORKS[name], card.scenarios[-1]
    if not card.works_on(network.name, network.options):
        assert card.network_reason
        with pytest.raises(RequestError, match=f"^{card.name} (does not work|works) on the network {network.name}.*: "):
            small_run(card.name, network, scenario)
        return
    for replica in result_of(small_run(card.name, network, scenario))["replicas"]:
        assert replica["status"] == "finished"
        first, *later = replica["accuracy_matrix"]
        assert all(x is not None and math.isfinite(x) for row in later for x in row[:1])
        kept = [size for kind, size in replica["footprint"].items() if kind != "parameters"]
        assert all(size > 0 for size in kept) and replica["footprint"]["parameters"] > 0


@pytest.mark.parametrize("card", [card for card in METHODS if card.networks], ids=lambda card: card.name)
def test_the_networks_a_method_names_exist(card):
    assert set(card.networks) <= {network.name for network in catalogue().networks}
