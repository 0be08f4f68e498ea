"""A run's numbers in words: what was measured, and whether it is more than noise."""

import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

from inlay.cli import wording

_BASELINES = {
    "majority": "the commonest label",
    "tfidf_logreg": "words + regression",
}


def report_lines(report: Mapping[str, Any], title: str = "test") -> list[str]:
    """Return the metrics of one split in two lines."""
    interval = " to ".join(f"{100 * end:.1f}" for end in report["accuracy_ci"])
    f1 = f"{100 * report['macro_f1']:.1f}"
    lines = [
        (
            f"{title:<6} accuracy {wording.percent(report['accuracy'])} "
            f"(95 %: {interval})   macro-F1 {f1}   {wording.plural(report['n'], 'row')}"
        ),
        f"       calibration error {wording.percent(report['calibration_error'])}",
    ]
    if report.get("weakest_label") is not None and report["weakest_f1"] < 0.995:
        taken = report.get("weakest_taken_for")
        mostly = f", mostly taken for {taken!r}" if taken is not None else ""
        text = f"weakest label {report['weakest_label']!r} (F1 {100 * report['weakest_f1']:.0f})"
        lines += textwrap.wrap(text + mostly, 80, initial_indent=" " * 7, subsequent_indent=" " * 7)
    return lines


def baseline_lines(baselines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each baseline: how far it is beaten, and whether that is noise."""
    lines = []
    for name, scores in sorted(baselines.items(), key=lambda item: -item[1]["accuracy"]):
        gain = 100 * scores["gain"]
        side = f"{abs(gain):.1f} points {'above' if gain >= 0 else 'below'}"
        lines.append(
            f"       {side} {_BASELINES.get(name, name)} "
            f"({wording.percent(scores['accuracy'])}): "
            f"{verdict(scores['beyond_noise'], scores['p_value'])}"
        )
    return lines


def points(difference: float) -> str:
    """Return a difference of two fractions as `+7.8 points`."""
    return f"{100 * difference:+.1f} points"


def verdict(is_beyond_noise: bool, p_value: float) -> str:  # noqa: FBT001
    """Say whether a difference is more than noise."""
    p = "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"
    return f"{'beyond noise' if is_beyond_noise else 'within noise'} ({p})"


def finished_text(metrics: Mapping[str, Any], folder: str) -> str:
    """Return the end of a training: results, check, files and what to do next."""
    check = metrics["reload_check"]
    run = shlex.quote(folder)
    lines = [
        *report_lines(metrics["test"]),
        *baseline_lines(metrics["baselines"]),
        (
            f"check  reloaded in a fresh process: {check['identical']} of {check['rows']} "
            "predictions identical"
        ),
        (
            f"time   {wording.duration(metrics['train_seconds'])} of training, best after epoch "
            f"{metrics['best_epoch']} of {metrics['epochs_run']}"
        ),
        f"files  {folder}",
        f'next   inlay predict {run} "a text of yours"',
        f"       inlay errors {run}",
    ]
    return "\n".join(lines)
