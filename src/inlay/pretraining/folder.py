"""The folder of a pretraining: a model that `transformers` loads, and how it came about."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, final

from transformers import AutoTokenizer
from transformers.utils import logging

from inlay.errors import RunError
from inlay.pretraining.config import PretrainConfig
from inlay.pretraining.corpus import Corpus
from inlay.store.atomic import folder_atomically, is_leftover
from inlay.training.claim import Claim
from inlay.training.run_folder import (
    CHECKPOINT_FOLDER,
    ENVIRONMENT_FILE,
    LOG_FILE,
    METRICS_FILE,
    RunFolder,
    claim_folder,
)

SETTINGS_FILE = "pretraining.json"

_OWN_FILES = (SETTINGS_FILE, METRICS_FILE, LOG_FILE, ENVIRONMENT_FILE)
_MODEL_FILES = (
    "config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip


@final
class Pretrained:
    """A finished pretraining.

    Args:
        folder: What `from_pretrained` loads.

    Raises:
        RunError: If the pretraining has not finished.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.metrics: dict[str, Any] = RunFolder(self.folder).read_json(METRICS_FILE)

    def __repr__(self) -> str:
        """Write it so that it can be pasted back."""
        return f"Pretrained({str(self.folder)!r})"


def take_folder(
    config: PretrainConfig, corpus: Corpus, *, force: bool
) -> tuple[RunFolder, bool, Claim]:
    """Claim the folder of a pretraining for this process.

    Returns:
        The folder; whether it holds the same pretraining unfinished, which then goes on; and the
        claim, to be released in the end.

    Raises:
        RunError: If the folder holds something else, or another process is writing it.
    """
    folder = RunFolder(Path(config.out).expanduser())
    if folder.path.exists() and not folder.path.is_dir():
        raise RunError(f"{folder.path} is a file; choose another --out.")
    is_new = not folder.path.exists() or all(
        is_leftover(path.name, _OWN_FILES) for path in folder.path.iterdir()
    )
    is_ours = (folder.path / SETTINGS_FILE).is_file()
    if not is_new and not is_ours:
        raise RunError(f"{folder.path} exists and holds no pretraining; choose another --out.")
    claim = claim_folder(folder)
    try:
        goes_on = is_ours and _goes_on(folder, config.digest(corpus), force=force)
        for path in folder.path.iterdir():
            if is_leftover(path.name, _OWN_FILES):
                path.unlink()
        if not goes_on:
            content = {"digest": config.digest(corpus), **dataclasses.asdict(config)}
            content["corpus_files"] = [dataclasses.asdict(record) for record in corpus.files]
            folder.write_json(SETTINGS_FILE, content)
    except BaseException:
        claim.release()
        raise
    return folder, goes_on, claim


def _goes_on(folder: RunFolder, digest: str, *, force: bool) -> bool:
    """Tell whether a folder holds the same pretraining unfinished; empty it if that is wanted."""
    is_same = folder.read_json(SETTINGS_FILE).get("digest") == digest
    if is_same and not folder.is_finished:
        return True
    has_work = folder.is_finished or any((folder.path / CHECKPOINT_FOLDER).glob("step-*"))
    if has_work and not force:
        what = "a finished pretraining" if folder.is_finished else "an unfinished pretraining"
        which = "" if folder.is_finished else " with other settings or other text"
        raise RunError(
            f"{folder.path} holds {what}{which}; choose another --out, or use --force to "
            "replace it."
        )
    shutil.rmtree(folder.path / CHECKPOINT_FOLDER, ignore_errors=True)
    for pattern in (*_OWN_FILES, *_MODEL_FILES):
        for path in folder.path.glob(pattern):
            path.unlink()
    return False


def keep_tokenizer(folder: RunFolder, tokenizer: Any) -> None:
    """Write the tokenizer beside the checkpoints, so that going on need not train it again."""
    with folder_atomically(_tokenizer_place(folder)) as temporary:
        tokenizer.save_pretrained(temporary)


def kept_tokenizer(folder: RunFolder) -> Any | None:
    """Return the tokenizer that was kept, or `None`."""
    place = _tokenizer_place(folder)
    return AutoTokenizer.from_pretrained(place) if place.is_dir() else None


def _tokenizer_place(folder: RunFolder) -> Path:
    return folder.path / CHECKPOINT_FOLDER / "tokenizer"


def write_model(folder: RunFolder, model: Any, tokenizer: Any) -> None:
    """Write model and tokenizer; `config.json`, without which nothing loads them, comes last."""
    place = folder.path / CHECKPOINT_FOLDER / "model"
    shows_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with folder_atomically(place) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    finally:
        if shows_bar:
            logging.enable_progress_bar()
    for path in sorted(place.iterdir(), key=lambda path: path.name == "config.json"):
        path.replace(folder.path / path.name)
