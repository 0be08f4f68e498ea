"""AdapterFusion (Pfeiffer et al. 2021): do three trained tasks help a fourth that has few rows?

    python examples/adapter_fusion.py --data ../shared/data

Three adapters are trained, one for each task, and frozen. For the fourth task only an attention
over what they add is learned, and a head. It is compared with a new adapter, with each of the
three alone under a new head, and with the head on the bare base.
"""

import argparse

import torch
from frozen_base import FrozenBase, Results, Task, arguments, read_task
from torch import Tensor

import inlay

SOURCES = {"movie_reviews": 400, "subjectivity": 400, "banking77": 16}
"""Data set -> rows for each label; banking77 comes with the library."""
TARGET = "rotten_tomatoes"
TINY = {
    "cards": ["card_arrival", "lost_or_stolen_card"],
    "rates": ["exchange_rate", "card_payment_wrong_exchange_rate"],
    "cash": ["atm_support", "wrong_amount_of_cash_received"],
    "pins": ["change_pin", "pin_blocked"],
}
"""Four tasks of two intents each, for a trial without any other data."""
PLACE = {"method": inlay.Bottleneck(reduction=16), "at": "attention, ffn", "layers": "upper"}


def main() -> None:
    parser = arguments(__doc__, tiny="eight intents of banking77, in seconds")
    parser.add_argument(
        "--few", type=int, default=50, help="rows for each label of the fourth task"
    )
    parser.add_argument("--epochs", type=int, default=15, help="passes over the few rows")
    options = parser.parse_args()

    base = FrozenBase("minilm")
    results = Results(options, "adapter_fusion")
    for name, task in sources(options).items():
        if not base.recall(options.work, name):
            base.adapters.add(name, **PLACE)
            head = base.learn(task, train=name, use=name, epochs=1 if options.tiny else 4, seed=1)
            print(f"{name}: {base.accuracy(head, task, task.test):.3f} on its own test rows")
            base.keep(options.work, name)
    for seed in options.seeds:
        compare(base, target(options, seed), results, epochs=options.epochs, seed=seed)
    results.show()


def sources(options: argparse.Namespace) -> dict[str, Task]:
    """Return the three tasks that are learned first."""
    if options.tiny:
        return {name: tiny(name) for name in list(TINY)[:-1]}
    return {
        name: read_task(name if name == "banking77" else options.data / name, few=few, seed=1)
        for name, few in SOURCES.items()
    }


def target(options: argparse.Namespace, seed: int) -> Task:
    """Return the fourth task, with other few rows for every seed."""
    if options.tiny:
        return tiny("pins")
    return read_task(options.data / TARGET, few=options.few, seed=seed)


def tiny(name: str) -> Task:
    return read_task("banking77", labels=TINY[name], few=4, seed=1, most=20)


def compare(base: FrozenBase, task: Task, results: Results, *, epochs: int, seed: int) -> None:
    """Learn the fourth task in every way."""
    names = list(base.adapters.names)
    fusion = inlay.Fuse(*names)

    head = base.learn(task, train=None, use=None, epochs=epochs, seed=seed)
    results.add("head alone", base.accuracy(head, task, task.test), seed=seed)

    alone = {}
    for name in names:
        head = base.learn(task, train=None, use=name, epochs=epochs, seed=seed)
        score = base.accuracy(head, task, task.test)
        alone[name] = base.accuracy(head, task, task.validation), score
        results.add(f"head over {name}", score, seed=seed)
    best = max(names, key=lambda name: alone[name][0])
    results.add("head over the best on validation", alone[best][1], seed=seed, which=best)

    base.adapters.add("new", **PLACE)
    head = base.learn(task, train="new", use="new", epochs=epochs, seed=seed)
    results.add("new adapter", base.accuracy(head, task, task.test), seed=seed)

    base.adapters.add_combiner(fusion)
    head = base.learn(task, train=fusion, use=fusion, epochs=epochs, rate=5e-4, seed=seed)
    with base.adapters.combining_weights() as weights:
        score = base.accuracy(head, task, task.test)
    results.add("fusion of the three", score, seed=seed, attention=shares(weights, names))

    base.adapters.remove(fusion.key)
    base.adapters.remove("new")


def shares(weights: dict[str, dict[str, list[Tensor]]], names: list[str]) -> dict[str, float]:
    """Return how much of the attention each adapter got, over all sites and positions."""
    (sites,) = weights.values()
    seen = torch.cat([own.flatten(0, -2) for passes in sites.values() for own in passes])
    return {name: round(float(share), 3) for name, share in zip(names, seen.mean(0), strict=True)}


if __name__ == "__main__":
    main()
