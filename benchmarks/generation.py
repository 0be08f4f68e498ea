"""Generation on bases that `inlay pretrain` made here: adapter, full fine-tuning, free baselines.

    python -m benchmarks.generation --bases BASES [--data NAME] [--seeds 1,2,3]

The bases are those of `benchmarks.bases`, which are made if they are not there. Of each set the
rows of train, validation and test are spread evenly; of running text it is the begin. The adapter
runs with the settings in `ADAPTERS`; full fine-tuning runs with the rate that is best on
validation, tried with seed 1.

Each run is one line of `results/generation.jsonl`, and a run that is there already is not repeated.
`--table` only writes the table.
"""

import argparse
import gzip
import platform
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import inlay
from benchmarks.bases import make
from benchmarks.result_lines import Result, ResultLines, spread
from inlay.training import finish

RESULTS = ResultLines("generation")
PASSAGE = 900
"""Characters of running text that count as a row."""
FULL_RATES = (2.5e-4, 5e-4, 1e-3, 2e-3)
_TO_TEXT = {
    "method": "lora[rank=16,alpha=16,dropout=0.1]", "at": "linear", "layers": "all",
    "learning_rate": 1.5e-3,
}  # fmt: skip
ADAPTERS: dict[str, dict[str, Any]] = {
    "decoder": {
        "method": "lora[rank=32,alpha=32,dropout=0.2]", "at": "linear, lm_head", "layers": "all",
        "learning_rate": 1e-3,
    },
    "encoder_decoder": _TO_TEXT,
    "encoder_decoder_long": _TO_TEXT,
}  # fmt: skip
"""Base -> settings of the adapter, chosen on the validation rows of the base's first set."""


@dataclass(frozen=True, kw_only=True)
class Set:
    """What is taken of a data set, and how an answer is written."""

    data: str
    base: str
    rows: int
    test_rows: int
    epochs: int
    metrics: tuple[str, ...]
    batch_size: int = 4
    max_length: int = 256
    options: dict[str, Any] = field(default_factory=dict)


_GREEDY = {"max_new_tokens": 32, "no_repeat_ngram_size": 3}
_WRITING = {"num_beams": 4, **_GREEDY}
SETS = (
    *(
        Set(
            data=data, base="decoder", rows=rows, test_rows=80, epochs=8, metrics=("perplexity",)
        )
        for data, rows in (
            ("text_us_speeches", 40), ("text_us_speeches", 150), ("text_tinyshakespeare", 40)
        )
    ),
    Set(
        data="gsm8k", base="decoder", rows=400, test_rows=60, epochs=4,
        metrics=("perplexity", "exact_match"),
    ),
    Set(
        data="code_mbpp", base="decoder", rows=371, test_rows=60, epochs=4,
        metrics=("perplexity", "exact_match"),
    ),
    Set(
        data="qg_squad_sentences", base="encoder_decoder", rows=10_532, test_rows=500, epochs=3,
        metrics=("rouge_l", "bleu", "chrf"), batch_size=16, max_length=64, options=_WRITING,
    ),
    Set(
        data="mt_tatoeba_en_zh", base="encoder_decoder", rows=10_000, test_rows=500, epochs=3,
        metrics=("rouge_l", "bleu", "chrf"), batch_size=16, max_length=48, options=_WRITING,
    ),
    Set(
        data="sum_scitldr", base="encoder_decoder", rows=1988, test_rows=300, epochs=4,
        metrics=("rouge_l", "bleu", "chrf"), batch_size=16, max_length=250, options=_WRITING,
    ),
    Set(
        data="qg_squad_sentences", base="encoder_decoder_long", rows=10_532, test_rows=1500,
        epochs=5, metrics=("rouge_l", "bleu", "chrf"), batch_size=16, max_length=64,
        options=_GREEDY,
    ),
    Set(
        data="sum_scitldr", base="encoder_decoder_long", rows=1988, test_rows=600, epochs=6,
        metrics=("rouge_l", "bleu", "chrf"), batch_size=16, max_length=250, options=_GREEDY,
    ),
)  # fmt: skip


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", type=Path, help="folder for bases")
    parser.add_argument("--data", help="only one set")
    parser.add_argument("--base", help="only one base, by its name")
    parser.add_argument("--methods", default="adapter,full")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    # Tests see to it that saved adapters reload; here it would take longer than many a training.
    finish.check_reload = lambda *given: {"rows": 0}
    for own in () if options.table else SETS:
        if options.data in (None, own.data) and options.base in (None, own.base):
            for seed in map(int, options.seeds.split(",")):
                for method in options.methods.split(","):
                    for rate in rates(own, method, seed):
                        run_one(own, method, rate, seed, options)
    write_table()


