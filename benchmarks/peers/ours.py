"""The sides that this library runs: `python -m benchmarks.peers.ours --case "step"`."""

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertModel  # noqa: F401 - counted as idle, like all that training imports

import inlay
from benchmarks.peers.banking77 import read
from benchmarks.peers.side import (
    Case,
    Settings,
    base_folder,
    fill,
    inference_case,
    main,
    since_start,
    tokens,
    training_case,
)
from inlay.store.bases import load_base, resolve_base
from inlay.training.precision import choose_numerics
from inlay.training.reporter import Evaluation, Plan, PretrainPlan

_PARTS = {"down.0.weight": "down", "down.0.bias": "down_bias", "up.weight": "up",
          "up.bias": "up_bias"}  # fmt: skip


def encoder(dtype: str = "auto", number: int = 0, method: str = "pfeiffer") -> Any:
    """Load the base as training does, with so many bottlenecks in each block."""
    numerics = choose_numerics(dtype, trains_base=False, device=torch.device("cpu"))
    base = resolve_base(base_folder())
    model, _ = load_base(base, dtype=numerics.stored, attn_implementation=numerics.attention)
    adapters = inlay.attach(model)
    for index in range(number):
        fill_entry(adapters.add(f"a{index}", method), f"a{index}")
    return model


def fill_entry(entry: Any, name: str) -> None:
    """Fill an adapter with the weights that all sides have."""
    for site, layer in entry.layers.items():
        block, _, role = site.partition(".")
        place = block if role == "ffn" else f"{block}.{role}"
        own = dict(layer.named_parameters())
        fill({_PARTS.get(key, key): weight for key, weight in own.items()}, f"{name}/{place}")


def numbers(model: nn.Module) -> str:
    """Say what the base is stored in and how attention is computed."""
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    return f"base {dtype}, {model.config._attn_implementation} attention"


def step(settings: Settings) -> Case:
    """Train one adapter: by default a bottleneck in every block, the base as training stores it."""
    model = encoder(settings.get("dtype", "auto"))
    method, at = settings.get("method", "pfeiffer"), settings.get("at")
    entry = model.adapters.add("a0", method, at=at, layers=settings.get("layers", "all"))
    if method.startswith("lora"):
        for site, layer in entry.layers.items():
            block, _, role = site.partition(".attention.")
            fill(dict(layer.named_parameters()), f"a0/{block}.{role}")
    else:
        fill_entry(entry, "a0")
    model.adapters.train("a0")
    about = f"{numbers(model)}, no dropout in the base"
    return training_case(model, settings, train_mode=False, about=about)


def floor(settings: Settings) -> Case:
    """Run the base alone, forward and backward to its word vectors."""
    model = encoder(settings.get("dtype", "auto")).requires_grad_(False)
    model.embeddings.register_forward_hook(lambda module, args, out: out.requires_grad_())
    ids = tokens(settings)

    def run() -> None:
        hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
        hidden.float().mean(1).sum().backward()

    return Case(run=run, facts=lambda: {"batch": list(ids.shape), "numbers": numbers(model)})


def infer(settings: Settings) -> Case:
    """Run the base: alone, or with one adapter that is active, switched off or merged."""
    model = encoder(settings.get("dtype", "float32"))
    state = settings.get("adapter", "none")
    if state != "none":
        entry = model.adapters.add("a0", settings.get("method", "pfeiffer"))
        for key, weight in entry.named_parameters():
            fill({"weight": weight}, key)
        model.adapters.use("a0" if state == "active" else None)
        if state == "merged":
            model.adapters.merge("a0")
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return inference_case(model, settings, about=numbers(model), more=lambda: {"hooks": hooks})


def rows(settings: Settings) -> Case:
    """Run a batch whose rows have different adapters, evenly or by Zipf's law."""
    number, count = int(settings["adapters"]), int(settings["rows"])
    model = encoder("float32", number)
    names = [f"a{index % number}" for index in range(count)]
    if settings.get("spread") == "zipf":
        chances = [1 / (index + 1) for index in range(number)]
        drawn = random.Random(1).choices(range(number), chances, k=count)
        names = [f"a{index}" for index in drawn]
    model.adapters.use(inlay.Rows(*names))
    case = inference_case(model, settings, about=numbers(model))

    def facts() -> dict[str, Any]:
        mixed = case.run()
        found = case.facts()
        alone = torch.empty_like(mixed)
        for name in sorted(set(names)):
            model.adapters.use(name)
            own = torch.tensor([row == name for row in names])
            alone[own] = case.run()[own]
        difference = float((mixed - alone).abs().max())
        return found | {"difference": difference, "used": len(set(names))}

    return Case(run=case.run, facts=facts)


