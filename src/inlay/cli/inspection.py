"""The screen of `inlay inspect`: every line is a fact, a fault with its place, or what to do."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from inlay.cli import console
from inlay.cli.table import shorten
from inlay.data.inspection import FEW_ROWS, Inspection, inspect_dataset

_SHOWN = 5

_TRAINING_ALLOWS = 0.01
"""Share of unusable rows that `inlay train` takes without being told."""

_BASES = {
    "text-to-text": "an encoder-decoder",
    "text-generation": "a decoder",
    "masked-language-modelling": "a masked language model",
}
"""Tasks that the default base cannot do -> the base that each needs."""

_TARGETS = {
    "text-to-text": "another target",
    "text-generation": "another target",
    "question-answering": "another answer",
    "tagging": "other tags",
    "regression": "another score",
}
"""Task -> what a repeated text may have, where it is no other label."""

_WIDE = 60
"""Characters that are shown of a label; a target text may have many lines."""

_LABELLED = ("text-classification", "similarity")
"""Tasks in whose tables ids and labels that give themselves away are looked for."""

_OUT_OF_SCOPE = ("oos", "out-of-scope", "out_of_scope", "ood", "none-of-the-above")

_EMPTY_NAMES = ("nan", "null", "n/a", "#n/a")


def run_inspect(
    path: str,
    *,
    task: str | None,
    text_column: str | None,
    pair_column: str | None,
    label_column: str | None,
    columns: Mapping[str, str],
    label_map: Mapping[str, str],
    max_rejected: float,
    json_output: bool,
    out: Path | None,
) -> int:
    """Inspect, print, and write the report where asked.

    Returns:
        0, or 3 if training would refuse these rows, or more of them are unusable than
        `max_rejected` allows.
    """
    found = inspect_dataset(
        path, task=task, text_column=text_column, pair_column=pair_column,
        label_column=label_column, columns=columns, label_map=label_map,
    )  # fmt: skip
    too_many = len(found.rejected) > max_rejected * found.num_read
    if out is not None:
        _write(found, out)
    if json_output:
        console.put(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        console.put("\n".join(screen(found, max_rejected=max_rejected, label_map=label_map)))
    return 3 if too_many or found.problem is not None else 0


def screen(found: Inspection, *, max_rejected: float, label_map: Mapping[str, str]) -> list[str]:
    """Return the lines of the screen."""
    lines = _files(found)
    lines += [
        f"  {role:5} from column {_q(name)}{_size(found, role)}"
        for role, name in found.columns.items()
        if name is not None and not (role == "label" and found.labels)
    ]
    if found.labels:
        column = found.columns.get("label")
        place = " " if column is None else f"  label from column {_q(column)}"
        lines.append(f"{place}   {_labels(len(found.labels))}: {_counts(found.labels)}")
    lines += _rejected(found, max_rejected)
    lines += [f"!  {text}" for text in _warnings(found)]
    lines += [f"   {note}" for note in found.notes]
    if not found.ids and not found.telling and not found.leaks:
        has_labels = found.task in _LABELLED
        looked_at = "no id-like column, no label leaking into the text, " if has_labels else ""
        lines.append(f"ok {looked_at}no text in two splits")
    if found.problem is not None:
        return [*lines, f"x  training would stop: {found.problem}"]
    lines += ["", f"train with:  {_command(found, label_map)}"]
    if found.task in _BASES:
        lines.append(f"where BASE is {_BASES[found.task]}; `inlay pretrain` makes small ones")
    return lines


def _files(found: Inspection) -> list[str]:
    lines = []
    for record in found.files:
        form = record.encoding
        if record.separator is not None:
            names = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
            form += f", {names.get(record.separator, repr(record.separator))}"
        lines.append(
            f"{Path(record.path).name}   {_rows(record.rows_read)} = "
            f"{_number(record.rows_used)} used + {_number(record.rows_rejected)} rejected   {form}"
        )
    splits = ""
    if len(found.splits) > 1:
        splits = "   " + " / ".join(f"{_number(n)} {name}" for name, n in found.splits.items())
    lines.append(f"looks like {found.task.replace('-', ' ')}{splits}")
    return lines + [
        f"  or, with {_BASES[name]} as base, {name.replace('-', ' ')}: the base decides, or --task"
        for name in found.other_tasks
    ]


def _size(found: Inspection, role: str) -> str:
    lengths = found.lengths.get(role)
    if lengths is None:
        return ""
    return f"   median {_number(lengths.median)} words, longest {_number(lengths.longest)}"


def _counts(labels: Mapping[str, int]) -> str:
    total = sum(labels.values())
    shown = [
        f"{label} {_number(count)} ({count / total:.0%})" if number == 0
        else f"{label} {_number(count)}"
        for number, (label, count) in enumerate(list(labels.items())[:_SHOWN])
    ]  # fmt: skip
    more = len(labels) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _rejected(found: Inspection, max_rejected: float) -> list[str]:
    if not found.rejected:
        return []
    share = len(found.rejected) / max(1, found.num_read)
    many = len({row.file for row in found.rejected}) > 1
    lines = [f"x  {_rows(len(found.rejected))} unusable ({share:.1%})"]
    lines += [
        f"     {f'{row.file} ' if many else ''}line {row.line}: {row.reason}"
        for row in found.rejected[:_SHOWN]
    ]
    more = len(found.rejected) - _SHOWN
    if more > 0:
        lines.append(f"     and {more} more; all of them with --out FOLDER")
    if share > max_rejected:
        lines.append(
            f"     more than {max_rejected:.2%}: training stops unless you mend them or allow it"
        )
    return lines


def _warnings(found: Inspection) -> list[str]:
    texts = []
    for odd, usual in list(found.spellings.items())[:_SHOWN]:
        texts.append(
            f"label {_q(odd)} ({_rows(found.labels[odd])}) looks like {_q(usual)}:   "
            f"--map-label {_shell(f'{odd}={usual}')}"
        )
    if found.duplicates and found.example is not None:
        example = found.example
        verb = "repeats" if found.duplicates == 1 else "repeat"
        places = f"{example.first} and {example.second}"
        one, other = (_q(shorten(" ".join(label.split()), _WIDE)) for label in example.labels)
        differs = example.labels[0] != example.labels[1]
        what = _TARGETS.get(found.task, "another label")
        texts.append(
            f"{_rows(found.duplicates)} {verb} the text of an earlier one, {found.conflicts} with "
            f"{what}: {places}{f', {one} and {other}' if differs else ''}"
        )
    texts += [
        f"label {_q(name)} ({_rows(count)}) looks like a missing value"
        for name, count in found.labels.items()
        if name.casefold() in _EMPTY_NAMES
    ]
    texts += [
        f'label {_q(name)} ({_rows(count)}) looks like "none of the others":   '
        f"--task-option {_shell(f'out_of_scope={name}')} reports such rows apart"
        for name, count in found.labels.items()
        if found.task == "text-classification" and name.casefold() in _OUT_OF_SCOPE
    ]
    small = {name: n for name, n in found.small.items() if name not in found.spellings}
    if small:
        listed = ", ".join(f"{_q(name)} {n}" for name, n in list(small.items())[:_SHOWN])
        more = f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
        rare = f"labels with fewer than {FEW_ROWS} rows"
        if found.task == "tagging":  # a row may have a tag often
            rare = f"tags that occur less than {FEW_ROWS} times"
        texts.append(f"{rare}, hard to learn: {listed}{more}")
    texts += [f"column {_q(name)} has a different value in every row: an id" for name in found.ids]
    texts += [
        f"label {_q(name)} stands in nearly all of its texts and hardly elsewhere: leaking?"
        for name in found.telling
    ]
    for pair, count in found.leaks.items():
        second, first = pair.split("/")
        texts.append(f"{_rows(count)} of {second} are in {first} too, and flatter the score")
    return texts


def _command(found: Inspection, label_map: Mapping[str, str]) -> str:
    parts = ["inlay train", _shell(found.source)]
    if found.asked_task is not None:
        parts.append(f"--task {found.asked_task}")
    if found.task in _BASES:
        parts.append("--base BASE")
    own = ("text", "pair", "label") if found.task == "text-classification" else ()
    parts += [
        f"--{role}-column {_shell(column)}" if role in own
        else f"--column {_shell(f'{role}={column}')}"
        for role, column in found.named.items()
    ]  # fmt: skip
    parts += [
        f"--map-label {_shell(f'{odd}={usual}')}"
        for odd, usual in {**label_map, **found.spellings}.items()
    ]
    share = len(found.rejected) / max(1, found.num_read)
    if share > _TRAINING_ALLOWS:
        parts.append(f"--max-rejected {int(share * 100) + 1}%")
    return " ".join(parts)


def _write(found: Inspection, out: Path) -> None:
    """Write the report and the rejected rows into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    stem = Path(found.source).name or "data"
    report = out / f"{stem}.inspect.json"
    report.write_text(json.dumps(found.to_json(), indent=2, ensure_ascii=False), encoding="utf-8")
    console.tell(f"written: {report}")
    if found.rejected:
        rejected = out / f"{stem}.rejected.jsonl"
        lines = [json.dumps(row._asdict(), ensure_ascii=False) for row in found.rejected]
        rejected.write_text("\n".join(lines) + "\n", encoding="utf-8")
        console.tell(f"written: {rejected}")


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{_number(count)} rows"


def _labels(count: int) -> str:
    return "1 label" if count == 1 else f"{_number(count)} labels"


def _q(text: str) -> str:
    return f'"{text}"'


def _shell(text: str) -> str:
    """Quote a word for the shell where it needs it."""
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text) else "'" + text.replace("'", "'\\''") + "'"
