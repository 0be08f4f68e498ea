"""Settings that depend on the method."""

import pytest

from inlay.errors import ConfigError
from inlay.methods.parse import parse_method
from inlay.training.config import resolve_config
from inlay.training.defaults import (
    LEARNING_RATES,
    trains_base,
    with_defaults,
    with_steps_for_few_rows,
)

CASES = {
    # method -> learning rate, at, layers, whether base weights are trained
    "bottleneck": (2e-3, "attention, ffn", "upper", False),
    "houlsby": (2e-3, "attention, ffn", "upper", False),
    "pfeiffer": (2e-3, "ffn", "upper", False),
    "lora[rank=4]": (2e-3, "linear", "upper", False),
    "ia3": (1e-2, "k, v, down", "upper", False),
    "vera": (1e-2, "linear", "upper", False),
    "embedding": (1e-3, "embedding", "all", False),
    "output": (2e-3, "output", "all", False),
    "loreft": (4e-3, "block", "upper", False),
    "prefix": (1e-3, "attention", "upper", False),
    "invertible": (1e-3, "embedding, output", "all", False),
    "prompt": (1e-2, "embedding", "all", False),
    "side": (1e-2, "embedding, block, output", "all", False),
    "unipelt": (1e-3, "attention, ffn, q, v", "upper", False),
    "invertible | bottleneck": (1e-3, "embedding, output, attention, ffn", "all", False),
    "bitfit": (2e-3, None, None, True),
    "norms": (2e-3, None, None, True),
    "full": (2e-4, None, None, True),
    "top:1": (2e-4, None, None, True),
    "head": (1e-2, None, None, False),
}


@pytest.mark.parametrize("method", CASES)
def test_what_is_not_given_comes_from_the_method(method):
    rate, at, layers, trains = CASES[method]
    resolved, preset = with_defaults(resolve_config({"data": "a.csv", "method": method}))
    config = resolved.config
    assert (config.learning_rate, config.at, config.layers) == (rate, at, layers)
    assert trains_base(preset) is trains
    changed = {"learning_rate"} | ({"at", "layers"} if at else set())
    assert {k for k, v in resolved.origins.items() if v.startswith("default of")} == changed
    assert resolved.origins["learning_rate"] == f"default of {preset.method.name}"


@pytest.mark.parametrize(
    ("task", "method", "rate", "origin"),
    [
        ("similarity", "bottleneck", 5e-4, "default of bottleneck for similarity"),
        ("zero-shot", "bottleneck", 5e-4, "default of bottleneck for similarity"),
        ("similarity", "lora", 2e-3, "default of lora"),
        ("text-classification", "bottleneck", 2e-3, "default of bottleneck"),
        ("ner", "bottleneck", 3e-3, "default of bottleneck for tagging"),
        ("qa", "bottleneck", 3e-3, "default of bottleneck for question-answering"),
    ],
)
def test_a_task_may_need_another_learning_rate(task, method, rate, origin):
    given = {"data": "a.csv", "method": method, "task": task}
    resolved, _ = with_defaults(resolve_config(given))
    assert resolved.config.learning_rate == rate
    assert resolved.origins["learning_rate"] == origin
    resolved, _ = with_defaults(resolve_config(given | {"learning_rate": 0.5}))
    assert resolved.config.learning_rate == 0.5
    assert resolved.origins["learning_rate"] == "flag"


def test_unknown_task():
    with pytest.raises(ConfigError, match=r"^no task 'similarty';.*Did you mean 'similarity'"):
        with_defaults(resolve_config({"data": "a", "task": "similarty"}))


def test_what_is_given_stays():
    given = {"data": "a", "learning_rate": 0.5, "at": "ffn", "layers": "all"}
    resolved, _ = with_defaults(resolve_config(given))
    config = resolved.config
    assert (config.learning_rate, config.at, config.layers) == (0.5, "ffn", "all")
    assert {resolved.origins[key] for key in given} == {"flag"}


