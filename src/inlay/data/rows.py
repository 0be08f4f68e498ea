"""What every reader returns: examples, rejected rows, the record of each file, and the data set."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

SPLITS = ("train", "validation", "test")


class Example(NamedTuple):
    """One usable row: its text, the second text of a pair, its label and where it stood.

    Where a label does not say all that is to be learnt, `parts` holds the rest as plain data: what
    it is depends on the form of the rows (`inlay.data.forms`), and `label` says it in words.
    """

    text: str
    pair: str | None
    label: str
    file: str
    line: int
    parts: dict[str, Any] | None = None


class Rejected(NamedTuple):
    """One row that cannot be used: where it stood, why, and the text as it was in the file."""

    file: str
    line: int
    reason: str
    raw: str


@final
@dataclass(kw_only=True, slots=True)
class FileRecord:
    """What was read from one file; `rows_read` is always `rows_used + rows_rejected`.

    Args:
        path: The file as it was found.
        sha256: Of the bytes on disk; of a folder of texts, over all names and contents.
        rows_read: Rows in the file, without header and blank lines.
        rows_used: Rows that became examples.
        rows_rejected: Rows that did not.
        encoding: How the bytes were decoded: "utf-8", "utf-16-le", "parquet".
        separator: Between columns; `None` where the format has none.
    """

    path: str
    sha256: str
    rows_read: int
    rows_used: int
    rows_rejected: int
    encoding: str
    separator: str | None


@final
@dataclass(kw_only=True, slots=True)
class Dataset:
    """Labelled texts in three splits, with a record of everything that was decided.

    Args:
        name: The file's stem, the folder's name, or the name that was asked for.
        splits: Examples under "train", "validation" and "test".
        labels: The names of the classes, sorted; an index into this list is the class index.
        columns: From role ("text", "pair", "label") to the column's name, `None` where absent.
        files: One record for each file read.
        rejected: Every row that could not be used.
        notes: What was decided, in sentences: "test split made: 10 % of train, seed 42".
        made_splits: Whether a split was made here rather than found.
        label_map: Labels renamed on reading, as they were asked for.
        split_seed: What the made splits were drawn with.
        dropped_unseen: Rows left out because their label does not occur in train.
        leaked: Rows whose text occurs in another split as well, by "split/other split".
        form: The form of the rows, see `inlay.data.forms`.
        members: The data sets that this one is made of, see `inlay.data.joint`.
    """

    name: str
    splits: dict[str, list[Example]]
    labels: list[str]
    columns: dict[str, str | None]
    files: list[FileRecord]
    rejected: list[Rejected]
    notes: list[str]
    made_splits: bool
    label_map: dict[str, str] = field(default_factory=dict)
    split_seed: int = 42
    dropped_unseen: int = 0
    leaked: dict[str, int] = field(default_factory=dict)
    form: str = "labelled"
    members: Any = None

    @property
    def has_pairs(self) -> bool | None:
        """Whether rows of train have a second text; `None` if some have and some have not."""
        found = {row.pair is not None for row in self.splits["train"]}
        return found.pop() if len(found) == 1 else None

    def to_record(self) -> dict[str, Any]:
        """Return what `data.json` of a run holds: hashes, counts that add up, and row ids.

        Returns:
            A new dictionary of JSON values. `rows.read` is `rows.used + rows.rejected`, and
            `rows.used` is the sum of `splits` plus `rows.dropped_unseen_labels`.
        """
        return {
            "name": self.name,
            "form": self.form,
            "files": [
                {name: getattr(record, name) for name in FileRecord.__dataclass_fields__}
                for record in self.files
            ],
            "rows": {
                "read": sum(record.rows_read for record in self.files),
                "used": sum(record.rows_used for record in self.files),
                "rejected": sum(record.rows_rejected for record in self.files),
                "dropped_unseen_labels": self.dropped_unseen,
            },
            "rejected": [row._asdict() for row in self.rejected],
            "columns": dict(self.columns),
            "labels": list(self.labels),
            "label_map": dict(self.label_map),
            "splits": {name: len(rows) for name, rows in self.splits.items()},
            "made_splits": self.made_splits,
            "split_seed": self.split_seed,
            "leaked": dict(self.leaked),
            "row_ids": {
                name: [f"{row.file}:{row.line}" for row in rows]
                for name, rows in self.splits.items()
            },
            "notes": list(self.notes),
        }
