"""Pretraining from end to end: what it learns, what it leaves, and whatever interrupts it."""

import json
import signal
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

import inlay
from inlay.errors import ConfigError, DataError, RunError, TrainingError
from tests import tiny
from tests.forks import Fork
from tests.pretraining import text
from tests.pretraining.crash import main as killed_processes

AUTO = {
    "mlm": AutoModelForMaskedLM, "clm": AutoModelForCausalLM, "denoise": AutoModelForSeq2SeqLM,
}  # fmt: skip


def weights(folder):
    return (Path(folder) / "model.safetensors").read_bytes()


def told(folder):
    lines = (Path(folder) / "log.jsonl").read_text().splitlines()
    events = [{k: v for k, v in json.loads(line).items() if k != "time"} for line in lines]
    return [event for event in events if event["event"] in ("step", "evaluation")]


@pytest.mark.parametrize("objective", ["mlm", "clm", "denoise"])
def test_the_folder_holds_a_model_that_transformers_loads(finished, objective):
    made, listener = finished(objective)
    names = {path.name for path in made.folder.iterdir()}
    assert names - {"generation_config.json"} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "pretraining.json", "metrics.json", "log.jsonl", "environment.json",
    }  # fmt: skip
    model, loading = AUTO[objective].from_pretrained(made.folder, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert sum(p.numel() for p in model.parameters()) == made.metrics["parameters"]
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    assert tokenizer.model_max_length == 24
    AutoModel.from_pretrained(made.folder)
    encoded = tokenizer("the old grey cat", return_tensors="pt")
    if objective == "denoise":
        encoded["decoder_input_ids"] = encoded["input_ids"]
    assert torch.isfinite(model(**encoded).logits).all()
    assert listener.ends == [made.metrics]
    assert listener.steps == list(range(1, 61))


def test_what_follows_a_word_is_learnt(finished):
    made, listener = finished("clm")
    held_out, free = made.metrics["held_out"], made.metrics["baselines"]
    assert held_out["perplexity"] < free["unigram"]["perplexity"] / 1.5
    assert free["unigram"]["perplexity"] < free["uniform"]["perplexity"] / 3
    # With tiny random weights all tokens, special ones included, are about equally likely.
    assert held_out["perplexity_before"] == pytest.approx(made.metrics["vocab_size"], rel=0.1)
    losses = [evaluation.metrics["loss"] for evaluation in listener.evaluations]
    assert [evaluation.step for evaluation in listener.evaluations] == [20, 40, 60]
    assert losses == sorted(losses, reverse=True)
    assert [evaluation.is_best for evaluation in listener.evaluations] == [True] * 3
    assert losses[-1] == held_out["loss"]


def test_metrics_and_plan_agree(finished, corpus):
    made, listener = finished("mlm")
    metrics, plan = made.metrics, listener.plans[0]
    assert (metrics["objective"], metrics["model_type"], metrics["base"]) == ("mlm", "bert", None)
    assert (plan.vocab_size, plan.num_parameters) == (metrics["vocab_size"], metrics["parameters"])
    assert plan.tokens == {
        "train": metrics["train_tokens"], "held_out": metrics["held_out"]["tokens"],
    }  # fmt: skip
    sequences = metrics["train_tokens"] // 22
    steps_per_epoch = -(-sequences // 8)
    assert metrics["epochs"] == pytest.approx(60 / steps_per_epoch)
    epochs, rest = divmod(60, steps_per_epoch)
    assert metrics["tokens_seen"] == 22 * (epochs * sequences + rest * 8)
    assert metrics["train_seconds"] > 0
    assert any(note.startswith("walk.txt: held out 7 of 150") for note in metrics["notes"])
    settings = json.loads((made.folder / "pretraining.json").read_text())
    assert settings["corpus"] == [str(corpus)] and settings["seed"] == 1
    assert settings["corpus_files"][0]["documents"] == 150
    assert inlay.Pretrained(made.folder).metrics == metrics
    assert repr(made) == f"Pretrained({str(made.folder)!r})"


def crash(corpus, finished, out, objective, moments):
    """Run processes that end as asked; return how, what they wrote, and the unbroken run."""
    whole = finished(objective)[0].folder
    request = {
        "corpus": str(corpus), "objective": objective, "out": str(out),
        "size": str(whole.parent / f"{objective}.json"), "moments": moments,
    }  # fmt: skip
    ends = out.with_name("ends.json")
    process = Fork(killed_processes, request, ends)
    code, errors = process.end(timeout=200), process.err.read_text()
    assert code == 0, errors
    return json.loads(ends.read_text()), errors, whole


def test_signals_save_first_and_the_same_command_goes_on(corpus, finished, tmp_path):
    out = tmp_path / "stopped"
    moments = ["sigint: 7", "sigterm: 31", "nothing: "]
    ends, errors, whole = crash(corpus, finished, out, "clm", moments)
    assert ends == [130, 143, 0], errors
    assert "saved at step 7; the same command goes on from there" in errors
    assert json.loads((out / "steps.txt").read_text()) == list(range(32, 61))
    assert weights(out) == weights(whole)
    assert told(out) == told(whole), "no step and no evaluation is logged twice"
    metrics = json.loads((out / "metrics.json").read_text())
    again = finished("clm")[0].metrics
    for name in ("held_out", "baselines", "tokens_seen", "steps"):
        assert metrics[name] == again[name]
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["mlm", "clm", "denoise"])
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(
    corpus, finished, tmp_path, objective
):  # fmt: skip
    out = tmp_path / "killed"
    moments = [
        "before renaming to: pretraining.json", "before renaming to: tokenizer", "kill: 1",
        "kill: 22", "before renaming to: step-000024", "kill: 40",
        "before renaming to: model.safetensors", "before renaming to: config.json",
        "before renaming to: metrics.json", "nothing: ",
    ]  # fmt: skip
    ends, errors, whole = crash(corpus, finished, out, objective, moments)
    assert ends == [-signal.SIGKILL] * 9 + [0], errors
    assert weights(out) == weights(whole)
    assert told(out) == told(whole)
    assert {path.name for path in out.iterdir()} - {"steps.txt"} == {
        path.name for path in whole.iterdir()
    }


def test_a_base_is_trained_on_with_its_own_tokenizer(finished, tmp_path):
    made, _ = finished("clm")
    more = text.write_text(tmp_path / "more.txt", 80, seed=5)
    settings = {key: value for key, value in text.SETTINGS.items() if key != "vocab_size"}
    on = inlay.pretrain(
        more, objective="clm", base=made.folder, out=tmp_path / "on", steps=20, **settings
    )
    assert on.metrics["base"] == str(made.folder)
    before = on.metrics["held_out"]["perplexity_before"]
    assert before == pytest.approx(made.metrics["held_out"]["perplexity"], rel=0.2)
    assert on.metrics["held_out"]["perplexity"] < before
    first, second = (AutoTokenizer.from_pretrained(folder) for folder in (made.folder, on.folder))
    assert first.get_vocab() == second.get_vocab()
    with pytest.raises(ConfigError, match=r"does not fit objective mlm|has no mask"):
        inlay.pretrain(more, objective="mlm", base=tiny_causal(made.folder, tmp_path),
                       out=tmp_path / "no", **settings)  # fmt: skip
    with pytest.raises(ConfigError, match=r"max_length=99: the model takes 24 tokens at most"):
        inlay.pretrain(more, objective="clm", base=made.folder, out=tmp_path / "no",
                       **{**settings, "max_length": 99})  # fmt: skip


def tiny_causal(folder, tmp_path):
    """Copy a causal base and give its tokenizer a mask, so that only the model does not fit."""
    copy = tmp_path / "masked"
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(copy)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = tokenizer.unk_token
    tokenizer.save_pretrained(copy)
    return copy


def test_the_model_is_a_base_for_adapters(finished, tmp_path):
    made, _ = finished("mlm")
    run = inlay.train(
        tiny.write_csv(tmp_path / "rows.csv", tiny.rows(60)), base=str(made.folder),
        out=str(tmp_path / "run"), **{**tiny.SETTINGS, "epochs": 1},
    )  # fmt: skip
    assert run.metrics["test"]["n"] == 6


def test_epochs_unigram_and_a_short_vocabulary(tmp_path, corpus):
    listener = tiny.Listener()
    settings = {**text.SETTINGS, "vocab_size": 5000}
    made = inlay.pretrain(
        [corpus, text.write_text(tmp_path / "two.txt", 40, seed=3)], objective="clm", epochs=1,
        size=text.write_shape(tmp_path, "clm"), tokenizer="unigram", out=tmp_path / "model",
        reporter=listener, **settings,
    )  # fmt: skip
    assert made.metrics["epochs"] == 1
    assert listener.steps[-1] == made.metrics["steps"]
    notes = [note for note in listener.plans[0].notes if note.startswith("the tokenizer has")]
    assert notes == [
        f"the tokenizer has {made.metrics['vocab_size']} tokens: the text does not suffice for 5000"
    ]


def test_what_cannot_be_trained_on_is_refused(tmp_path, corpus, monkeypatch):
    short = tmp_path / "short.txt"
    short.write_text("Only a few words.")
    with pytest.raises(DataError, match=r"short: the training text has \d+ tokens, fewer than th"):
        inlay.pretrain(short, out=tmp_path / "x", size="tiny", vocab_size=400)
    # Nothing was learnt yet, so the same folder takes another attempt.
    with pytest.raises(ConfigError, match=r"vocab_size=20: the 256 bytes"):
        inlay.pretrain(corpus, out=tmp_path / "x", vocab_size=20)
    with pytest.raises(ConfigError, match=r"size='big' is not known"):
        inlay.pretrain(corpus, out=tmp_path / "y", size="big")
    assert not (tmp_path / "y").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"pretraining runs in one process"):
        inlay.pretrain(corpus, out=tmp_path / "y")


def test_a_loss_that_is_no_number_stops(tmp_path, corpus):
    given = {**text.SETTINGS, "learning_rate": 1e30, "warmup": 0.0}
    shape = text.write_shape(tmp_path, "clm")
    del given["checkpoint_seconds"]
    with pytest.raises(TrainingError, match=r"^the loss is .* at step \d+. Lower the learning rat"):
        inlay.pretrain(corpus, objective="clm", size=shape, out=tmp_path / "x", steps=9, **given)
    with pytest.raises(RunError, match=r"has no metrics.json"):
        inlay.Pretrained(tmp_path / "x")
