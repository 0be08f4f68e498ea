"""Saved adapters of one base become one that answers."""

import hashlib
import json
import shutil

import pytest
import torch

import inlay
from inlay.errors import AdapterError, ConfigError, DataError, FormatError
from inlay.evaluation.blending import blend_saved
from inlay.evaluation.predictor import load_predictor
from tests import tiny

TEXTS = ["my visa card expired", "what is the interest of a mortgage", "I lost my passport abroad"]
NAMES = list(tiny.TOPICS)


def write(folder, finished, root, *, seed, labels=NAMES, method=None, base=None):
    """Save a LoRA with a classification head, as if it had been trained."""
    from inlay.tasks.classification import TextClassification

    old = json.loads((finished.folder / "adapter" / "adapter.json").read_text())["card"]
    base = base or tiny.shared_base(root)
    from inlay.store.bases import load_base, resolve_base

    model, _ = load_base(resolve_base(str(base)))
    adapters = inlay.attach(model)
    task = TextClassification(labels=tuple(labels))
    method = method or inlay.LoRA(rank=2, alpha=3.0)
    entry = adapters.add("a", method, head=task.build_head(32))
    generator = torch.Generator().manual_seed(seed)
    for parameter in entry.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    card = {key: old[key] for key in ("max_length", "numerics", "data")}
    inlay.save(model, "a", folder, card=card | {"task": task.settings(), "base": str(base)})
    return folder


@pytest.fixture
def two(finished, root, tmp_path):
    return [write(tmp_path / name, finished, root, seed=s) for s, name in enumerate(("one", "two"))]


def probabilities(folder):
    return [list(answer.probabilities.values()) for answer in load_predictor(folder).predict(TEXTS)]


def test_one_adapter_stays_what_it_is(two, tmp_path):
    blend_saved({two[0]: 1.0, two[1]: 0.0}, tmp_path / "new", head_of=two[0])
    assert probabilities(tmp_path / "new") == probabilities(two[0])
    new, old = (folder / "adapter.safetensors" for folder in (tmp_path / "new", two[0]))
    assert new.read_bytes() == old.read_bytes()


def test_a_blend_answers_as_its_updates_added_up(two, tmp_path):
    made = blend_saved({two[0]: 0.6, two[1]: 0.4}, tmp_path / "new", method="cat", heads="average")
    assert made.blend.name == "new"
    assert "kept and was not fitted anew" in made.notes[0]
    predictor = load_predictor(tmp_path / "new")
    names = [inlay.load(predictor.model, folder, name=str(n), without_head=True)
             for n, folder in enumerate(two)]  # fmt: skip
    average = inlay.Average(*names, weights=(0.6, 0.4))
    ids = predictor.tokenizer(TEXTS[0], return_tensors="pt")
    hidden = []
    for composition in (predictor.name, average):
        with predictor.model.adapters.using(composition), torch.no_grad():
            hidden.append(predictor.model(**ids).last_hidden_state)
    torch.testing.assert_close(*hidden, atol=1e-5, rtol=1e-4)
    assert [len(row) for row in probabilities(tmp_path / "new")] == [3, 3, 3]


def test_the_card_names_the_files(two, tmp_path):
    blend_saved(two, tmp_path / "new", method="dare", density=0.5, seed=4, head_of=two[1])
    card = json.loads((tmp_path / "new" / "adapter.json").read_text())["card"]
    told = card["blend"]
    assert told["method"] == "dare"
    assert told["weights"] == {str(folder): 0.5 for folder in two}
    assert (told["density"], told["seed"], told["heads"]) == (0.5, 4, f"of {str(two[1])!r}")
    digest = hashlib.sha256((two[0] / "adapter.safetensors").read_bytes()).hexdigest()
    assert told["sha256"][str(two[0])] == digest
    assert 0 < told["error"] < 1
    assert "metrics" not in card, "nothing was measured"


def test_a_run_can_be_blended_and_evaluated(finished, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "copy")
    blend_saved({finished.folder: 0.5, copy: 0.5}, tmp_path / "new")
    before, after = inlay.evaluate(finished.folder), inlay.evaluate(tmp_path / "new")
    assert after["accuracy"] == pytest.approx(before["accuracy"], abs=0.02)
    assert after["n"] == before["n"]


def test_tasks_that_differ(two, finished, root, tmp_path):
    other = write(tmp_path / "other", finished, root, seed=7, labels=("x", "y", "z"))
    new = tmp_path / "new"
    message = r"one is for task 'text-classification' \(card, loan, travel\) and .*\(x, y, z\)"
    with pytest.raises(AdapterError, match=message):
        blend_saved([two[0], other], new, heads="average")
    assert not new.exists()
    blend_saved([two[0], other], new, head_of=other)
    assert load_predictor(new).task.labels == ("x", "y", "z")
    with pytest.raises(ConfigError, match="is none of the adapters"):
        blend_saved(two, new, head_of=other)
    made = blend_saved([two[0], other], tmp_path / "bare", heads="leave-out")
    assert "no head and no task" in made.notes[0]
    with pytest.raises(AdapterError, match="saved without a task"):
        load_predictor(tmp_path / "bare")
    blend_saved([tmp_path / "bare"], tmp_path / "again")
    again = tmp_path / "again" / "adapter.safetensors"
    assert again.read_bytes() == (tmp_path / "bare" / "adapter.safetensors").read_bytes()


def test_other_bases_are_refused(two, finished, root, tmp_path):
    base = tiny.write_base(tmp_path / "base", seed=6)
    other = write(tmp_path / "other", finished, root, seed=7, base=base)
    with pytest.raises(FormatError, match="Only adapters of one base can be blended"):
        blend_saved([two[0], other], tmp_path / "new", heads="average")
    with pytest.raises(FormatError, match="but this model is"):
        blend_saved(two, tmp_path / "new", heads="average", base=str(base))
    copy = shutil.copytree(tiny.shared_base(root), tmp_path / "copy")
    blend_saved(two, tmp_path / "new", heads="average", base=str(copy))
    assert json.loads((tmp_path / "new" / "adapter.json").read_text())["card"]["base"] == str(copy)


def test_an_origin_and_data_that_differ(finished, root, tmp_path):
    method = inlay.Bottleneck(inner_width=3)
    zero, one, two = (
        write(tmp_path / name, finished, root, seed=s, method=method)
        for s, name in enumerate(("zero", "one", "two"))
    )
    manifest = json.loads((two / "adapter.json").read_text())
    manifest["card"]["data"]["source"] = "elsewhere.csv"
    (two / "adapter.json").write_text(json.dumps(manifest))
    new = tmp_path / "new"
    blend_saved([one, two], new, method="ties", density=0.4, origin=zero, heads="average")
    assert json.loads((new / "adapter.json").read_text())["card"]["blend"]["origin"] == str(zero)
    with pytest.raises(DataError, match="keeps no data of its own; name some"):
        inlay.evaluate(new)
