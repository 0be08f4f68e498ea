"""What a training is made of, before it starts."""

import json
import shutil

import pytest
import torch

from inlay.errors import BaseError, ConfigError, SiteError
from inlay.training import attention as attention_module
from inlay.training import prepare as prepare_module
from inlay.training.step import set_modes
from tests import tiny


def base_weights(found):
    own = {id(p) for p in found.training.entry.parameters()}
    return [p for p in found.training.model.parameters() if id(p) not in own]


def test_only_adapter_and_head_are_trained(ready):
    found = ready()
    training = found.training
    assert not any(p.requires_grad for p in base_weights(found))
    optimised = {id(p) for group in training.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in training.entry.parameters()}
    assert len(found.encoded["train"]) == 96 == len(training.train)
    assert found.name == "few"
    assert training.row_name(0).endswith("few.csv:" + training.row_name(0).rpartition(":")[2])


@pytest.mark.parametrize(("method", "trains"), [("full", True), ("top:1", True), ("head", False)])
def test_comparators_train_what_they_say(ready, method, trains):
    training = ready(method=method).training
    assert training.trains_base is trains
    assert bool(training.entry.weights) is trains


def test_a_frozen_base_is_stored_in_bfloat16_and_a_trained_one_is_not(ready):
    frozen, trained = ready(precision="bfloat16"), ready(precision="bfloat16", method="full")
    assert {p.dtype for p in base_weights(frozen)} == {torch.bfloat16}
    assert {p.dtype for p in frozen.training.entry.parameters()} == {torch.float32}
    assert {p.dtype for p in trained.training.entry.parameters()} == {torch.float32}
    assert (frozen.training.autocast, trained.training.autocast) == (False, True)


def test_the_seed_decides_the_weights(ready):
    def weights(seed):
        return torch.cat(
            [p.detach().flatten() for p in ready(seed=seed).training.head.parameters()]
        )

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_task_that_reads_windows_says_so_itself(ready, tmp_path):
    lines = [
        json.dumps({"question": f"why {n}", "context": f"it is {n} " * (1 + n % 40), "answers": []})
        for n in range(120)
    ]
    data = tmp_path / "questions.jsonl"
    data.write_text("\n".join(lines))
    found = ready(data=str(data))
    assert len(found.encoded["train"]) > 96
    assert [note.partition(":")[0] for note in found.notes] == ["train", "validation", "test"]
    assert all("longer than a window of 64 tokens" in note for note in found.notes)


def test_replay_that_a_first_pass_has_shown_to_be_impossible(ready):
    found = ready(layers="upper")
    assert found.replay_note() == found.replay_choice
    found.replay.refused = "its blocks hand more on."
    assert found.replay_note() == "replay: no, its blocks hand more on."
    found = ready(layers="upper", replay=True)
    found.replay.refused = "its blocks hand more on."
    with pytest.raises(ConfigError, match=r"replay=True: its blocks hand more on. Leave it out."):
        found.replay_note()


def test_trunk_dropout_is_asked_for(ready):
    found = ready(layers="upper", trunk_dropout=True)
    assert found.training.trunk_dropout
    assert found.replay is None
    assert found.replay_note() == (
        "replay: no, the trunk's dropout is on, so its states differ at every pass"
    )
    set_modes(found.training)
    assert found.training.model.training
    message = "replay=True: the trunk's dropout is on, .* Leave one of the two out"
    with pytest.raises(ConfigError, match=message):
        ready(layers="upper", trunk_dropout=True, replay=True)
    with pytest.raises(ConfigError, match="trunk_dropout=True: method 'full' trains the base"):
        ready(method="full", trunk_dropout=True)
    frozen = ready(layers="upper")
    set_modes(frozen.training)
    assert not frozen.training.model.training


def test_trunk_dropout_of_a_base_that_has_none_is_told(ready, root, tmp_path):
    base = shutil.copytree(tiny.shared_base(root), tmp_path / "dry")
    config = json.loads((base / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (base / "config.json").write_text(json.dumps(config))
    found = ready(base=str(base), trunk_dropout=True)
    assert "trunk dropout: asked for, but this base has no dropout of its own" in found.notes


@pytest.mark.parametrize("task", ["text-classification", "similarity"])
def test_attention_is_measured_on_the_tasks_own_rows(ready, monkeypatch, task):
    monkeypatch.setattr(attention_module, "_FEWEST", 0)
    found = ready(task=task)
    assert found.attention.name == found.training.model.config._attn_implementation
    assert found.attention.why.endswith("ms; measured now")
    assert "remembered in" in ready(task=task).attention.why


def test_attention_as_asked_or_as_the_run_began(ready):
    assert ready().attention.name == "sdpa"
    asked = ready(attention="eager")
    assert (asked.attention.name, asked.attention.why) == ("eager", "as asked")
    assert asked.numerics.attention == "eager"
    assert asked.training.model.config._attn_implementation == "eager"


def test_a_base_without_tokenizer(root, tmp_path):
    folder = tiny.write_base(tmp_path / "bare")
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(BaseError, match=r"bare' has no tokenizer, so it cannot read text\.$"):
        tiny.prepared(root, tmp_path, base=str(folder))


def test_a_placement_that_matches_nothing(ready):
    with pytest.raises(SiteError, match="7"):
        ready(layers="7")


def test_unknown_task(ready):
    with pytest.raises(ConfigError, match=r"no task 'regretion'; there are text-classification"):
        ready(task="regretion")


def test_adapter_drop_is_a_setting(ready, monkeypatch):
    dropping = ready(layers="all", drop_lowest=1).adapters._running.dropping
    assert dropping.up_to == 1
    assert ready().adapters._running.dropping.up_to == 0

    class Two:
        num_processes = 2

    monkeypatch.setattr(prepare_module, "Accelerator", Two)
    with pytest.raises(ConfigError, match="drop_lowest=1: each of 2 processes would draw its own"):
        ready(layers="all", drop_lowest=1)


def test_attention_is_chosen_for_a_task_that_needs_its_head(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(attention_module, "_FEWEST", 0)
    rows = [{"tokens": ["my", f"card{i}"], "tags": ["O", "B-thing"]} for i in range(40)]
    (tmp_path / "tags.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = ready(data=str(tmp_path / "tags.jsonl"), task="tagging")
    assert "for a block forwards and backwards" in found.attention.why
