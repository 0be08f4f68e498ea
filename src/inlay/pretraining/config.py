"""The settings of a pretraining."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from inlay.errors import ConfigError, did_you_mean
from inlay.pretraining.corpus import DOCUMENTS, Corpus

OBJECTIVES = ("mlm", "clm", "denoise", "infill")
TOKENIZERS = ("bpe", "unigram")
PRECISIONS = ("auto", "float32", "bfloat16")

_CHOICES = {
    "objective": OBJECTIVES,
    "tokenizer": TOKENIZERS,
    "documents": DOCUMENTS,
    "precision": PRECISIONS,
}
_LEAST = {
    "steps": 1, "epochs": 1, "batch_size": 1, "eval_every": 1, "vocab_size": 1, "max_length": 8,
    "warmup": 0, "weight_decay": 0, "checkpoint_seconds": 0, "seed": 0,
}  # fmt: skip
_FRACTIONS = ("warmup", "weight_decay", "checkpoint_seconds")
_NO_PART_OF_A_RUN = ("corpus", "out", "checkpoint_seconds")
"""Settings that do not change what comes out; of the corpus, its content counts."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """Every setting; `None` stands for what suits the size.

    Attributes:
        corpus: Files and folders of text.
        objective: `mlm`, `clm`, `denoise` or `infill`.
        size: `tiny`, `small` or a `.json` file; says nothing if there is a base.
        out: The folder that the model is written to.
        base: Folder or name of a model to train on; it keeps its tokenizer.
        steps: Steps of the optimiser.
        epochs: Passes over the corpus, instead of steps.
        batch_size: Sequences of a step.
        learning_rate: Peak of a linear warm-up and a cosine decay.
        warmup: A fraction of the steps if below 1, else a number of steps.
        weight_decay: For weights with two or more dimensions.
        seed: Of weights, order, dropout and what is hidden.
        tokenizer: `bpe` or `unigram`.
        vocab_size: Tokens, at most.
        max_length: Tokens of a sequence.
        documents: What a document of a `.txt` file is: `paragraph`, `line` or `file`.
        text_columns: Columns of tables that are read; all that hold text if none is named.
        precision: `auto`, `float32` or `bfloat16`.
        eval_every: Steps from one evaluation to the next; a fifth of the steps if `None`.
        checkpoint_seconds: Seconds from one checkpoint to the next, at least.
    """

    corpus: tuple[str, ...]
    objective: str
    size: str
    out: str
    base: str | None = None
    steps: int | None = None
    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    seed: int = 1
    tokenizer: str = "bpe"
    vocab_size: int | None = None
    max_length: int | None = None
    documents: str = "paragraph"
    text_columns: tuple[str, ...] = ()
    precision: str = "auto"
    eval_every: int | None = None
    checkpoint_seconds: float = 30.0

    def check(self) -> None:
        """Refuse values that cannot be used.

        Raises:
            ConfigError: With the setting, what is allowed, and the nearest known value.
        """
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(
                    f"{name}={value!r} is not known. Known: {', '.join(allowed)}."
                    f"{did_you_mean(str(value), allowed)}"
                )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None:
                continue
            allowed_types = int | float if name in _FRACTIONS else int
            if not isinstance(value, allowed_types) or isinstance(value, bool):
                kind = "a number" if name in _FRACTIONS else "a whole number"
                raise ConfigError(f"{name}={value!r}: {kind} is needed.")
            if not value >= least:
                raise ConfigError(f"{name}={value}: {least} or more is needed.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ConfigError(f"learning_rate={self.learning_rate}: it must be above 0.")
        if self.steps is not None and self.epochs is not None:
            raise ConfigError(
                f"steps={self.steps} and epochs={self.epochs}: give one of them, as one follows "
                "from the other."
            )
        if self.base is not None and self.vocab_size is not None:
            raise ConfigError(
                f"vocab_size={self.vocab_size}: a base keeps its tokenizer; leave out vocab_size."
            )

    def digest(self, corpus: Corpus) -> str:
        """Hash what decides the result: settings, and the contents of the corpus."""
        settings: dict[str, Any] = dataclasses.asdict(self)
        for name in _NO_PART_OF_A_RUN:
            del settings[name]
        if self.size.endswith(".json") and Path(self.size).is_file():
            settings["size"] = hashlib.sha256(Path(self.size).read_bytes()).hexdigest()
        files = [[record.split, record.sha256] for record in corpus.files]
        text = json.dumps([settings, files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
