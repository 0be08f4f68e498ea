"""The loop: a step against one by hand, its order, and what stops it."""

import math
from types import SimpleNamespace

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from inlay.errors import ResourceError
from inlay.pretraining.config import PretrainConfig
from inlay.pretraining.loop import Job, fit, indices_of
from inlay.pretraining.objectives import IGNORED, OBJECTIVES, Vocabulary
from inlay.pretraining.stream import Stream, encode
from inlay.pretraining.tokenizer import SPECIALS, train_tokenizer
from inlay.training.checkpoint import Checkpoints
from inlay.training.interrupt import Interrupted, StopRequest
from inlay.training.optim import build_optimizer, build_schedule
from tests.pretraining import text
from tests.tiny import Listener


def job(tmp_path, *, steps=3, dropout=0.0):
    """Make a pretraining of seven sequences or so, three in a step."""
    tokenizer = train_tokenizer(
        text.documents(8), kind="bpe", specials=SPECIALS["mlm"], vocab_size=300, max_length=32
    )
    objective = OBJECTIVES["mlm"](Vocabulary(tokenizer))
    torch.manual_seed(1)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer), max_position_embeddings=32, hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout, **text.SHAPES["mlm"],
        )
    )  # fmt: skip
    tokens = encode(text.documents(9), tokenizer, objective)
    optimizer = build_optimizer("adamw", model.parameters(), learning_rate=0.01, weight_decay=0.1)
    return Job(
        config=PretrainConfig(
            corpus=("x",), objective="mlm", size="tiny", out="x", batch_size=3,
            checkpoint_seconds=1e9, seed=4,
        ),
        model=model, tokenizer=tokenizer, objective=objective,
        train=Stream(tokens, objective.window(32), keeps_rest=False),
        held_out=Stream(tokens[:50], objective.window(32), keeps_rest=True),
        optimizer=optimizer,
        schedule=build_schedule(optimizer, "cosine", warmup=1, num_steps=steps),
        num_steps=steps, autocast=False, checkpoints=Checkpoints(tmp_path / "checkpoints"),
        reporter=Listener(), stop=StopRequest(),
    )  # fmt: skip


def test_the_loop_is_the_plain_one(tmp_path):
    """The same by hand: AdamW in torch, loss by -log p, gradients clipped at norm 1."""
    made, twin = job(tmp_path), job(tmp_path / "twin")
    progress = fit(made, None)
    losses = []
    for step, factor in enumerate((0.5, 1.0, 0.5 * (1 + math.cos(math.pi * 0.5)))):
        rows = twin.train.rows(indices_of(twin, step))
        generator = torch.Generator().manual_seed(4 * 1_000_003 + step)
        batch = twin.objective.batch(rows, generator)
        log_p = twin.model(**batch.inputs).logits.log_softmax(-1)
        asked = (batch.labels != IGNORED).nonzero().tolist()
        loss = -sum(log_p[r, c, batch.labels[r, c]] for r, c in asked) / len(asked)
        twin.optimizer.zero_grad()
        loss.backward()
        norm = sum(float((p.grad**2).sum()) for p in twin.model.parameters()) ** 0.5
        for parameter in twin.model.parameters():
            parameter.grad *= min(1.0, 1.0 / (norm + 1e-6))
        for group in twin.optimizer.param_groups:
            group["lr"] = 0.01 * factor
        twin.optimizer.step()
        losses.append(float(loss.detach()))
    assert made.reporter.losses == pytest.approx(losses, rel=1e-4)
    for one, other in zip(made.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert (progress.step, progress.num_evaluations) == (3, 3)
    assert progress.after["loss"] < progress.before["loss"]


def test_each_epoch_sees_every_sequence_once(tmp_path):
    made = job(tmp_path)
    number = made.steps_per_epoch
    epochs = [
        [index for step in range(epoch * number, (epoch + 1) * number)
         for index in indices_of(made, step)]
        for epoch in range(2)
    ]  # fmt: skip
    assert len(made.train) % 3, "the last step of an epoch is a short one"
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(len(made.train)))
    assert epochs[0] != epochs[1]


def test_a_stop_saves_and_going_on_gives_the_same(tmp_path):
    whole = job(tmp_path / "whole", steps=7, dropout=0.2)
    fit(whole, None)
    stopped = job(tmp_path / "stopped", steps=7, dropout=0.2)

    class Stops(Listener):
        def on_step(self, step, num_steps, loss):
            super().on_step(step, num_steps, loss)
            if step == 4:
                stopped.stop.signal_number = 15

    stopped.reporter = Stops()
    with pytest.raises(Interrupted, match=r"^saved at step 4; the same command goes on from there"):
        fit(stopped, None)
    fresh = job(tmp_path / "stopped", steps=7, dropout=0.2)
    snapshot, notes = fresh.checkpoints.newest()
    torch.manual_seed(99)  # what follows must come from the checkpoint
    progress = fit(fresh, snapshot)
    assert (notes, progress.step) == ([], 7)
    assert stopped.reporter.losses + fresh.reporter.losses == whole.reporter.losses
    for one, other in zip(whole.model.parameters(), fresh.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_too_little_memory_is_told(tmp_path):
    made = job(tmp_path)
    measured = made.model.forward

    def hungry(**given):
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("out of memory")
        return measured(**given)

    made.model.forward = hungry
    with pytest.raises(ResourceError, match=r"memory does not suffice for 3 sequences of 30 tok"):
        fit(made, None)
    made.model.forward = lambda **given: SimpleNamespace()
    with pytest.raises(AttributeError, match="logits"):
        fit(made, None)
