"""Splits that are missing are made: stratified, seeded, and with equal texts kept together."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from inlay.data.rows import SPLITS, Example
from inlay.errors import DataError

_SHARE = 0.1


def text_key(text: str, pair: str | None) -> str:
    r"""Return what two rows with the same texts share: lower case, white space collapsed.

    Example:
        >>> text_key("My  Card\n", None)
        'my card'
    """
    key = " ".join(text.lower().split())
    # A line feed cannot occur in a key, so a pair never equals a single text.
    return key if pair is None else f"{key}\n{' '.join(pair.lower().split())}"


def group_of(row: Example) -> str:
    """Return the text key of a row."""
    return text_key(row.text, row.pair)


def label_of(row: Example) -> str:
    """Return the label of a row."""
    return row.label


def complete_splits(
    found: dict[str, list[Example]],
    *,
    seed: int,
    group: Callable[[Example], str] = group_of,
    stratum: Callable[[Example], str] = label_of,
) -> tuple[dict[str, list[Example]], list[str]]:
    """Return all three splits, taking those that are missing from train.

    Args:
        found: The splits that are there, "train" among them.
        seed: Draws the rows; the order of rows and files has no influence.
        group: Gives what rows that must stay in one split share.
        stratum: Gives what the splits keep in proportion.

    Returns:
        The splits, rows in their first order, and a sentence for each split made.

    Raises:
        DataError: If there are too few different texts to fill a split.
    """
    missing = [split for split in ("validation", "test") if not found.get(split)]
    if not missing:
        return {split: found[split] for split in SPLITS}, []
    shares = dict.fromkeys(missing, _SHARE)
    parts = take_shares(found["train"], shares, seed=seed, group=group, stratum=stratum)
    is_stratified = len({stratum(row) for row in found["train"]}) > 1
    how = "stratified by label, " if is_stratified else ""
    notes = []
    for split in missing:
        if not parts[split]:
            raise DataError(
                f"too few different texts to take a {split} split from: "
                f"{len(found['train'])} rows. Add rows, or give a {split} file."
            )
        notes.append(
            f"{split} split made: 10 % of train ({len(parts[split])} rows), {how}"
            f"equal texts kept together, seed {seed}."
        )
    return {split: parts.get(split) or found[split] for split in SPLITS}, notes


def take_shares(
    rows: Sequence[Example],
    shares: dict[str, float],
    *,
    seed: int,
    group: Callable[[Example], str] = group_of,
    stratum: Callable[[Example], str] = label_of,
) -> dict[str, list[Example]]:
    """Divide rows into shares and the rest ("train"), each label in proportion.

    Rows with equal texts go to one part, and each label keeps at least one text in "train".

    Args:
        rows: The rows to divide.
        shares: From a part's name to its fraction in (0, 1).
        seed: Draws the rows; their order has no influence.
        group: Gives what rows that must stay in one part share.
        stratum: Gives what the parts keep in proportion.
    """
    keys = [group(row) for row in rows]
    sizes = Counter(keys)
    labels_of: dict[str, list[str]] = defaultdict(list)
    for key, row in zip(keys, rows, strict=True):
        labels_of[key].append(stratum(row))
    groups: dict[str, list[str]] = defaultdict(list)
    for key, labels in labels_of.items():
        groups[min(labels) if len(labels) > 1 else labels[0]].append(key)
    part_of: dict[str, str] = {}
    owed = dict.fromkeys(shares, 0.0)
    for label in sorted(groups):
        order = sorted(groups[label], key=lambda key: (_draw(key, seed), key))
        num_rows = sum(sizes[key] for key in order)
        spare = len(order) - 1
        for part, share in shares.items():
            # What rounding left over is carried to the next label, so that totals come out.
            owed[part] += share * num_rows
            for key in [key for key in order if key not in part_of]:
                if spare == 0 or owed[part] < 0.5:
                    break
                if sizes[key] <= owed[part] + 0.5:
                    part_of[key] = part
                    owed[part] -= sizes[key]
                    spare -= 1
    _keep_every_label([stratum(row) for row in rows], keys, part_of)
    parts: dict[str, list[Example]] = {"train": [], **{part: [] for part in shares}}
    for key, row in zip(keys, rows, strict=True):
        parts[part_of.get(key, "train")].append(row)
    return parts


def count_leaks(splits: dict[str, list[Example]]) -> dict[str, int]:
    """Return how many rows of one split have a text that another split has as well.

    Args:
        splits: The splits, in the order train, validation, test.

    Returns:
        From "test/train" to the rows of test whose text is in train; pairs without are left out.
    """
    keys = {
        name: Counter(text_key(row.text, row.pair) for row in rows) for name, rows in splits.items()
    }
    names = [name for name in SPLITS if name in keys]
    leaks = {}
    for index, second in enumerate(names):
        for first in names[:index]:
            shared = sum(count for key, count in keys[second].items() if key in keys[first])
            if shared:
                leaks[f"{second}/{first}"] = shared
    return leaks


def describe_leaks(leaks: dict[str, int]) -> list[str]:
    """Return a sentence for each pair of splits that share texts."""
    notes = []
    for pair, rows in leaks.items():
        second, first = pair.split("/")
        count = "1 row of" if rows == 1 else f"{rows} rows of"
        has = "has a text that is" if rows == 1 else "have texts that are"
        notes.append(
            f"{count} {second} {has} in {first} too: they are kept, and flatter the score."
        )
    return notes


def classes_of(row: Example) -> Sequence[str]:
    """Return the one class of a labelled row."""
    return (row.label,)


def drop_unseen(
    splits: dict[str, list[Example]],
    *,
    drops: bool,
    classes: Callable[[Example], Sequence[str]] = classes_of,
) -> tuple[dict[str, list[Example]], int, list[str]]:
    """Remove rows whose label train does not have, or refuse them.

    Args:
        splits: The splits.
        drops: Whether to remove them.
        classes: Gives the classes of a row.

    Returns:
        The splits, how many rows were removed, and sentences about it.

    Raises:
        DataError: If there are such rows and they are not to be removed.
    """
    seen = {label for row in splits["train"] for label in classes(row)}
    kept, dropped, notes = dict(splits), 0, []
    for split in SPLITS[1:]:
        rows = splits.get(split, [])
        unseen = Counter(label for row in rows for label in classes(row) if label not in seen)
        if not unseen:
            continue
        if not drops:
            raise DataError(_word_unseen(split, unseen.most_common()))
        kept[split] = [row for row in rows if all(label in seen for label in classes(row))]
        lost = len(rows) - len(kept[split])
        dropped += lost
        names = ", ".join(f'"{label}" ({_rows(count)})' for label, count in unseen.most_common(8))
        notes.append(f"{_rows(lost)} of {split} dropped, label not in train: {names}.")
        if not kept[split]:
            raise DataError(f"no row of {split} has a label that train has: {names}.")
    return kept, dropped, notes


def _word_unseen(split: str, unseen: list[tuple[str, int]]) -> str:
    listed = ", ".join(f'"{label}" ({_rows(rows)})' for label, rows in unseen[1:6])
    more = f", and so do {listed}" if listed else ""
    more += f" and {len(unseen) - 6} more" if len(unseen) > 6 else ""
    label, rows = unseen[0]
    return (
        f'label "{label}" occurs in {split} ({_rows(rows)}) but not in train{more}. '
        "Add rows or --drop-unseen-labels"
    )


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def _keep_every_label(labels: Sequence[str], keys: Iterable[str], part_of: dict[str, str]) -> None:
    """Give train back a text of each label that it lost to a group of mixed labels."""
    texts: dict[str, list[str]] = defaultdict(list)
    for key, label in zip(keys, labels, strict=True):
        texts[label].append(key)
    for label in sorted(texts):
        if all(key in part_of for key in texts[label]):
            del part_of[min(texts[label])]


def _draw(key: str, seed: int) -> bytes:
    content = f"{seed}\n{key}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=8).digest()
