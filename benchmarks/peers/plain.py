"""The sides that transformers runs by itself, full fine-tuning: `-m benchmarks.peers.plain`."""

from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertModel,  # noqa: F401 - counted as idle
    Trainer,
)

from benchmarks.peers.banking77 import MeanPooled, autocast_in, numbers, trainer_case
from benchmarks.peers.side import Case, Settings, base_folder, main, training_case


def step(settings: Settings) -> Case:
    """Train all weights."""
    model = AutoModel.from_pretrained(base_folder(), add_pooling_layer=False)
    about = f"{numbers(settings)}, dropout 0.1"
    return training_case(model, settings, autocast=autocast_in(settings), about=about)


def train(settings: Settings) -> Case:
    """Train all weights on banking77, at the defaults or at the best settings we know."""

    def default(num_labels: int) -> nn.Module:
        return AutoModelForSequenceClassification.from_pretrained(
            base_folder(), num_labels=num_labels
        )

    def best(num_labels: int) -> nn.Module:
        base = AutoModel.from_pretrained(base_folder(), add_pooling_layer=False)
        return MeanPooled(base, num_labels)

    if "best" in settings:
        return trainer_case(best, Trainer, 2e-4, settings)
    return trainer_case(default, Trainer, 5e-5, settings)


if __name__ == "__main__":
    main({"step": step, "train": train})
