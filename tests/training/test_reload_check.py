"""A saved adapter must answer in a fresh process as it did where it was trained."""

import io
import json
import sys

import pytest
import torch

from inlay.data.rows import Example
from inlay.errors import TrainingError
from inlay.evaluation.predictor import load_predictor
from inlay.training.reload_check import check_reload, main
from tests import tiny

ROWS = [Example(text, None, label, "f.csv", 2) for text, label in tiny.rows(5, seed=9)]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    run, _ = tiny.shared_run(tmp_path_factory.getbasetemp())
    return run.folder / "adapter"


@pytest.fixture(scope="module")
def scores(adapter):
    predictor = load_predictor(adapter)
    return predictor.scores(predictor.encode(ROWS))


def labels_of(scores):
    return [sorted(tiny.TOPICS)[int(own.argmax())] for own in scores]


def test_the_same_answers(adapter, scores):
    found = check_reload(adapter, ROWS, scores, labels_of(scores))
    assert found == {"rows": 5, "identical": 5, "bitwise": True}


def test_the_fresh_process_computes_where_this_one_did(adapter, scores):
    with pytest.raises(TrainingError, match=r"could not be loaded .*device='cpu:x'"):
        check_reload(adapter, ROWS, scores, labels_of(scores), "cpu:x")


def test_scores_that_differ_in_a_bit_are_told(adapter, scores):
    nearly = [own.clone() for own in scores]
    nearly[2][1] = torch.nextafter(nearly[2][1], torch.tensor(9.0))
    found = check_reload(adapter, ROWS, nearly, labels_of(scores))
    assert found == {"rows": 5, "identical": 5, "bitwise": False}


def test_another_label_is_an_error(adapter, scores):
    labels = labels_of(scores)
    labels[3] = next(label for label in tiny.TOPICS if label != labels[3])
    message = rf"{adapter} answers differently in a fresh process: only 4 of 5 answers agree\. Do n"
    with pytest.raises(TrainingError, match=message):
        check_reload(adapter, ROWS, scores, labels)


def test_a_process_that_fails_is_quoted(tmp_path, scores):
    message = rf"{tmp_path} could not be loaded in a fresh process: .* holds no saved adapter"
    with pytest.raises(TrainingError, match=message):
        check_reload(tmp_path, ROWS, scores, labels_of(scores))


def test_the_answer_is_json(adapter, monkeypatch, capsys):
    request = {"adapter": str(adapter), "rows": [list(row) for row in ROWS], "threads": 1}
    request["device"] = "cpu"
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    main()
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["answers"]) == 5
    assert set(answer["answers"]) <= set(tiny.TOPICS)
    assert len(answer["digest"]) == 64
