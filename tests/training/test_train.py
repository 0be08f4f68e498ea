"""Training from end to end: results, the same ones again, and whatever interrupts it."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.errors import BaseError, ResourceError, RunError, TrainingError
from inlay.training import finish as finish_module
from inlay.training.interrupt import Interrupted, StopRequest
from inlay.training.run_folder import RunFolder
from tests import tiny
from tests.forks import Fork
from tests.training.crash import main as killed_processes

ROOT = Path(__file__).parent.parent.parent
WEIGHTS = Path("adapter") / "adapter.safetensors"


def train(root, out, **settings):
    given = {"base": str(tiny.shared_base(root)), **tiny.SETTINGS, **settings}
    return inlay.train(tiny.shared_data(root), out=str(out), **given)


@pytest.fixture
def finished(root):
    """The run that was never interrupted."""
    return tiny.shared_run(root)[0]


def test_metrics_hold_what_was_promised(finished):
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    assert metrics == finished.metrics
    assert metrics["task"] == "text-classification"
    assert (metrics["method"], metrics["seed"]) == ("bottleneck", 1)
    assert metrics["base"].endswith("tiny-base")
    # Two sites of width 32 with a bottleneck of 8 and its scale, and a head for three labels.
    assert metrics["adapter_parameters"] == sum(
        value.numel()
        for key, value in load_file(finished.folder / WEIGHTS).items()
        if key.startswith("site/")
    )
    assert metrics["head_parameters"] == 32 * 3 + 3
    assert (
        metrics["trainable_parameters"]
        == metrics["adapter_parameters"] + metrics["head_parameters"]
    )
    base = load_file(Path(metrics["base"]) / "model.safetensors")
    assert metrics["total_parameters"] == sum(value.numel() for value in base.values())
    assert metrics["train_seconds"] > 0
    assert metrics["test"]["n"] == 30
    low, high = metrics["test"]["accuracy_ci"]
    assert 0 <= low < metrics["test"]["accuracy"] < high <= 1
    assert 0 < metrics["test"]["macro_f1"] < 1
    assert set(metrics["baselines"]) == {"majority", "tfidf_logreg"}
    assert metrics["reload_check"] == {"rows": 30, "identical": 30, "bitwise": True}
    assert metrics["run"] == str(finished.folder)
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert metrics["versions"].items() < environment.items()
    assert metrics["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_the_adapter_beats_the_majority_beyond_noise(finished):
    baseline = finished.metrics["baselines"]["majority"]
    assert finished.metrics["test"]["accuracy"] >= baseline["accuracy"] + 0.2
    assert baseline["gain"] == pytest.approx(
        finished.metrics["test"]["accuracy"] - baseline["accuracy"]
    )


def read_lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_the_folder_holds_the_run_and_no_leftovers(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "adapter", "config.yaml", "data.json", "environment.json", "log.jsonl", "metrics.json",
        "predictions.jsonl",
    }  # fmt: skip
    events = [json.loads(line) for line in read_lines(finished.folder / "log.jsonl")]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "plan"
    assert kinds.count("evaluation") == 3
    assert [e["step"] for e in events if e["event"] == "step"] == [10, 20, 30, 40, 45]


def test_the_run_answers(finished, root):
    texts = ["my visa card expired", "please help with my mortgage", "where is my passport"]
    answers = finished.predict(texts)
    assert [set(answer.probabilities) for answer in answers] == [set(tiny.TOPICS)] * 3
    again = inlay.Run(finished.folder).predict(texts)
    assert again == answers
    assert repr(finished) == f"Run({str(finished.folder)!r})"
    assert finished.config.epochs == 3
    wrong = finished.errors(2)
    assert len(wrong) == 2
    assert not any(record.is_correct for record in wrong)


METHODS = [
    "lora", 'lora[ranks={"q": 3, "1.ffn.up": 5}, magnitude=true]',
    "unipelt[prefix.inner_width=4]", "full", "top:1", "head",
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_from_data_to_answers(root, tmp_path, method, no_reload):
    run = train(root, tmp_path / "run", method=method)
    saved = load_file(run.folder / WEIGHTS)
    assert run.metrics["method"] == method
    assert run.metrics["trainable_parameters"] == sum(value.numel() for value in saved.values())
    assert run.metrics["total_parameters"] == tiny_base_size(root)
    assert inlay.evaluate(run.folder)["accuracy"] == run.metrics["test"]["accuracy"]


def tiny_base_size(root):
    base = load_file(tiny.shared_base(root) / "model.safetensors")
    return sum(value.numel() for value in base.values())


def test_a_trained_base_is_the_same_in_a_fresh_process(root, tmp_path, started_anew):
    run = train(root, tmp_path / "run", method="full", learning_rate=1e-3)
    assert run.metrics["reload_check"] == {"rows": 30, "identical": 30, "bitwise": True}


def test_config_of_a_run_makes_the_same_weights_again(finished, tmp_path, no_reload):
    again = inlay.train(config=finished.folder / "config.yaml", out=str(tmp_path / "again"))
    assert (again.folder / WEIGHTS).read_bytes() == (finished.folder / WEIGHTS).read_bytes()
    ours, theirs = again.metrics, finished.metrics
    assert {k for k in theirs if ours[k] != theirs[k]} <= {"run", "train_seconds", "reload_check"}
    predictions = [run.folder / "predictions.jsonl" for run in (again, finished)]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()


def test_another_seed_makes_other_weights(root, finished, tmp_path, no_reload):
    other = train(root, tmp_path / "other", seed=2)
    assert (other.folder / WEIGHTS).read_bytes() != (finished.folder / WEIGHTS).read_bytes()


def test_the_base_on_disk_is_not_touched(root, finished):
    fresh = tiny.write_base(root / "written-again")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (fresh / name).read_bytes() == (tiny.shared_base(root) / name).read_bytes()


def crash(root, out, moments):
    request = {
        "data": str(tiny.shared_data(root)), "base": str(tiny.shared_base(root)),
        "out": str(out), "moments": moments,
    }  # fmt: skip
    ends = out.with_name("ends.json")
    process = Fork(killed_processes, request, ends)
    code, errors = process.end(timeout=200), process.err.read_text()
    assert code == 0, errors
    return json.loads(ends.read_text()), errors


MOMENTS = [
    "before renaming to: config.yaml",
    "step: 3",
    "half of: best.safetensors",
    "step: 9",
    "before renaming to: step-000011",
    "removing: step-000017",
    "evaluation: 2",
    "half of: adapter.safetensors",
    "before renaming to: predictions.jsonl",
    "before renaming to: metrics.json",
    "nothing: ",
]
"""Where the same command is killed, one time after the other, until it is let finish."""


def told(run):
    """Return the steps and evaluations of a run's log, without when they were."""
    events = [json.loads(line) for line in read_lines(run / "log.jsonl")]
    return [
        {key: value for key, value in event.items() if key != "time"}
        for event in events
        if event["event"] in ("step", "evaluation")
    ]


