"""The sides that AdapterHub runs: `python -m benchmarks.peers.adapterhub --case step`."""

from typing import Any

from adapters.composition import Fuse
from torch import Tensor, nn
from transformers import AutoModel, BertModel, Trainer  # noqa: F401 - BertModel is counted as idle

from adapters import AdapterTrainer, AutoAdapterModel, SeqBnConfig, init
from benchmarks.peers.banking77 import (
    MeanPooled,
    autocast_in,
    epoch_case,
    numbers,
    trainer_case,
)
from benchmarks.peers.side import (
    Case,
    Settings,
    base_folder,
    fill,
    inference_case,
    main,
    since_start,
    training_case,
)


def encoder(number: int = 0) -> Any:
    """Load the base with so many `seq_bn` adapters."""
    model = AutoModel.from_pretrained(base_folder(), add_pooling_layer=False)
    init(model)
    for index in range(number):
        model.add_adapter(f"a{index}", config="seq_bn")
        copy_in(model, f"a{index}")
    return model


def copy_in(model: Any, name: str) -> None:
    """Fill an adapter."""
    for block, modules in model.get_adapter(name).items():
        fill(parts(modules["output_adapter"]), f"{name}/{block}")


def parts(layer: Any) -> dict[str, Tensor]:
    """Name a bottleneck's weights as all sides do."""
    down, up = layer.adapter_down[0], layer.adapter_up
    return {"down": down.weight, "down_bias": down.bias, "up": up.weight, "up_bias": up.bias}


def step(settings: Settings) -> Case:
    """Train `seq_bn`, one bottleneck in each block."""
    model = encoder(1)
    model.train_adapter("a0")
    return training_case(
        model, settings, autocast=autocast_in(settings), about=f"{numbers(settings)}, dropout 0.1"
    )


def fused(*, trains: bool) -> Any:
    """Return the base with `Fuse` over eight adapters."""
    model = encoder(8)
    node = Fuse(*(f"a{index}" for index in range(8)))
    model.add_adapter_fusion(node)
    for block, layer in enumerate(model.encoder.layer):
        (own,) = layer.output.adapter_fusion_layer.values()
        fill(
            {"query": own.query.weight, "query_bias": own.query.bias, "key": own.key.weight,
             "value": own.value.weight},
            f"fusion/{block}",
        )  # fmt: skip
    model.train_adapter_fusion(node) if trains else model.set_active_adapters(node)
    return model


def fuse(settings: Settings) -> Case:
    """Run `Fuse` of eight adapters without gradient."""
    return inference_case(fused(trains=False), settings, about="float32")


def fuse_step(settings: Settings) -> Case:
    """Train `Fuse` of eight adapters, its regularisation included."""
    model = fused(trains=True)
    penalty = model.get_fusion_regularization_loss
    return training_case(model, settings, penalty=penalty, about="float32, dropout 0.1")


def register(settings: Settings) -> Case:
    """Add an adapter whose weights are in memory beside so many others."""
    model = encoder()
    for index in range(int(settings["resident"])):
        model.add_adapter(f"r{index}", config="seq_bn")
    model.add_adapter("new", config="seq_bn")
    copy_in(model, "new")
    given = weights_of(model)

    def run() -> None:
        model.add_adapter("new", config="seq_bn")
        for own, value in zip(weights_of(model), given, strict=True):
            own.data.copy_(value)

    facts = {"trained": sum(value.numel() for value in given)}
    return Case(run=run, facts=lambda: facts, before=lambda: model.delete_adapter("new"))


def weights_of(model: Any) -> list[Tensor]:
    """List the new adapter's weights."""
    layers = [modules["output_adapter"] for modules in model.get_adapter("new").values()]
    return [weight for layer in layers for weight in parts(layer).values()]


def train(settings: Settings) -> Case:
    """Train `seq_bn` on banking77, as its documentation does or at the best settings we know."""

    def default(num_labels: int) -> nn.Module:
        model = AutoAdapterModel.from_pretrained(base_folder())
        model.add_adapter("banking77", config="seq_bn")
        model.add_classification_head("banking77", num_labels=num_labels)
        model.train_adapter("banking77")
        return model

    def best(num_labels: int) -> nn.Module:
        model = encoder()
        model.add_adapter("banking77", config="seq_bn")
        model.train_adapter("banking77")
        return MeanPooled(model, num_labels)

    if "best" in settings:
        return trainer_case(best, Trainer, 2e-3, settings)
    return trainer_case(default, AdapterTrainer, 1e-4, settings)


def epoch(settings: Settings) -> Case:
    """Train `seq_bn` for an epoch on rows of banking77, in a plain loop at its best rate."""
    return epoch_case(lambda num_labels: MeanPooled(trainable(), num_labels), 2e-3, settings)


def sweep(settings: Settings) -> Case:
    """Train configurations one after the other; the time of some stands for that of eight."""
    number = int(settings["configurations"])
    cases = [
        trainer_case(
            lambda labels, by=by: MeanPooled(trainable(by), labels), Trainer, rate, settings
        )
        for rate, by in SWEPT[:number]
    ]
    found: dict[str, Any] = {}

    def run() -> None:
        seconds, best = 0.0, 0.0
        for case in cases:
            started = since_start()
            case.run()
            # Up to the end of training, as the accuracy on test is only asked of the best.
            seconds += case.facts()["end_of_training"] - started
            best = max(best, case.facts()["accuracy"])
        found.update(
            end_of_training=seconds * 8 / number, accuracy=best, configurations=8,
            trained_of_them=number,
        )  # fmt: skip

    return Case(run=run, facts=lambda: found, once=True)


SWEPT = tuple((rate, by) for rate in (2e-3, 1e-3, 4e-3, 5e-4) for by in (16, 8))
"""Learning rate and reduction of eight configurations."""


def trainable(reduction: int = 16) -> Any:
    """Load the base with one `seq_bn` adapter that trains."""
    model = encoder()
    model.add_adapter("banking77", config=SeqBnConfig(reduction_factor=reduction))
    model.train_adapter("banking77")
    return model


if __name__ == "__main__":
    main(
        {"step": step, "fuse": fuse, "fuse_step": fuse_step, "register": register,
         "train": train, "epoch": epoch, "sweep": sweep}
    )  # fmt: skip
