"""Adapters as a guest of `transformers.Trainer`, on a task class with its own head."""

import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

import inlay
from inlay.data.sources import read_dataset
from inlay.store.bases import load_tokenizer, resolve_base


def main() -> None:
    """Train two intents of banking77, save the adapter, and load it onto a fresh model."""
    base = resolve_base("minilm")
    tokenizer = load_tokenizer(base)
    wanted = {"card_arrival": 0, "exchange_rate": 1}
    rows = [row for row in read_dataset("banking77").splits["train"] if row.label in wanted]
    data = [
        {**tokenizer(row.text, truncation=True), "labels": wanted[row.label]} for row in rows[:160]
    ]

    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(base.source, num_labels=2)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    inlay.attach(model)
    model.adapters.add("intents", inlay.Bottleneck(reduction=16), at="attention, ffn")
    model.adapters.train("intents")
    print(model.adapters.summary())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=2, per_device_train_batch_size=16,
            learning_rate=2e-3, report_to="none", save_strategy="no", disable_tqdm=True,
            use_cpu=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer).train()
        inlay.save(model, "intents", Path(folder) / "intents")

        inputs = tokenizer(["where is my new card?"], return_tensors="pt")
        model.eval()
        with torch.no_grad():
            logits = model(**inputs).logits
        fresh = AutoModelForSequenceClassification.from_pretrained(base.source, num_labels=2)
        inlay.load(fresh.eval(), Path(folder) / "intents")
        fresh.adapters.use("intents")
        with torch.no_grad():
            same = torch.equal(fresh(**inputs).logits, logits)
    print(f"the loaded adapter gives the same logits: {same}")

    inlay.detach(model)
    unchanged = all(torch.equal(model.state_dict()[key], value) for key, value in start.items())
    print(f"the base is bitwise as it was: {unchanged}")


if __name__ == "__main__":
    main()
