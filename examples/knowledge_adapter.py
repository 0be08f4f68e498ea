"""Knowledge in an adapter, after K-Adapter (Wang et al. 2021): does WordNet help inference?

    python examples/knowledge_adapter.py --data ../shared/data

An adapter learns how two things of WordNet are related, and is frozen. A second one learns a task
of which there are few rows, natural language inference. A fusion of the two is then trained for
that task. It is compared with the task adapter alone, and, since a fusion also adds weights and
training, with a fusion of the task adapter and an adapter of random weights.
"""

import gzip
import json
import random
from pathlib import Path

from frozen_base import FrozenBase, Results, Task, arguments, read_task

import inlay
from inlay.data.rows import Example

TINY = ["card_arrival", "exchange_rate"]
PLACE = {"at": "attention, ffn", "layers": "upper"}
TASK = inlay.Bottleneck(reduction=16)
RANDOM = inlay.Bottleneck(reduction=16, init="bert")
"""The same size with weights drawn from a normal distribution, and never trained."""


def main() -> None:
    parser = arguments(__doc__, tiny="a handful of facts and two intents of banking77, in seconds")
    parser.add_argument("--facts", type=int, default=200, help="facts for each relation")
    parser.add_argument("--few", type=int, default=100, help="rows for each label of the task")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the rows of the task")
    options = parser.parse_args()

    base = FrozenBase("minilm")
    results = Results(options, "knowledge_adapter")
    if not base.recall(options.work, "knowledge"):
        facts = FACTS if options.tiny else read_facts(options.data / "kg_wn18rr", options.facts)
        base.adapters.add("knowledge", TASK, **PLACE)
        for what, name in {"adapter": "knowledge", "head alone": None}.items():
            head = base.learn(facts, train=name, use=name, epochs=options.epochs, seed=1)
            score = base.accuracy(head, facts, facts.test)
            results.add(f"relations of WordNet, {what}", score, seed=1)
        base.keep(options.work, "knowledge")
    for seed in options.seeds:
        if options.tiny:
            task = read_task("banking77", labels=TINY, few=4, seed=seed, most=20)
        else:
            task = read_task(options.data / "snli_small", few=options.few, seed=seed)
        compare(base, task, results, epochs=options.epochs, seed=seed)
    results.show()


def compare(base: FrozenBase, task: Task, results: Results, *, epochs: int, seed: int) -> None:
    """Learn the task with and without the knowledge."""
    adapters, settings = base.adapters, {"epochs": epochs, "seed": seed}

    def measure(what: str, **ways: object) -> None:
        head = base.learn(task, **ways, **settings)
        results.add(what, base.accuracy(head, task, task.test), seed=seed)

    measure("head alone", train=None, use=None)
    measure("head over the knowledge", train=None, use="knowledge")
    adapters.add("task", TASK, **PLACE)
    measure("task adapter", train="task", use="task")
    adapters.add("random", RANDOM, **PLACE)
    for other in ("knowledge", "random"):
        fusion = inlay.Fuse(other, "task")
        adapters.add_combiner(fusion)
        measure(f"fusion of {other} and task adapter", train=fusion, use=fusion, rate=5e-4)
        adapters.remove(fusion.key)
    adapters.remove("task")
    adapters.remove("random")


def read_facts(folder: Path, number: int) -> Task:
    """Read `kg_wn18rr`: at most so many facts for each relation, and some to try them on."""
    rows = {}
    for split, most in {"train": None, "validation": 300, "test": 1000}.items():
        with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            found = [json.loads(line) for line in file]
        random.Random(1).shuffle(found)
        rows[split] = [
            Example(words(fact["head"]), words(fact["tail"]), fact["relation"], split, line)
            for line, fact in enumerate(found[:most])
        ]
    labels = sorted({row.label for row in rows["train"]})
    by_label = {label: [r for r in rows["train"] if r.label == label][:number] for label in labels}
    rows["train"] = [row for own in by_label.values() for row in own]
    return Task(labels=labels, **rows)


def words(synset: str) -> str:
    """Return the words of a name such as `land_reform.n.01`."""
    return synset.rsplit(".", 2)[0].replace("_", " ")


def fact(head: str, relation: str, tail: str) -> Example:
    return Example(head, tail, relation, "", 0)


KINDS = [
    fact("oak", "is a", "tree"), fact("rose", "is a", "flower"),
    fact("wheel", "part of", "car"), fact("wing", "part of", "bird"),
]  # fmt: skip
FACTS = Task(labels=["is a", "part of"], train=KINDS, validation=KINDS, test=KINDS)
"""For a trial without any other data."""


if __name__ == "__main__":
    main()
