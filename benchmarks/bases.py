"""The bases of `benchmarks.generation`: made by `inlay pretrain` from the text in the data folder.

    python -m benchmarks.bases decoder --bases BASES

A base that is there already is not made again.
"""

import argparse
import gzip
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inlay
from inlay.training.run_folder import METRICS_FILE

NOVELS = 4_000_000
"""Characters of English novels that the encoder-decoder reads."""


def write_english(folder: Path, root: Path) -> None:
    """Write all English novels and what there is of encyclopaedia and science, a line a document.

    Of wikitext, whose two splits are for evaluation, both are learnt from here.
    """
    for split in ("train", "validation"):
        parts: list[Iterable[str]] = [running(root / "text_en_novels", split, -1)]
        parts += (
            fields(root / data, split, "context") for data in ("squadshifts_wiki", "squad_v2_half")
        )
        if split == "train":
            parts.append(fields(root / "sum_scitldr", split, "source"))
            parts += (running(root / "text_wikitext2_eval", own, -1) for own in _EVALUATION)
        write_lines(folder / f"{split}.txt", parts)


def write_mixed(folder: Path, root: Path) -> None:
    """Write English novels, Chinese encyclopaedia, and the sources of three tasks without answers.

    A document is a line. Of the tasks only the sources of train are learnt from.
    """
    for split, share in (("train", 1.0), ("validation", 0.02)):
        parts: list[Iterable[str]] = [
            running(root / "text_en_novels", split, int(NOVELS * share)),
            running(root / "text_zh_wiki", split, int(NOVELS * share / 4)),
        ]
        for data in ("sum_scitldr", "qg_squad_sentences", "mt_tatoeba_en_zh"):
            found = fields(root / data, split, "source")
            parts.append(found if split == "train" else itertools.islice(found, 100))
        write_lines(folder / f"{split}.txt", parts)


_EVALUATION = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a base is made of.

    Attributes:
        corpus: Writes the text, a file for each split, to a folder.
        settings: Of `inlay.pretrain`.
        config: Fields of its configuration, if it is made from nothing.
        start: The base that it goes on from.
    """

    corpus: Callable[[Path, Path], None]
    settings: dict[str, Any]
    config: dict[str, Any] | None = None
    start: str | None = None


_INFILLING = {
    "objective": "infill", "batch_size": 16, "max_length": 128, "eval_every": 1000,
    "documents": "line",
}  # fmt: skip

RECIPES = {
    "decoder": Recipe(
        corpus=write_english,
        config={
            "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 4, "intermediate_size": 344, "vocab_size": 4096,
            "max_position_embeddings": 256, "tie_word_embeddings": True,
        },
        settings={
            "objective": "clm", "batch_size": 8, "max_length": 256, "learning_rate": 4e-3,
            "steps": 9000, "eval_every": 1500, "documents": "line",
        },
    ),
    "encoder_decoder": Recipe(
        corpus=write_mixed, start="encoder_decoder_begun",
        settings=_INFILLING | {"learning_rate": 2e-3, "steps": 4000},
    ),
    "encoder_decoder_long": Recipe(
        corpus=write_mixed, start="encoder_decoder",
        settings=_INFILLING | {"learning_rate": 2e-3, "steps": 10000},
    ),
    "encoder_decoder_begun": Recipe(
        corpus=write_mixed,
        config={
            "model_type": "pegasus", "d_model": 128, "encoder_layers": 2, "decoder_layers": 2,
            "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 512,
            "decoder_ffn_dim": 512, "dropout": 0.0, "scale_embedding": True, "vocab_size": 6144,
            "max_position_embeddings": 256, "forced_eos_token_id": None,
        },
        settings=_INFILLING | {"learning_rate": 3e-3, "steps": 5000},
    ),
}  # fmt: skip


def main() -> None:
    """Make one base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--bases", type=Path, required=True, help="folder for bases")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print(make(options.name, options.bases, options.data_root))


def make(name: str, bases: Path, root: Path) -> Path:
    """Return the folder of a base, which is made if it is not there."""
    recipe, out = RECIPES[name], bases / name
    if (out / METRICS_FILE).is_file():
        return out
    bases.mkdir(parents=True, exist_ok=True)
    corpus = bases / f"{name}_corpus"
    corpus.mkdir(exist_ok=True)
    recipe.corpus(corpus, root)
    if recipe.start is None:
        config = bases / f"{name}.json"
        config.write_text(json.dumps(recipe.config), encoding="utf-8")
        begin: dict[str, Any] = {"size": config}
    else:
        begin = {"base": make(recipe.start, bases, root)}
    made = inlay.pretrain(corpus, out=out, **begin, **recipe.settings)
    print(json.dumps(made.metrics["held_out"]))
    return out


def write_lines(path: Path, parts: Iterable[Iterable[str]]) -> None:
    """Write documents one after the other, a line each."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in itertools.chain(*parts))


def running(folder: Path, split: str, characters: int) -> list[str]:
    """Return the first lines of running text, or all of them for -1."""
    with gzip.open(folder / f"{split}.txt.gz", "rt", encoding="utf-8") as file:
        return [line for line in file.read(characters).splitlines() if line.strip()]


def fields(folder: Path, split: str, name: str) -> Iterable[str]:
    """Return the different texts in one field of a data set, without line breaks."""
    with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [" ".join(json.loads(line)[name].split()) for line in file]
    return dict.fromkeys(found)


if __name__ == "__main__":
    main()