def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(root, finished, tmp_path):
    out = tmp_path / "killed"
    ends, errors = crash(root, out, MOMENTS)
    assert ends == [-9] * (len(MOMENTS) - 1) + [0], errors
    assert (out / WEIGHTS).read_bytes() == (finished.folder / WEIGHTS).read_bytes()
    assert (out / "predictions.jsonl").read_bytes() == (
        finished.folder / "predictions.jsonl"
    ).read_bytes()
    assert json.loads((out / "steps.txt").read_text()) == [], "all steps had been made before"
    assert told(out) == told(finished.folder), "no step and no evaluation is logged twice"
    assert {path.name for path in out.iterdir()} == {
        "steps.txt", *(path.name for path in finished.folder.iterdir()),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_times_it_ends_as_if_it_had_not_been(root, finished, tmp_path, seed):
    generator = random.Random(seed)
    out = tmp_path / "killed"
    moments = [f"after seconds: {generator.uniform(0.1, 2.0):.3f}" for _ in range(12)]
    ends, errors = crash(root, out, [*moments, "nothing: "])
    assert -9 in ends or ends[-1] == 2, errors
    assert (out / WEIGHTS).read_bytes() == (finished.folder / WEIGHTS).read_bytes()


def test_signals_save_first_and_exit_as_the_shell_says(root, finished, tmp_path, no_reload):
    out = tmp_path / "stopped"
    ends, errors = crash(root, out, ["sigint: 5", "sigterm: 21"])
    assert ends == [130, 143], errors
    assert f"saved at step 5; continue with: inlay resume {out}" in errors
    assert f"saved at step 21; continue with: inlay resume {out}" in errors
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == ["step-000020", "step-000021"]
    with pytest.raises(RunError, match=r"has no metrics.json: no run's folder, or not finished"):
        inlay.Run(out)
    listener = tiny.Listener()
    run = inlay.resume(out, reporter=listener)
    assert listener.steps == list(range(22, 46))
    assert listener.notes[0] == "going on at step 21"
    assert (out / WEIGHTS).read_bytes() == (finished.folder / WEIGHTS).read_bytes()
    assert inlay.resume(out).metrics == run.metrics
    with pytest.raises(RunError, match=r"holds a finished run; choose another --out, or use --fo"):
        train(root, out)


def test_a_full_disk_stops_with_what_was_saved(root, finished, tmp_path, monkeypatch, no_reload):
    out = tmp_path / "full"
    write, count = Path.write_bytes, []

    def fills(self, data):
        count.append(self.name)
        if count.count("weights.safetensors") > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", fills)
    message = rf"^the disk is full: a checkpoint of .* run `inlay resume {out}`\.$"
    with pytest.raises(ResourceError, match=message) as caught:
        train(root, out)
    assert caught.value.exit_code == 5
    monkeypatch.setattr(Path, "write_bytes", write)
    listener = tiny.Listener()
    inlay.resume(out, reporter=listener)
    assert listener.notes[0].startswith("going on at step")
    assert (out / WEIGHTS).read_bytes() == (finished.folder / WEIGHTS).read_bytes()


def test_a_damaged_checkpoint_is_told_and_the_one_before_used(root, finished, tmp_path, no_reload):
    out = tmp_path / "damaged"

    class Stops(tiny.Listener):
        def on_evaluation(self, evaluation):
            if evaluation.epoch == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train(root, out, reporter=Stops())
    newest = sorted((out / "checkpoints").iterdir())[-1]
    (newest / "weights.safetensors").write_bytes(b"")
    listener = tiny.Listener()
    train(root, out, reporter=listener)
    assert listener.notes[0].startswith(f"checkpoint {newest.name} is damaged (weights.safetens")
    assert (out / WEIGHTS).read_bytes() == (finished.folder / WEIGHTS).read_bytes()


def test_an_adapter_that_does_not_reload_leaves_no_finished_run(root, tmp_path, monkeypatch):
    def differs(*given):
        raise TrainingError("the saved adapter answers differently")

    monkeypatch.setattr(finish_module, "check_reload", differs)
    with pytest.raises(TrainingError, match=r"^the saved adapter answers differently$"):
        train(root, tmp_path / "run", epochs=1)
    assert not RunFolder(tmp_path / "run").is_finished


def test_changed_data_cannot_be_resumed(root, tmp_path, no_reload):
    class Stops(tiny.Listener):
        def on_evaluation(self, evaluation):
            raise KeyboardInterrupt

    data = tiny.write_csv(tmp_path / "mine.csv", tiny.rows(90, seed=4))
    settings = {"base": str(tiny.shared_base(root)), **tiny.SETTINGS, "out": str(tmp_path / "run")}
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        inlay.train(data, reporter=Stops(), **settings)
    tiny.write_csv(data, tiny.rows(90, seed=5))
    with pytest.raises(RunError, match="the settings or the data have changed since this run was"):
        inlay.resume(tmp_path / "run")
    with pytest.raises(RunError, match="holds an unfinished run with other settings or data"):
        inlay.train(data, **settings)
    run = inlay.train(data, force=True, **settings)
    assert run.metrics["test"]["n"] == 9


def test_out_of_memory_does_not_stop_a_training(root, tmp_path, monkeypatch, no_reload):
    from inlay.tasks.classification import TextClassification

    scores = TextClassification.scores

    def hungry(self, model, head, batch):
        if torch.is_grad_enabled() and len(batch.inputs["input_ids"]) > 6:
            raise torch.OutOfMemoryError("out of memory")
        return scores(self, model, head, batch)

    monkeypatch.setattr(TextClassification, "scores", hungry)
    monkeypatch.setattr("inlay.training.estimate.predict_memory", lambda training: None)
    listener = tiny.Listener()
    run = train(root, tmp_path / "run", reporter=listener, epochs=1)
    notes = [note for note in listener.notes if note.startswith("out of memory")]
    assert [note.split(": ")[1].split(" rows")[0] for note in notes] == ["8", "4"]
    assert run.metrics["epochs_run"] == 1


def test_aliases_are_noted(root, tmp_path, no_reload):
    listener = tiny.Listener()
    given = {**tiny.SETTINGS, "base": str(tiny.shared_base(root))}
    del given["epochs"]
    run = inlay.train(
        tiny.shared_data(root), reporter=listener, out=str(tmp_path / "run"),
        num_train_epochs=1, **given,
    )  # fmt: skip
    assert listener.notes[0] == "num_train_epochs is called epochs here"
    assert run.config.epochs == 1


def test_a_base_that_is_not_there_leaves_no_folder(root, tmp_path):
    with pytest.raises(BaseError, match="nowhere/base"):
        train(root, tmp_path / "run", base="nowhere/base")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_runs_started_together_do_not_disturb_each_other(root, finished, tmp_path):
    """Three at once, two of them the very same; as a loop over seeds in a shell does it."""
    script = (
        "import json, sys, torch; torch.set_num_threads(1); import inlay\n"
        "from inlay.training import finish as t; t.check_reload = lambda *given: {'rows': 0}\n"
        "given = json.loads(sys.argv[1]); run = inlay.train(**given)\n"
        "print(json.dumps([str(run.folder), run.metrics['seed']]))"
    )
    given = {"data": str(tiny.shared_data(root)), "base": str(tiny.shared_base(root))}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, json.dumps({**given, **tiny.SETTINGS, "seed": seed})],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )
        for seed in (1, 2, 1)
    ]  # fmt: skip
    ends = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ends
    runs = [json.loads(out) for out, _ in ends]
    assert [seed for _, seed in runs] == [1, 2, 1]
    assert len({folder for folder, _ in runs}) == 3
    weights = [(tmp_path / folder / WEIGHTS).read_bytes() for folder, _ in runs]
    assert weights[0] == weights[2] == (finished.folder / WEIGHTS).read_bytes()
    assert weights[1] != weights[0]


