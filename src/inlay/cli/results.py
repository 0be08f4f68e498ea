"""A run's numbers in words: what was measured, and whether it is more than noise."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from inlay.cli import wording

_NAMES = {
    "majority": "the commonest label",
    "commonest_set": "the commonest labels",
    "tfidf_logreg": "words + regression",
    "tfidf_ridge": "words + regression",
    "mean": "the mean of train",
    "first_choice": "the first choice",
    "shared_words": "the choice that shares most words",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "entity_f1": "entity F1",
    "f1": "F1",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "bleu": "BLEU",
    "chrf": "chrF",
    "answerable_f1": "answerable F1",
    "no_answer_f1": "no-answer F1",
    "r_squared": "R²",
    "out_of_scope_recall": "out-of-scope recall",
    "out_of_scope_precision": "out-of-scope precision",
    "out_of_scope_auroc": "out-of-scope AUROC",
    "in_scope_accuracy": "in-scope accuracy",
}
"""Names in files -> names on screens, where an underscore for a space is not enough."""

_PLAIN = (
    "perplexity", "log_loss", "mse", "mae", "matthews", "pearson", "spearman", "r_squared",
    "threshold",
)  # fmt: skip
"""Metrics that are no shares, shown as they are."""

_TYPES = 10
"""Types of tags whose scores are shown."""


def title(name: str) -> str:
    """Return a metric's or baseline's name for people.

    Example:
        >>> title("macro_f1"), title("calibration_error")
        ('macro-F1', 'calibration error')
    """
    if name.startswith("pass_at_"):
        return name.replace("pass_at_", "pass@")
    return _NAMES.get(name, name.replace("_", " "))


def is_share(name: str) -> bool:
    """Tell whether a metric is shown in per cent."""
    return name not in _PLAIN


def number(name: str, value: float) -> str:
    """Return a metric's value: shares in per cent, others as they are."""
    return wording.percent(value) if is_share(name) else _plain(value)


def between(name: str, low: float, high: float) -> str:
    """Return a range of a metric's values."""
    return f"{number(name, low)} to {number(name, high)}"


def spread(name: str, values: Sequence[float]) -> str:
    """Return from where to where several values of a metric go; nothing for less than two."""
    return between(name, min(values), max(values)) if len(values) > 1 else ""


def headline(report: Mapping[str, Any]) -> str:
    """Return the metric that a report is about, with its value."""
    name = report["metric"]
    return f"{title(name)} {number(name, report[name])}"


def _plain(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 999.5 else wording.count(value)


def report_lines(report: Mapping[str, Any], split: str = "test") -> list[str]:
    """Return the metrics of one split: the headline with its interval, then the others."""
    name = report["metric"]
    low, high = (number(name, end).removesuffix(" %") for end in report[f"{name}_ci"])
    lines = [
        f"{split:<6} {headline(report)} (95 %: {low} to {high})   "
        f"{wording.plural(report['n'], 'row')}"
    ]
    others = [
        f"{title(key)} {number(key, value)}".replace(" ", wording.HELD)
        for key, value in report.items()
        if isinstance(value, float) and key not in (name, "weakest_f1")
    ]
    lines += _wrapped("   ".join(others))
    if report.get("types"):
        lines += _wrapped(_by_type(report["types"]))
    if report.get("weakest_label") is not None and report["weakest_f1"] < 0.995:
        taken = report.get("weakest_taken_for")
        mostly = f", mostly taken for {taken!r}" if taken is not None else ""
        text = f"weakest label {report['weakest_label']!r} (F1 {100 * report['weakest_f1']:.0f})"
        lines += _wrapped(text + mostly)
    return lines


def _by_type(types: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the F1 of each type of tag and how often it is known, the commonest first."""
    ranked = sorted(types.items(), key=lambda item: (-item[1]["support"], item[0]))
    shown = [
        f"{kind} {100 * score['f1']:.1f} ({wording.count(score['support'])})".replace(
            " ", wording.HELD
        )
        for kind, score in ranked[:_TYPES]
    ]
    more = f"   and {len(ranked) - _TYPES} more with --json" if len(ranked) > _TYPES else ""
    return f"F1 by type (known): {'   '.join(shown)}{more}"


def _wrapped(text: str) -> list[str]:
    return wording.wrap(text, 80, first=" " * 7, rest=" " * 7)


def baseline_lines(baselines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each baseline: how far it is beaten, and whether that is noise."""
    lines = []
    for name, scores in sorted(baselines.items(), key=lambda item: item[1]["gain"]):
        metric = scores["metric"]
        gain = scores["gain"]
        if metric in _PLAIN:
            side = f"{points(metric, gain)} than"
        else:
            side = f"{100 * abs(gain):.1f} points {'above' if gain >= 0 else 'below'}"
        lines.append(
            f"       {side} {title(name)} ({number(metric, scores[metric])}): "
            f"{verdict(scores['beyond_noise'], scores['p_value'])}"
        )
    return lines


def points(metric: str, gain: float) -> str:
    """Return how much better a value is: `+7.8 points`, or `1.23 worse` where it is no share.

    A perplexity gets better as it falls, so that a sign alone would not tell.

    Args:
        metric: Its name.
        gain: By how much the value is better; below 0 if it is worse.
    """
    if metric in _PLAIN:
        return f"{_plain(abs(gain))} {'better' if gain >= 0 else 'worse'}"
    return f"{100 * gain:+.1f} points"


def gains(metric: str, low: float, high: float) -> str:
    """Return a range of how much better a value is, without a unit: `-1.0 to +7.8`."""
    factor, digits = (1, "+.3g") if metric in _PLAIN else (100, "+.1f")
    # A perplexity's gain is a negated difference, and nothing at all would read -0.
    return f"{factor * low + 0.0:{digits}} to {factor * high + 0.0:{digits}}"


def verdict(is_beyond_noise: bool, p_value: float) -> str:  # noqa: FBT001
    """Say whether a difference is more than noise."""
    p = "p < 0.0001" if p_value < 0.0001 else f"p = {p_value:.2g}"
    return f"{'beyond noise' if is_beyond_noise else 'within noise'} ({p})"


def next_step(folder: str, task: str | None, *, has_pairs: bool, members: Sequence[str]) -> str:
    """Return the command that asks an adapter something, with all that its task needs.

    Args:
        folder: Of the run or the adapter.
        task: Its task's name.
        has_pairs: Whether it has learnt from pairs of texts.
        members: Names of the tasks that were learnt together, if several.
    """
    command = f"inlay predict {shlex.quote(folder)}"
    if members:
        return f'{command} "a text of yours" --member {shlex.quote(members[0])}'
    if task == "question-answering":
        return f'{command} "a question of yours" --pair "a text that answers it"'
    if task == "multiple-choice":
        return f"{command} --input questions.jsonl"
    if task == "masked-language-modelling":
        return f'{command} "a text with [MASK] where a word is missing"  # or the base\'s own mask'
    second = ' --pair "a second text"' if has_pairs else ""
    return f'{command} "a text of yours"{second}'


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
        "next   "
        + next_step(
            folder,
            metrics["task"],
            has_pairs=metrics.get("has_pairs", False),
            members=list(metrics["test"].get("tasks", ())),
        ),
        f"       inlay errors {run}",
    ]
    return "\n".join(lines)
