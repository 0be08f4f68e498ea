"""The rows of banking77 and a training with `Trainer`, as the peers' users write it."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.peers.side import Case, Settings, base_folder, since_start

DATA = Path(__file__).parents[2] / "src" / "inlay" / "data" / "builtin" / "banking77"


def read(split: str, settings: Settings) -> list[dict[str, str]]:
    """Read a split, or about `rows=` of its rows, evenly spread, to try a benchmark out."""
    with gzip.open(DATA / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return rows[:: max(1, len(rows) // int(settings.get("rows", len(rows))))]


def has_fast_bfloat16() -> bool:
    """Tell whether the processor has products in bfloat16; ours asks the same."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


class MeanPooled(nn.Module):
    """A linear map over the mean of the hidden states: better for this base than its pooler."""

    def __init__(self, encoder: nn.Module, num_labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(384, num_labels)

    def forward(self, input_ids, attention_mask, labels=None, **_: Any) -> dict[str, Any]:
        """Return logits, and the loss if there are labels."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask[..., None].to(hidden.dtype)
        logits = self.head((hidden * mask).sum(1) / mask.sum(1))
        return {} if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}


def trainer_case(build: Any, trainer_class: Any, rate: float, settings: Settings) -> Case:
    """Return a whole training with a `Trainer` and its accuracy on the test rows.

    Args:
        build: Makes the model from the number of labels.
        trainer_class: `Trainer` or a peer's own.
        rate: Peak learning rate.
        settings: `epochs`, `seed`, `rows`, and `best=yes` for batches of rows of like length, a
            warm-up, and bfloat16 autocast if the processor has products in it (without, it takes
            longer than float32); otherwise everything is at its default.
    """
    from transformers import AutoTokenizer, DataCollatorWithPadding, TrainingArguments, set_seed

    seed, epochs = int(settings.get("seed", "1")), int(settings.get("epochs", "5"))
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    rows = {split: read(split, settings) for split in ("train", "test")}
    names = sorted({row["label"] for row in rows["train"]})
    model = build(len(names))
    better = {"bf16": has_fast_bfloat16(), "group_by_length": True, "warmup_ratio": 0.06}
    done: dict[str, Any] = {}

    def encode(split: str) -> list[dict[str, Any]]:
        known = [row for row in rows[split] if row["label"] in names]
        encoded = tokenizer([row["text"] for row in known], truncation=True)["input_ids"]
        return [
            {"input_ids": ids, "labels": names.index(row["label"])}
            for ids, row in zip(encoded, known, strict=True)
        ]

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainer = trainer_class(
                model=model,
                args=TrainingArguments(
                    output_dir=folder, num_train_epochs=epochs, per_device_train_batch_size=32,
                    per_device_eval_batch_size=64, learning_rate=rate, seed=seed,
                    save_strategy="no", report_to="none", disable_tqdm=True,
                    remove_unused_columns=False, label_names=["labels"], use_cpu=True,
                    **(better if "best" in settings else {}),
                ),
                train_dataset=encode("train"), data_collator=DataCollatorWithPadding(tokenizer),
            )  # fmt: skip
            trainer.train()
            done["end_of_training"] = since_start()
            test = trainer.predict(encode("test"))
        done["accuracy"] = float((test.predictions.argmax(-1) == test.label_ids).mean())
        done["test_rows"] = len(test.label_ids)

    def facts() -> dict[str, Any]:
        return done | {
            "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "train_rows": len(rows["train"]), "epochs": epochs, "batch_size": 32, "seed": seed,
            "learning_rate": rate,
            "numbers": "bfloat16 autocast" if "best" in settings and better["bf16"] else "float32",
        }  # fmt: skip

    return Case(run=run, facts=facts, once=True)


def epoch_case(build: Any, rate: float, settings: Settings) -> Case:
    """Return an epoch of training in a plain loop, and the accuracy after all that were run.

    Args:
        build: Makes the model from the number of labels.
        rate: Learning rate, which falls to zero over `epochs`.
        settings: `rows`, `epochs`, `seed`, and `dtype=bf16` for autocast.
    """
    from transformers import AutoTokenizer, get_linear_schedule_with_warmup

    torch.manual_seed(int(settings.get("seed", "1")))
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    rows = {split: read(split, settings) for split in ("train", "test")}
    names = sorted({row["label"] for row in rows["train"]})
    rows["test"] = [row for row in rows["test"] if row["label"] in names]
    model = build(len(names))
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=rate, weight_decay=0.01)
    steps = int(settings["epochs"]) * -(-len(rows["train"]) // 32)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * steps), steps)
    done = {"epochs": 0}

    def logits_of(batch: list[dict[str, str]]) -> torch.Tensor:
        inputs = tokenizer([row["text"] for row in batch], padding=True, return_tensors="pt")
        labels = torch.tensor([names.index(row["label"]) for row in batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast_in(settings)):
            return model(inputs["input_ids"], inputs["attention_mask"], labels=labels)

    def run() -> None:
        model.train()
        order = torch.randperm(len(rows["train"])).tolist()
        for start in range(0, len(order), 32):
            logits_of([rows["train"][i] for i in order[start : start + 32]])["loss"].backward()
            nn.utils.clip_grad_norm_(own, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        done["epochs"] += 1

    def accuracy() -> float:
        model.eval()
        right = 0
        with torch.no_grad():
            for start in range(0, len(rows["test"]), 64):
                batch = rows["test"][start : start + 64]
                answers = logits_of(batch)["logits"].argmax(-1).tolist()
                right += sum(
                    names[a] == row["label"] for a, row in zip(answers, batch, strict=True)
                )
        return right / len(rows["test"])

    def facts() -> dict[str, Any]:
        return done | {
            "accuracy": accuracy(), "rows": len(rows["train"]), "numbers": numbers(settings),
            "trained": sum(p.numel() for p in own), "learning_rate": rate,
        }  # fmt: skip

    return Case(run=run, facts=facts)


def autocast_in(settings: Settings) -> bool:
    """Tell whether a peer's case is asked for under autocast."""
    return settings.get("dtype") == "bf16"


def numbers(settings: Settings) -> str:
    """Say what a peer computes with."""
    return "bfloat16 autocast" if autocast_in(settings) else str(torch.get_default_dtype())[6:]