PROCESSES = """
import json, sys, torch
torch.set_num_threads(1)
import inlay
from tests import tiny
from tests.forks import Fork
from tests.training.crash import main as killed_processes
listener = tiny.Listener()
run = inlay.train(**json.loads(sys.argv[1]), reporter=listener)
print(json.dumps([run.metrics["reload_check"], len(listener.steps), run.metrics["test"]["n"]]))
"""


@pytest.mark.slow
def test_two_processes_train_one_adapter(root, finished, tmp_path):
    """Each takes half of every batch; only the first one writes and tells."""
    (tmp_path / "both.py").write_text(PROCESSES)
    given = {"data": str(tiny.shared_data(root)), "base": str(tiny.shared_base(root))}
    given |= {**tiny.SETTINGS, "out": str(tmp_path / "run")}
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
            str(tmp_path / "both.py"), json.dumps(given),
        ],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=200,
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told_by = sorted(json.loads(line)[1] for line in done.stdout.splitlines())
    assert told_by == [0, 45], "only the first process tells"
    metrics = inlay.Run(tmp_path / "run").metrics
    assert metrics["reload_check"]["identical"] == metrics["test"]["n"] == 30
    accuracy = finished.metrics["test"]["accuracy"]
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy, abs=0.2)
    assert len(told(tmp_path / "run")) == len(told(finished.folder))