def fused(*, trains: bool) -> Any:
    """Return the base with `Fuse` over eight adapters, all in float32."""
    model = encoder("float32", 8)
    node = inlay.Fuse(*(f"a{index}" for index in range(8)))
    # AdapterHub's query is the normed sum, which its adapters read too.
    method = inlay.Fusion(query="norm(x+r)")
    for site, layer in model.adapters.add_combiner(node, method).combiners.items():
        own = {
            key.removesuffix(".weight").replace(".", "_"): weight
            for key, weight in layer.named_parameters()
        }
        fill(own, f"fusion/{site.removesuffix('.ffn')}")
    model.adapters.train(node) if trains else model.adapters.use(node)
    return model


def fuse(settings: Settings) -> Case:
    """Run `Fuse` of eight adapters without gradient."""
    model = fused(trains=False)
    return inference_case(model, settings, about=numbers(model))


def fuse_step(settings: Settings) -> Case:
    """Train `Fuse` of eight adapters, its regularisation included."""
    model = fused(trains=True)
    about = f"{numbers(model)}, no dropout in the base"
    penalty = model.adapters.penalty
    return training_case(model, settings, train_mode=False, penalty=penalty, about=about)


def register(settings: Settings) -> Case:
    """Add an adapter whose weights are in memory beside so many others."""
    model = encoder("float32")
    adapters, method = model.adapters, settings.get("method", "pfeiffer")
    at = settings.get("at")
    for index in range(int(settings["resident"])):
        adapters.add(f"r{index}", method, at=at)
    given = {
        key: torch.full_like(value, 0.1)
        for key, value in adapters.add("new", method, at=at).tensors().items()
    }

    def run() -> None:
        adapters.add("new", method, at=at, tensors=given)

    facts = {"trained": sum(value.numel() for value in given.values())}
    return Case(run=run, facts=lambda: facts, before=lambda: adapters.remove("new"))


class EndOfTraining:
    """A reporter that notes when the last evaluation of a training was done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_note(self, text: str) -> None: ...

    def on_plan(self, plan: Plan | PretrainPlan) -> None: ...

    def on_step(self, step: int, num_steps: int, loss: float) -> None: ...

    def on_evaluation(self, evaluation: Evaluation) -> None:
        self.seconds = since_start()

    def on_end(self, metrics: dict[str, Any]) -> None: ...


def train(settings: Settings) -> Case:
    """Train on banking77 as `inlay train banking77` does, beginning with an empty cache."""
    found: dict[str, Any] = {}
    chosen = {key: value for key, value in settings.items() if key in ("method", "layers", "at")}

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["INLAY_CACHE"] = str(Path(folder) / "cache")
            end = EndOfTraining()
            done = inlay.train(
                data_in(Path(folder), settings), reporter=end, base=base_folder(),
                epochs=int(settings.get("epochs", "5")), seed=int(settings.get("seed", "1")),
                out=str(Path(folder) / "run"), drop_unseen_labels="rows" in settings, **chosen,
            )  # fmt: skip
            metrics = done.metrics
            num_rows = num_rows_in(Path(folder) / "run")
        found.update(
            accuracy=metrics["test"]["accuracy"], end_of_training=end.seconds,
            trained=metrics["trainable_parameters"], epochs=metrics["epochs_run"],
            batch_size=metrics["batch_size"], seed=metrics["seed"],
            learning_rate=metrics["learning_rate"], numbers=metrics["precision"], **num_rows,
        )  # fmt: skip

    return Case(run=run, facts=lambda: found, once=True)


def num_rows_in(run: Path) -> dict[str, int]:
    """Count the rows that were trained and tested on, from the run's record."""
    splits = json.loads((run / "data.json").read_text())["splits"]
    return {f"{split}_rows": splits[split] for split in ("train", "test")}


def data_in(folder: Path, settings: Settings) -> str:
    """Return the built-in data, or some of its rows as a folder.

    `rows=` are those of train and of test, as on the peers' side; validation, which only we score,
    has a ninth of them, as in the whole.
    """
    if "rows" not in settings:
        return "banking77"
    of_validation = {"rows": str(-(-int(settings["rows"]) // 9))}
    for split in ("train", "validation", "test"):
        own = of_validation if split == "validation" else settings
        lines = [json.dumps(row) for row in read(split, own)]
        (folder / "few").mkdir(exist_ok=True)
        (folder / "few" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder / "few")


if __name__ == "__main__":
    main(
        {"step": step, "floor": floor, "infer": infer, "rows": rows, "fuse": fuse,
         "fuse_step": fuse_step, "register": register, "train": train}
    )  # fmt: skip
