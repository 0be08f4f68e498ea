"""The sides that PEFT runs, LoRA at its defaults: `python -m benchmarks.peers.peft_lora`."""

import copy
from collections.abc import Sequence
from typing import Any

from peft import (
    LoraConfig,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertModel,  # noqa: F401 - counted as idle
    Trainer,
)

from benchmarks.peers.banking77 import MeanPooled, autocast_in, numbers, trainer_case
from benchmarks.peers.side import Case, Settings, base_folder, fill, main, training_case


def encoder() -> Any:
    """Load the base with one LoRA: rank 8, alpha 8, at query and value."""
    base = AutoModel.from_pretrained(base_folder(), add_pooling_layer=False)
    model = get_peft_model(base, LoraConfig())
    for block, layer in enumerate(base.encoder.layer):
        for role, own in (("q", layer.attention.self.query), ("v", layer.attention.self.value)):
            factors = {"a": own.lora_A["default"].weight, "b": own.lora_B["default"].weight}
            fill(factors, f"a0/{block}.{role}")
    return model


def step(settings: Settings) -> Case:
    """Train LoRA."""
    about = f"{numbers(settings)}, dropout 0.1"
    return training_case(encoder(), settings, autocast=autocast_in(settings), about=about)


def add_residents(model: Any, names: Sequence[str]) -> None:
    """Put copies of the adapter under other names into PEFT's own tables.

    Leaves the model as `add_adapter` does, which takes a quarter of an hour for a thousand.
    """
    for name in names:
        model.peft_config[name] = copy.copy(model.peft_config["default"])
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            tables = [*vars(layer).values(), *layer.children()]
            for table in tables:
                if isinstance(table, dict | nn.ModuleDict) and "default" in table:
                    for name in names:
                        table[name] = copy.deepcopy(table["default"])
                        if isinstance(table, nn.ModuleDict):
                            table[name].requires_grad_(False)


def register(settings: Settings) -> Case:
    """Add an adapter whose weights are in memory beside so many others."""
    model = encoder()
    given = {k: v.clone() for k, v in get_peft_model_state_dict(model).items()}
    add_residents(model, [f"r{index}" for index in range(int(settings["resident"]) - 1)])
    model.add_adapter("new", LoraConfig())

    def run() -> None:
        model.add_adapter("new", LoraConfig())
        set_peft_model_state_dict(model, given, adapter_name="new")

    facts = {"trained": sum(value.numel() for value in given.values())}
    return Case(run=run, facts=lambda: facts, before=lambda: model.delete_adapter("new"))


def train(settings: Settings) -> Case:
    """Train LoRA on banking77, as its documentation does or at the best settings we know."""

    def default(num_labels: int) -> nn.Module:
        model = AutoModelForSequenceClassification.from_pretrained(
            base_folder(), num_labels=num_labels
        )
        return get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS))

    def best(num_labels: int) -> nn.Module:
        base = AutoModel.from_pretrained(base_folder(), add_pooling_layer=False)
        return MeanPooled(get_peft_model(base, LoraConfig(lora_alpha=16)), num_labels)

    if "best" in settings:
        return trainer_case(best, Trainer, 2e-3, settings)
    return trainer_case(default, Trainer, 1e-3, settings)


if __name__ == "__main__":
    main({"step": step, "register": register, "train": train})