def rates(own: Set, method: str, seed: int) -> tuple[float | None, ...]:
    """Return the rates to run: the method's default, or for `full` those to choose from."""
    if method != "full":
        return (None,)
    return FULL_RATES if seed == 1 else (best_rate(own),)


def best_rate(own: Set) -> float | None:
    """Return the rate of `full` that was best on validation, of those that have been run."""
    tried = RESULTS.by_rate(lambda rate: key_of(own, "full", rate, 1))
    return min(tried, key=lambda rate: tried[rate], default=None)


def key_of(own: Set, method: str, rate: float | None, seed: int) -> Result:
    """Return what tells a run from others."""
    return {
        "data": own.data, "base": own.base, "rows": own.rows, "epochs": own.epochs,
        "method": "full" if method == "full" else ADAPTERS[own.base]["method"],
        "rate": rate if method == "full" else ADAPTERS[own.base]["learning_rate"], "seed": seed,
    }  # fmt: skip


def run_one(own: Set, method: str, rate: float | None, seed: int, options: Any) -> None:
    """Run once, unless it is in the results file."""
    key = key_of(own, method, rate, seed)
    if RESULTS.has(key):
        return
    base = make(own.base, options.bases, options.data_root)
    full = {"method": "full", "learning_rate": rate}
    settings = full if method == "full" else ADAPTERS[own.base]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / own.data
        write_rows(own, options.data_root, source)
        metrics = inlay.train(
            str(source), base=str(base), seed=seed, epochs=own.epochs, **settings,
            batch_size=own.batch_size, max_length=own.max_length, task_options=own.options,
            out=str(Path(folder) / "run"),
        ).metrics  # fmt: skip
    test, name = metrics["test"], own.metrics[0]
    result = {
        "key": key, "rate": metrics["learning_rate"], "at": metrics["at"],
        "layers": metrics["layers"],
        "test": {metric: test[metric] for metric in own.metrics},
        "interval": test[f"{name}_ci"], "test_rows": test["n"],
        "validation": metrics["validation"]["perplexity" if name == "perplexity" else "loss"],
        "baselines": metrics["baselines"],
        "share": metrics["adapter_parameters"] / metrics["total_parameters"],
        "best_epoch": metrics["best_epoch"], "seconds": metrics["train_seconds"],
    }  # fmt: skip
    RESULTS.add(result)
    print(key, result["test"], "validation", round(result["validation"], 4), flush=True)