def test_a_run_that_does_not_exist(tmp_path):
    with pytest.raises(RunError, match=r"is no run's folder: it has no config.yaml\. `inlay list`"):
        inlay.resume(tmp_path)


def test_a_run_of_relative_places_goes_on_from_any_folder(root, tmp_path, monkeypatch):
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    (tmp_path / "here" / "bases").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    shutil.copytree(tiny.shared_base(root), tmp_path / "here" / "bases" / "tiny")
    tiny.write_csv(tmp_path / "here" / "few.csv", tiny.rows(60))
    monkeypatch.chdir(tmp_path / "here")
    given = {**tiny.SETTINGS, "epochs": 1, "base": "bases/tiny", "out": "run"}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="inlay resume"):
        patch.setattr(StopRequest, "is_asked", lambda self: True)
        inlay.train("few.csv", **given)
    shutil.copytree("run", "again")
    monkeypatch.chdir(tmp_path / "there")
    resumed = inlay.resume(tmp_path / "here" / "run")
    assert resumed.config.data == str(tmp_path / "here" / "few.csv")
    assert resumed.config.base == str(tmp_path / "here" / "bases" / "tiny")
    monkeypatch.chdir(tmp_path / "here")
    same = inlay.train("few.csv", **{**given, "out": "again"})
    one, two = (load_file(folder.folder / WEIGHTS) for folder in (resumed, same))
    assert all(torch.equal(one[key], two[key]) for key in one)
