"""MAD-X (Pfeiffer et al. 2020): a task learned in English, answered in other languages.

    python examples/mad_x.py --data ../shared/data

For each language, an adapter and an invertible adapter on the word vectors learn to fill in hidden
words of plain text. A task adapter is trained above the English ones, which stay frozen. For
another language these are swapped for its own; none of its labels is ever seen. This is compared
with leaving the English ones in, and with a task adapter on the bare base.

MiniLM has no head for hidden words and has read English only, so it first reads a little text of
all four languages (`--steps`), which no language adapter can make up for in earnest.
"""

import argparse
import dataclasses
import gzip
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from frozen_base import FrozenBase, Results, Task, arguments, descend, read_task
from torch import Tensor
from torch.nn import functional as F

import inlay

LANGUAGES = {"en": "eng_Latn", "de": "deu_Latn", "tr": "tur_Latn", "sw": "swh_Latn"}
"""Language -> its set of `sib200`: topics of sentences, the same ones in every language."""
TINY = ["card_arrival", "exchange_rate"]
PAIR = "{}-words"


def main() -> None:
    parser = arguments(__doc__, tiny="two intents of banking77, and the same spelled backwards")
    parser.add_argument("--steps", type=int, default=120, help="of reading all the languages")
    parser.add_argument(
        "--language-epochs", type=int, default=2, help="passes over a language's text"
    )
    parser.add_argument("--epochs", type=int, default=3, help="passes over the task's English rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options, options.work or Path(folder))


def run(options: argparse.Namespace, work: Path) -> None:
    """Make the base and the languages, then train and swap."""
    codes = ["en", "ne"] if options.tiny else list(LANGUAGES)
    tasks = {code: read_language(options, code) for code in codes}
    results = Results(options, "mad_x")
    if not (work / "base" / "config.json").is_file():
        make_base(options, tasks, work)
    for code, task in tasks.items():
        if not (work / code).is_dir():
            learn_language(work, code, task, epochs=options.language_epochs)

    base = FrozenBase(str(work / "base"))
    for code in tasks:
        inlay.load(base.model, work / code)
        inlay.load(base.model, work / PAIR.format(code))
    for seed in options.seeds:
        transfer(base, tasks, results, epochs=options.epochs, seed=seed)
    results.show()


def read_language(options: argparse.Namespace, code: str) -> Task:
    """Return the task in a language; only the English labels are learned from."""
    if not options.tiny:
        return read_task(options.data / f"sib200_{LANGUAGES[code]}", seed=1)
    task = read_task("banking77", labels=TINY, few=8, seed=1, most=20)
    if code == "en":
        return task
    splits = ("train", "validation", "test")
    return dataclasses.replace(
        task,
        **{s: [r._replace(text=backwards(r.text)) for r in getattr(task, s)] for s in splits},
    )


def backwards(text: str) -> str:
    return " ".join(word[::-1] for word in text.split())


def make_base(options: argparse.Namespace, tasks: dict[str, Task], work: Path) -> None:
    """Let MiniLM read sentences of `sib200` and paragraphs of `xquad`, and learn to fill in."""
    (work / "text").mkdir(parents=True, exist_ok=True)
    for code, task in tasks.items():
        texts = [row.text for row in task.train]
        paragraphs = options.data / f"xquad_{code}" / "test.jsonl.gz"
        if paragraphs.is_file() and not options.tiny:
            with gzip.open(paragraphs, "rt", encoding="utf-8") as file:
                texts += dict.fromkeys(json.loads(line)["context"] for line in file)
        (work / "text" / f"{code}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    how = {"size": "tiny", "steps": 2}
    if not options.tiny:
        how = {"base": "minilm", "steps": options.steps}
    made = inlay.pretrain(
        work / "text", objective="mlm", out=work / "base", batch_size=16, max_length=128,
        learning_rate=3e-4, eval_every=how["steps"], **how,
    )  # fmt: skip
    print(f"the base: perplexity {made.metrics['held_out']['perplexity']:.0f}", flush=True)


def learn_language(work: Path, code: str, task: Task, *, epochs: int) -> None:
    """Train a language's two adapters together on its plain text, and save them."""
    torch.manual_seed(1)
    base = FrozenBase(str(work / "base"), needs="masked")
    words = PAIR.format(code)
    base.adapters.add(words, inlay.Invertible(), copy_heads=False)
    base.adapters.add(code, inlay.Bottleneck(reduction=2), at="ffn", copy_heads=False)
    texts, held_out = ([row.text for row in rows] for rows in (task.train, task.validation))
    before = hidden_words(base, held_out)
    base.adapters.train([words, code])
    parameters = [p for p in base.model.parameters() if p.requires_grad]
    groups = [{"params": parameters, "lr": 1e-3}]

    def loss_of(rows: list[int]) -> Tensor:
        return fill_in(base, [texts[row] for row in rows])

    for _ in descend(groups, loss_of, len(texts), epochs, seed=1):
        pass
    after = hidden_words(base, held_out)
    print(f"{code}: loss of hidden words {before:.3f} -> {after:.3f}", flush=True)
    inlay.save(base.model, words, work / words)
    inlay.save(base.model, code, work / code)


def fill_in(base: FrozenBase, texts: Sequence[str]) -> Tensor:
    """Hide 15 % of the words' pieces and return the loss of finding them again."""
    batch = base.tokens(texts)
    ids = batch["input_ids"]
    special = torch.isin(ids, torch.tensor(base.tokenizer.all_special_ids))
    hidden = (torch.rand(ids.shape) < 0.15) & ~special
    batch["input_ids"] = ids.masked_fill(hidden, base.tokenizer.mask_token_id)
    # The head reads the hidden places only: over all of them it costs more than the base.
    states = base.model.base_model(**batch).last_hidden_state[hidden]
    return F.cross_entropy(base.model.cls(states).float(), ids[hidden])


@torch.no_grad()
def hidden_words(base: FrozenBase, texts: Sequence[str]) -> float:
    """Return the loss on texts that were not trained on, the same places hidden each time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return float(fill_in(base, texts))


def transfer(
    base: FrozenBase, tasks: dict[str, Task], results: Results, *, epochs: int, seed: int
) -> None:
    """Train the task in English with and without languages below it, and answer in all."""

    def with_language(code: str) -> inlay.Stack:
        return inlay.Stack(PAIR.format(code), code, "task")

    torch.manual_seed(seed)
    for name in ("bare", "task"):
        base.adapters.add(name, inlay.Bottleneck(reduction=16), at="ffn")
    english = {"epochs": epochs, "seed": seed}
    bare = base.learn(tasks["en"], train="bare", use="bare", **english)
    head = base.learn(tasks["en"], train="task", use=with_language("en"), **english)
    for code, task in tasks.items():
        ways = {
            "no language adapter": ("bare", bare),
            "English left in": (with_language("en"), head),
        }
        if code != "en":
            ways["swapped for its own"] = (with_language(code), head)
        for way, (composition, answers) in ways.items():
            base.adapters.use(composition)
            results.add(f"{code}: {way}", base.accuracy(answers, task, task.test), seed=seed)
    base.adapters.use(None)
    for name in ("bare", "task"):
        base.adapters.remove(name)


if __name__ == "__main__":
    main()
