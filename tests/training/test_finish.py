"""What a training leaves behind when it ends."""

import json

import pytest
import torch

import inlay
from inlay.evaluation.predictor import load_predictor
from inlay.evaluation.records import read_records
from inlay.store.manifest import read_manifest
from inlay.training import finish as finish_module
from inlay.training import replay as replay_module
from inlay.training.replay import TrunkReplay
from tests import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return tiny.shared_run(tmp_path_factory.getbasetemp())[0]


def test_metrics_say_what_was_trained_and_how_good_it_is(finished):
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    assert metrics["headline"] == {"name": "accuracy", "form": "mean"}
    assert metrics["test"]["metric"] == metrics["validation"]["metric"] == "accuracy"
    assert set(metrics["baselines"]) == {"majority", "tfidf_logreg"}
    total = metrics["adapter_parameters"] + metrics["head_parameters"]
    assert metrics["trainable_parameters"] == total


def test_predictions_add_up_to_the_report(finished):
    records = read_records(finished.folder)
    right = sum(record.counts[0] for record in records)
    assert right / len(records) == pytest.approx(finished.metrics["test"]["accuracy"])
    assert len(records) == finished.metrics["test"]["n"]


def test_the_adapters_folder_suffices_to_answer(finished):
    card = read_manifest(finished.folder / "adapter").card
    assert card["task"]["task"] == "text-classification"
    assert card["metrics"]["test"]["accuracy"] == finished.metrics["test"]["accuracy"]
    assert set(card["data"]) == {"name", "source", "options", "has_pairs"}
    assert card["max_length"] > 0


def test_checkpoints_are_gone(finished):
    folder = finished.folder / "checkpoints"
    assert not folder.exists() or not list(folder.iterdir())


def test_the_size_of_the_base_does_not_count_the_adapter(finished, tmp_path):
    assert finished.metrics["total_parameters"] > finished.metrics["adapter_parameters"]


def test_the_check_compares_what_is_computed_and_not_what_is_replayed(root, tmp_path, monkeypatch):
    """States that other batches made differ by rounding, which an answer in digits may show."""
    compared = {}

    def keep(adapter, rows, scores, answers, device):
        compared.update(rows=rows, scores=scores, device=device)
        return {"rows": len(rows), "identical": len(rows), "bitwise": True}

    exact = TrunkReplay._states
    monkeypatch.setattr(replay_module, "VERIFIED", 0)
    monkeypatch.setattr(
        TrunkReplay, "_states",
        lambda self, rows: {name: 1.01 * own for name, own in exact(self, rows).items()},
    )  # fmt: skip
    monkeypatch.setattr(finish_module, "check_reload", keep)
    run = inlay.train(
        str(tiny.shared_data(root)), base=str(tiny.shared_base(root)), layers="upper", replay=True,
        out=str(tmp_path / "run"), **tiny.SETTINGS | {"epochs": 2},
    )  # fmt: skip
    predictor = load_predictor(run.folder)
    fresh = predictor.scores(predictor.encode(compared["rows"]))
    assert len(fresh) == 30
    assert torch.equal(torch.stack(fresh), torch.stack(list(compared["scores"])))
    assert torch.device(compared["device"]).type == next(predictor.model.parameters()).device.type
