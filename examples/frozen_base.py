"""What the examples of the literature share: a frozen base, a short loop, and a table of results.

No program of its own. It is written out so that everything can be seen; `inlay.train` does the
same for one adapter, with checkpoints, replay of the frozen blocks and a report.
"""

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import logging

import inlay
from inlay.data.rows import Example
from inlay.data.sources import read_dataset
from inlay.store.bases import load_base, resolve_base
from inlay.training.precision import choose_numerics

HEAD_RATE = 1e-2


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows of three splits, and what they are labelled with."""

    labels: list[str]
    train: list[Example]
    validation: list[Example]
    test: list[Example]


def arguments(doc: str, *, tiny: str) -> argparse.ArgumentParser:
    """Return the options that all three examples have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = Path("../shared/data")
    parser.add_argument("--data", type=Path, default=data, help="folder of the data sets")
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[1, 2, 3], help="of rows, weights and order"
    )
    parser.add_argument("--work", type=Path, help="folder that keeps what is trained first")
    parser.add_argument("--record", type=Path, help="file that gets a line of JSON for each figure")
    parser.add_argument("--tiny", action="store_true", help=tiny)
    return parser


def read_task(
    source: str | Path, *, labels: Sequence[str] = (), few: int | None = None, seed: int,
    most: int = 1500,
) -> Task:  # fmt: skip
    """Read a data set, or the rows of it that have some of its labels.

    Args:
        source: What `inlay train` takes.
        labels: Those that are kept; all if none is named.
        few: Rows for each label of train and of validation; all if `None`.
        seed: Draws the few.
        most: Rows of test; of validation a fifth of that.
    """
    data = read_dataset(source, few_shot=few, split_seed=seed)
    kept = list(labels or data.labels)
    splits = {name: [r for r in rows if r.label in kept] for name, rows in data.splits.items()}
    splits |= {"validation": splits["validation"][: most // 5], "test": splits["test"][:most]}
    return Task(labels=kept, **splits)


class FrozenBase:
    """A base that stays as it is, with any number of adapters on it.

    Args:
        name: Alias or folder of the base.
        needs: `"encoder"`, or `"masked"` for one with its head for hidden tokens.
        max_length: Tokens of a text that are read.
    """

    def __init__(self, name: str, *, needs: str = "encoder", max_length: int = 64) -> None:
        logging.set_verbosity_error()  # a head that is not needed is no news
        numbers = choose_numerics("auto", trains_base=False, device=torch.device("cpu"))
        self.model, self.tokenizer = load_base(
            resolve_base(name), dtype=numbers.stored, attn_implementation=numbers.attention,
            needs=needs,
        )  # fmt: skip
        self.adapters = inlay.attach(self.model.requires_grad_(False))
        self.max_length = max_length

    def recall(self, work: Path | None, name: str) -> bool:
        """Load an adapter that an earlier run has kept; tells whether there was one."""
        if work is None or not (work / name).is_dir():
            return False
        inlay.load(self.model, work / name)
        return True

    def keep(self, work: Path | None, name: str) -> None:
        """Save an adapter for later runs."""
        if work is not None:
            inlay.save(self.model, name, work / name)

    def tokens(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return a padded batch."""
        return self.tokenizer(
            list(texts), pairs, padding=True, truncation=True, max_length=self.max_length,
            return_tensors="pt",
        )  # fmt: skip

    def pooled(self, rows: Sequence[Example]) -> Tensor:
        """Return the mean of each row's last hidden states, `(rows, width)`."""
        pairs = None if rows[0].pair is None else [row.pair for row in rows]
        batch = self.tokens([row.text for row in rows], pairs)
        mask = batch["attention_mask"].unsqueeze(-1)
        states = self.model(**batch).last_hidden_state.float()
        return (states * mask).sum(1) / mask.sum(1)

    @torch.no_grad()
    def features(self, rows: Sequence[Example]) -> Tensor:
        """Return `pooled` of any number of rows, without gradient."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].text + (rows[i].pair or "")))
        parts = [
            self.pooled([rows[i] for i in order[at : at + 64]]) for at in range(0, len(order), 64)
        ]
        features = torch.cat(parts)
        return features[torch.tensor(order).argsort()]

    def learn(
        self, task: Task, *, train: inlay.Composition, use: inlay.Composition, epochs: int,
        rate: float = 2e-3, seed: int,
    ) -> nn.Linear:  # fmt: skip
        """Train adapters and a new head; both end as they were after the best epoch on validation.

        Args:
            task: The rows.
            train: The adapters, or the learned combination, that are trained besides the head.
            use: What runs while they are.
            epochs: Passes over the rows.
            rate: Peak learning rate of the adapters.
            seed: Of the head and of the order.
        """
        torch.manual_seed(seed)
        if train is not None:
            self.adapters.train(train)
        self.adapters.use(use)
        own = [p for p in self.model.parameters() if p.requires_grad and train is not None]
        head = nn.Linear(self.features(task.train[:1]).shape[1], len(task.labels))
        # Where only the head learns, what it reads is the same in every epoch.
        known, seen = (None, None) if own else map(self.features, (task.train, task.validation))
        targets = torch.tensor([task.labels.index(row.label) for row in task.train])
        best, kept = -1.0, [*own, *head.parameters()]
        state = [p.detach().clone() for p in kept]

        def loss_of(numbers: list[int]) -> Tensor:
            rows = [task.train[i] for i in numbers]
            features = self.pooled(rows) if known is None else known[numbers]
            return F.cross_entropy(head(features), targets[numbers]) + self.adapters.penalty()

        groups = [{"params": own, "lr": rate}, {"params": list(head.parameters()), "lr": HEAD_RATE}]
        for _ in descend([g for g in groups if g["params"]], loss_of, len(targets), epochs, seed):
            score = self.accuracy(head, task, task.validation, seen)
            if score > best:
                best, state = score, [p.detach().clone() for p in kept]
        with torch.no_grad():
            for parameter, value in zip(kept, state, strict=True):
                parameter.copy_(value)
        return head

    def accuracy(
        self, head: nn.Linear, task: Task, rows: Sequence[Example], features: Tensor | None = None
    ) -> float:
        """Return the share of rows that are answered right by what is active."""
        chosen = head(self.features(rows) if features is None else features).argmax(-1).tolist()
        right = [task.labels[c] == row.label for c, row in zip(chosen, rows, strict=True)]
        return sum(right) / len(right)


def descend(
    groups: list[dict], loss_of: Callable[[list[int]], Tensor], rows: int, epochs: int, seed: int,
    batch: int = 16,
):  # fmt: skip
    """Run AdamW over shuffled batches with rates that fall to zero; yields after each epoch."""
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = epochs * -(-rows // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    draw = random.Random(seed)
    for epoch in range(epochs):
        order = draw.sample(range(rows), rows)
        for at in range(0, rows, batch):
            optimizer.zero_grad()
            loss_of(order[at : at + batch]).backward()
            optimizer.step()
            schedule.step()
        yield epoch


class Results:
    """Figures of several seeds by what was measured.

    Args:
        options: Those of the command; `record` is a file that gets one line of JSON for each.
        example: What the lines say they are of.
    """

    def __init__(self, options: argparse.Namespace, example: str) -> None:
        self.path = options.record
        settings = {key: value for key, value in vars(options).items() if isinstance(value, int)}
        self.origin = {"example": example, "settings": settings}
        self.figures: dict[str, list[float]] = {}

    def add(self, what: str, value: float, **facts: object) -> None:
        """Note one figure, a fraction."""
        self.figures.setdefault(what, []).append(100 * value)
        print(f"{what:44} {100 * value:6.2f}   {facts}", flush=True)
        if self.path is not None:
            line = {**self.origin, "what": what, "value": value, **facts}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def show(self) -> None:
        """Print mean, lowest and highest."""
        print(f"\n{'test accuracy, %':44} {'mean':>6} {'lowest':>7} {'highest':>7}")
        for what, own in self.figures.items():
            print(f"{what:44} {statistics.mean(own):6.2f} {min(own):7.2f} {max(own):7.2f}")