def write_rows(own: Set, root: Path, folder: Path) -> None:
    """Write the rows of each split that a run sees; validation has as many as test."""
    folder.mkdir()
    for split in ("train", "validation", "test"):
        number = own.rows if split == "train" else own.test_rows
        path = next((root / own.data).glob(f"{split}.*.gz"))
        with gzip.open(path, "rt", encoding="utf-8") as file:
            if path.name.endswith(".txt.gz"):
                content = file.read(number * PASSAGE)
            else:  # sorted by article in some sets, so spread evenly
                lines = file.readlines()
                content = "".join(lines[:: max(1, len(lines) // number)][:number])
        (folder / path.name.removesuffix(".gz")).write_text(content, encoding="utf-8")


def chosen(own: Set, method: str) -> list[Result]:
    """Return the runs of a set and method that the table is about, by seed."""
    rate = best_rate(own) if method == "full" else None
    return RESULTS.of(key_of(own, method, rate, seed) for seed in range(1, 10))


def write_table() -> None:
    """Write one table for perplexity and one for what was written."""
    lines = [
        "# Generation on bases made by `inlay pretrain`", "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.generation` (its first lines "
        f"say what is compared, `benchmarks/bases.py` how the bases are made); torch "
        f"{version('torch')}, transformers {version('transformers')}, inlay {version('inlay')}, "
        f"{platform.machine()}. On test; mean over seeds with the lowest and the highest. `share` "
        "is that of the adapter's weights in the base's. The adapter's method was chosen on "
        "validation of speeches, 40 rows, seed 1, of a dozen that were tried; for the "
        "encoder-decoder on that of questions, of four. `encoder_decoder_long` is trained twice "
        "as long; on it answers are written greedily, chosen by hand on validation rows of "
        "questions, after more epochs than at first, whose test score had been seen.", "",
        "## Perplexity", "",
        "| data | rows, epochs | seeds | adapter | full (rate) | full's seeds | adapter / full | "
        "by frequency | share |",
        "|---|---|---|---|---|---|---|---|---|",
        *perplexities(),
        "", "## What was written", "",
        "In per cent. `gain` is over the better of the copied source and its first sentence, on "
        "the same rows, with its 95 % interval; of the seed in the middle.", "",
        "| data | base | rows, epochs | seeds | ROUGE-L | copied source | first sentence | gain "
        "| 95 % | share |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *scores(),
        "", "## Rates of full fine-tuning", "", "Seed 1, on validation.", "",
        "| data | rate | validation |", "|---|---|---|",
        *tried_rates(),
    ]  # fmt: skip
    RESULTS.write_table(lines)


def perplexities() -> Iterator[str]:
    """Give the rows of the first table."""
    for own in SETS:
        adapter, full = chosen(own, "adapter"), chosen(own, "full")
        if own.metrics[0] != "perplexity" or not adapter or not full:
            continue
        ratio = mean(adapter, "perplexity") / mean(full, "perplexity") - 1
        yield (
            f"| {own.data} | {own.rows}, {own.epochs} | {len(adapter)} | "
            f"{spread(values(adapter, 'perplexity'), 1)} | "
            f"{spread(values(full, 'perplexity'), 1)} "
            f"({full[0]['rate']:g}) | {len(full)} | {ratio:+.1%} | "
            f"{adapter[0]['baselines']['unigram']['perplexity']:.1f} | {adapter[0]['share']:.2%} |"
        )


def scores() -> Iterator[str]:
    """Give the rows of the second table."""
    for own in SETS:
        runs = chosen(own, "adapter")
        if own.metrics[0] != "rouge_l" or not runs:
            continue
        middle = sorted(runs, key=lambda run: run["test"]["rouge_l"])[len(runs) // 2]
        free = {name: 100 * found["rouge_l"] for name, found in middle["baselines"].items()}
        best = middle["baselines"][max(free, key=lambda name: free[name])]
        low, high = best["gain_ci"]
        yield (
            f"| {own.data} | {own.base} | {own.rows}, {own.epochs} | {len(runs)} | "
            f"{spread(values(runs, 'rouge_l'))} | {free['copied_source']:.2f} | "
            f"{free['first_sentence']:.2f} | {100 * best['gain']:+.2f} | {100 * low:+.2f} to "
            f"{100 * high:+.2f} | {runs[0]['share']:.2%} |"
        )


def tried_rates() -> Iterator[str]:
    """Give the rates of full fine-tuning that were tried."""
    for result in RESULTS.read():
        if result["key"]["method"] == "full" and result["key"]["seed"] == 1:
            yield f"| {result['key']['data']} | {result['rate']:g} | {result['validation']:.3f} |"


def mean(runs: list[Result], metric: str) -> float:
    """Return the mean over seeds."""
    return statistics.mean(values(runs, metric))


def values(runs: list[Result], metric: str) -> list[float]:
    """Return what each seed gave on test."""
    return [run["test"][metric] for run in runs]


if __name__ == "__main__":
    main()
