import pytest

from inlay.cli.results import (
    baseline_lines,
    between,
    finished_text,
    gains,
    headline,
    next_step,
    points,
    report_lines,
    spread,
    verdict,
)

REPORT = {
    "metric": "accuracy", "accuracy": 0.792, "accuracy_ci": [0.754, 0.826],
    "macro_f1": 0.748, "n": 500,
    "calibration_error": 0.031, "weakest_label": "mixed", "weakest_f1": 0.58,
    "weakest_taken_for": "bad",
}  # fmt: skip
BASELINES = {
    "majority": {
        "metric": "accuracy",
        "accuracy": 0.462,
        "gain": 0.33,
        "p_value": 1e-9,
        "beyond_noise": True,
    },
    "tfidf_logreg": {
        "metric": "accuracy",
        "accuracy": 0.796,
        "gain": -0.004,
        "p_value": 0.81,
        "beyond_noise": False,
    },
}
METRICS = {
    "test": REPORT, "baselines": BASELINES, "reload_check": {"rows": 500, "identical": 500},
    "train_seconds": 110.2, "best_epoch": 2, "epochs_run": 3, "task": "text-classification",
    "has_pairs": False,
}  # fmt: skip


def test_report():
    assert report_lines(REPORT) == [
        "test   accuracy 79.2 % (95 %: 75.4 to 82.6)   500 rows",
        "       macro-F1 74.8 %   calibration error 3.1 %",
        "       weakest label 'mixed' (F1 58), mostly taken for 'bad'",
    ]


def test_values_of_several_seeds():
    assert spread("accuracy", [0.75, 0.5, 0.625]) == "50.0 % to 75.0 %"
    assert spread("accuracy", [0.75]) == "" == spread("accuracy", [])
    assert between("perplexity", 3.5, 1234.0) == "3.5 to 1 234"
    assert headline({"metric": "macro_f1", "macro_f1": 0.5, "accuracy": 1.0}) == "macro-F1 50.0 %"


def test_a_label_without_fault_is_not_called_weakest():
    assert len(report_lines(REPORT | {"weakest_f1": 1.0})) == 2
    assert len(report_lines(REPORT | {"weakest_label": None, "weakest_f1": None})) == 2


def test_types_of_tags_are_shown_the_commonest_first():
    types = {
        f"type {n:02}": {"precision": 0.5, "recall": 0.4, "f1": n / 100, "support": 40 - n}
        for n in range(12)
    }
    few = dict(list(types.items())[:2])
    shown = report_lines({**REPORT, "types": few})
    assert "       F1 by type (known): type 00 0.0 (40)   type 01 1.0 (39)" in shown
    text = " ".join(" ".join(report_lines({**REPORT, "types": types})).split())
    assert "type 08 8.0 (32) type 09 9.0 (31) and 2 more with --json" in text


def test_the_strongest_baseline_comes_first_and_a_loss_is_said():
    assert baseline_lines(BASELINES) == [
        "       0.4 points below words + regression (79.6 %): within noise (p = 0.81)",
        ("       33.0 points above the commonest label (46.2 %): beyond noise (p < 0.0001)"),
    ]


def test_long_names_are_wrapped_at_80_columns():
    report = REPORT | {"weakest_label": "a" * 40, "weakest_taken_for": "b" * 40}
    lines = report_lines(report)
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80


def test_points_and_verdict():
    assert points("accuracy", 0.078) == "+7.8 points"
    assert points("entity_f1", -0.01) == "-1.0 points"
    assert points("perplexity", -1.234) == "1.23 worse"
    assert points("perplexity", 4.823) == "4.82 better", "though the perplexity fell"
    assert gains("accuracy", -0.012, 0.078) == "-1.2 to +7.8"
    assert gains("perplexity", -1.234, 4.823) == "-1.23 to +4.82"
    assert gains("perplexity", -0.0, 0.0) == "+0 to +0", "as no number is below 0 by nothing"
    assert verdict(True, 0.00041) == "beyond noise (p = 0.00041)"


def test_what_is_no_share_is_shown_as_it_is():
    report = {"metric": "perplexity", "perplexity": 21.34, "perplexity_ci": [20.9, 22.0], "n": 7}
    assert report_lines(report) == ["test   perplexity 21.3 (95 %: 20.9 to 22)   7 rows"]
    unigram = {
        "metric": "perplexity", "perplexity": 350.2, "gain": 328.9, "p_value": 0.001,
        "beyond_noise": True,
    }  # fmt: skip
    assert baseline_lines({"unigram": unigram}) == [
        "       329 better than unigram (350): beyond noise (p = 0.001)"
    ]


def test_the_end_says_what_to_do_next_with_names_that_a_shell_takes():
    lines = finished_text(METRICS, "runs/my reviews").split("\n")
    assert "check  reloaded in a fresh process: 500 of 500 predictions identical" in lines
    assert "time   1 min 50 s of training, best after epoch 2 of 3" in lines
    assert lines[-2:] == [
        "next   inlay predict 'runs/my reviews' \"a text of yours\"",
        "       inlay errors 'runs/my reviews'",
    ]


@pytest.mark.parametrize("number", range(1, 12))
def test_no_line_ends_between_a_name_and_its_value(number):
    others = {f"some_{'long_' * (n % 4)}metric_{n}": n / 100 for n in range(number)}
    report = {"metric": "accuracy", "accuracy": 0.5, "accuracy_ci": [0.4, 0.6], **others, "n": 9}
    lines = report_lines(report)
    for name, value in others.items():
        whole = f"{name.replace('_', ' ')} {100 * value:.1f} %"
        assert sum(whole in line for line in lines) == 1


@pytest.mark.parametrize(
    ("task", "settings", "rest"),
    [
        ("text-classification", {}, '"a text of yours"'),
        ("regression", {"has_pairs": True}, '"a text of yours" --pair "a second text"'),
        (
            "question-answering", {"has_pairs": True},
            '"a question of yours" --pair "a text that answers it"',
        ),
        ("multiple-choice", {}, "--input questions.jsonl"),
        (
            "masked-language-modelling", {},
            "\"a text with [MASK] where a word is missing\"  # or the base's own mask",
        ),
        ("joint", {"members": ["in tent", "b"]}, "\"a text of yours\" --member 'in tent'"),
    ],
)  # fmt: skip
def test_the_next_step_is_what_the_task_can_answer(task, settings, rest):
    given = {"has_pairs": False, "members": [], **settings}
    assert next_step("runs/a b", task, **given) == f"inlay predict 'runs/a b' {rest}"


def test_large_values_are_written_out():
    report = {"metric": "perplexity", "perplexity": 1442.3, "perplexity_ci": [1000, 1500], "n": 1}
    assert report_lines(report) == ["test   perplexity 1 442 (95 %: 1 000 to 1 500)   1 row"]


def test_the_number_of_programs_is_part_of_a_name():
    report = {"metric": "perplexity", "perplexity": 9.0, "perplexity_ci": [8.0, 9.5], "n": 3}
    assert report_lines({**report, "pass_at_10": 0.25})[1] == "       pass@10 25.0 %"
