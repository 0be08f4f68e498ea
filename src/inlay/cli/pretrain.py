"""`inlay pretrain`: from plain text to a base that transformers loads."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.train_options import Precision

Corpus = Annotated[
    list[str],
    typer.Argument(metavar="CORPUS...", help="Text files, tables with text, or folders of them."),
]
Out = Annotated[Path, typer.Option(help="Folder that the model is written to.")]
Objective = Annotated[
    str, typer.Option(help="mlm, clm (next token), denoise (missing spans) or infill.")
]
Size = Annotated[str, typer.Option(help="tiny (1.1M weights), small (10M) or a .json file.")]
Base = Annotated[
    str | None, typer.Option(help="Train on this base: folder or name.", show_default="none")
]
Steps = Annotated[
    int | None, typer.Option(help="Steps.", show_default="300 for tiny, 2000 for small")
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the text, instead of steps.")]
BatchSize = Annotated[int, typer.Option(help="Sequences of a step.")]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak learning rate.", show_default="by size")
]
Seed = Annotated[int, typer.Option(help="Of weights, order, dropout and what is hidden.")]
Tokenizer = Annotated[str, typer.Option(help="bpe (of bytes) or unigram.")]
VocabSize = Annotated[
    int | None, typer.Option(help="Tokens, at most.", show_default="2048 for tiny, 16384 for small")
]
MaxLength = Annotated[
    int | None,
    typer.Option(help="Tokens of a sequence.", show_default="128 for tiny, 256 for small"),
]
Documents = Annotated[
    str, typer.Option(help="What a document of a .txt file is: paragraph, line or file.")
]
TextColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--text-column", metavar="NAME", help="Column of a table; may be given often.",
        show_default="all that hold text",
    ),
]  # fmt: skip
EvalEvery = Annotated[
    int | None, typer.Option(help="Steps between evaluations.", show_default="a fifth")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a pretraining in --out.")]


def pretrain(
    *,
    corpus: Corpus,
    out: Out,
    objective: Objective = "mlm",
    size: Size = "tiny",
    base: Base = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch_size: BatchSize = 16,
    learning_rate: LearningRate = None,
    seed: Seed = 1,
    tokenizer: Tokenizer = "bpe",
    vocab_size: VocabSize = None,
    max_length: MaxLength = None,
    documents: Documents = "paragraph",
    text_columns: TextColumns = None,
    precision: Precision = None,
    eval_every: EvalEvery = None,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Train a base on plain text, from nothing or from another base.

    The same command again goes on with one that was interrupted.
    """
    console.be_calm()
    from inlay.cli.progress import reporting
    from inlay.pretraining.pretrain import pretrain as run_pretraining

    with reporting() as reporter:
        made = run_pretraining(
            corpus, objective=objective, size=size, out=out, base=base, steps=steps,
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed,
            tokenizer=tokenizer, vocab_size=vocab_size, max_length=max_length,
            documents=documents, text_columns=text_columns or (),
            precision=precision or "auto", eval_every=eval_every, force=force, reporter=reporter,
        )  # fmt: skip
    if as_json:
        console.put(json.dumps(made.metrics, indent=2, ensure_ascii=False))
    else:
        console.tell()
        console.put(pretrained_text(made.metrics, str(made.folder)))
    return 0


def pretrained_text(metrics: Mapping[str, Any], folder: str) -> str:
    """Return the end of a pretraining: what was measured, files and what to do next."""
    held_out, free = metrics["held_out"], metrics["baselines"]
    lines = [
        (
            f"held-out perplexity {held_out['perplexity']:.1f} (before: "
            f"{held_out['perplexity_before']:.1f})"
        ),
        (
            f"       without a model: {free['unigram']['perplexity']:.1f} by frequency, "
            f"{wording.count(free['uniform']['perplexity'])} by chance"
        ),
        (
            f"time   {wording.duration(metrics['train_seconds'])} for "
            f"{wording.count(metrics['tokens_seen'])} tokens"
        ),
        f"files  {folder}",
        f"next   inlay train yourfile.csv --base {shlex.quote(folder)}",
    ]
    return "\n".join(lines)