def test_every_method_has_a_learning_rate():
    for method in ("bottleneck", "conv", "embedding", "output", "lora", "full", "top:3", "head"):
        name = parse_method(method).method.name
        assert LEARNING_RATES[name] > 0


def test_unknown_method():
    with pytest.raises(ConfigError, match=r"'botleneck'.*Did you mean 'bottleneck'"):
        with_defaults(resolve_config({"data": "a", "method": "botleneck"}))


@pytest.mark.parametrize(
    ("at", "layers"), {"q, embedding": "all", "kernel": "all", "q": "upper"}.items()
)
def test_what_lies_in_no_block_takes_no_number_of_blocks(at, layers):
    resolved, _ = with_defaults(resolve_config({"data": "a", "method": "lora", "at": at}))
    assert (resolved.config.at, resolved.config.layers) == (at, layers)


@pytest.mark.parametrize("given", [{"at": "ffn"}, {"layers": "all"}])
def test_a_comparator_has_no_place(given):
    with pytest.raises(
        ConfigError, match=r"^(at='ffn'|layers='all'): method 'full' has no sites to pl"
    ):
        with_defaults(resolve_config({"data": "a", "method": "full", **given}))


@pytest.mark.parametrize(
    ("given", "rows", "epochs", "patience"),
    [
        ({}, 10_000, 5, 3),
        ({}, 320, 10, 3),
        ({}, 16, 30, 7),
        ({"batch_size": 8}, 320, 5, 3),
        ({"patience": 2}, 320, 10, 2),
        ({"epochs": 5}, 320, 5, 3),
    ],
)
def test_few_rows_get_more_epochs_unless_epochs_are_given(given, rows, epochs, patience):
    resolved = resolve_config({"data": "a.csv", **given})
    found = with_steps_for_few_rows(resolved, rows)
    assert (found.config.epochs, found.config.patience) == (epochs, patience)
    changed = epochs != resolved.config.epochs
    assert found.origins["epochs"] == (
        "flag" if "epochs" in given else f"default for {rows} rows" if changed else "default"
    )


@pytest.mark.parametrize("task", ["tagging", "question-answering"])
def test_words_need_adapters_in_all_blocks_and_a_long_warm_up(task):
    found, preset = with_defaults(resolve_config({"data": "a.csv"}), task=task)
    assert (found.config.method, found.config.layers) == ("bottleneck[reduction=5]", "all")
    assert preset.method.reduction == 5
    assert found.config.warmup == 0.2
    for key in ("method", "layers", "learning_rate", "warmup"):
        assert found.origins[key] == f"default of bottleneck for {task}"


def test_pairs_of_texts_need_adapters_in_more_blocks():
    config = resolve_config({"data": "a.csv"})
    single, _ = with_defaults(config, task="text-classification")
    found, _ = with_defaults(config, task="text-classification", pairs=True)
    assert (single.config.layers, found.config.layers) == ("upper", "upper 3/4")
    assert found.origins["layers"] == "default of bottleneck for pairs"
    assert found.origins["at"] == "default of bottleneck"
    question, _ = with_defaults(config, task="question-answering", pairs=True)
    assert question.config.layers == "all"


def test_what_is_asked_for_stands_before_what_a_task_needs():
    given = {"data": "a.csv", "method": "bottleneck[reduction=9]", "layers": "upper", "warmup": 5}
    told, preset = with_defaults(resolve_config(given), task="tagging")
    assert (told.config.method, told.config.layers) == ("bottleneck[reduction=9]", "upper")
    assert preset.method.reduction == 9
    assert told.config.warmup == 5
    assert told.origins["layers"] == told.origins["warmup"] == "flag"


def test_a_decoder_has_adapters_in_all_blocks():
    found, _ = with_defaults(resolve_config({"data": "a.txt"}), task="text-generation")
    assert (found.config.method, found.config.layers) == ("bottleneck", "all")
    assert found.origins["layers"] == "default of bottleneck for text-generation"
