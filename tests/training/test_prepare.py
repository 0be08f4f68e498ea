"""What a training is made of, before it starts."""

import json

import pytest
import torch

from inlay.errors import BaseError, ConfigError, SiteError
from inlay.training import prepare as prepare_module
from inlay.training.prepare import estimate_seconds
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


def test_length_is_what_was_asked_within_what_the_base_takes(ready):
    assert ready().max_length == 64
    assert ready(max_length=6).max_length == 6
    assert ready(max_length=900).max_length == 64


def test_cut_texts_are_counted(ready):
    short, full = ready(max_length=8), ready()
    lengths = [row.length for rows in full.encoded.values() for row in rows]
    cut = [length - 8 for length in lengths if length > 8]
    share, lost = len(cut) / len(lengths), sum(cut) / sum(lengths)
    expected = (
        f"{share:.1%} of rows exceed max_length 8 (longest {max(lengths)} tokens): truncated, "
        f"{lost:.1%} of all tokens lost"
    )
    assert short.notes == [expected]
    assert full.notes == []


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


def test_estimate_changes_nothing(ready):
    found = ready()
    training = found.training
    before = {key: value.clone() for key, value in training.entry.tensors().items()}
    state = torch.random.get_rng_state()
    assert estimate_seconds(found) > 0
    assert torch.equal(torch.random.get_rng_state(), state)
    for key, value in training.entry.tensors().items():
        assert torch.equal(value, before[key])
    assert all(p.grad is None for p in training.entry.parameters())
    assert not training.optimizer.state


def test_estimate_grows_with_the_epochs(ready, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            self.now += 1.0
            return self.now

    def estimate(**settings):
        monkeypatch.setattr(prepare_module, "time", Clock())
        return estimate_seconds(ready(**settings))

    # 6 batches of an epoch, and 12 validation rows at a third of the cost.
    assert estimate(epochs=1) == pytest.approx(6 + 12 / 16 / 3)
    assert estimate(epochs=4) == pytest.approx(4 * (6 + 12 / 16 / 3))
    assert estimate(epochs=1, gradient_accumulation=3) == pytest.approx(6 + 12 / 16 / 3)


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
