"""A tiny base, a tiny data set that it can learn, and one finished run, shared by many tests."""

import csv
import functools
import random
from pathlib import Path

import inlay
from inlay.training.reporter import Evaluation, Plan

TOPICS = {
    "card": ["card", "plastic", "chip", "pin", "visa", "expired", "wallet", "contactless"],
    "loan": ["loan", "mortgage", "interest", "debt", "rate", "borrow", "lender", "instalment"],
    "travel": ["flight", "hotel", "abroad", "trip", "ticket", "passport", "airport", "luggage"],
}
FILLERS = [
    "my",
    "the",
    "is",
    "was",
    "a",
    "about",
    "question",
    "please",
    "help",
    "where",
    "when",
    "today",
    "again",
    "still",
    "never",
    "always",
    "could",
    "would",
    "should",
    "it",
    "this",
    "that",
    "with",
    "for",
    "from",
    "after",
    "before",
    "how",
    "why",
    "what",
    "need",
    "want",
    "lost",
    "found",
]
SETTINGS = {
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 2e-2,
    "precision": "float32",
    "checkpoint_seconds": 0,
}
"""A training of about a second, which writes a checkpoint at every step."""


def write_base(folder: Path, *, seed: int = 5, num_blocks: int = 2) -> Path:
    """Write a random text encoder with a WordPiece tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*letters, *(f"##{letter}" for letter in letters), *".,!?-'"]
    words = sorted({word for topic in TOPICS.values() for word in topic} | set(FILLERS))
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]
    names += [word for word in words if word not in pieces]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(seed)
    model = BertModel(
        BertConfig(
            vocab_size=len(names), hidden_size=32, num_hidden_layers=num_blocks,
            num_attention_heads=2, intermediate_size=48, max_position_embeddings=64,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
        model.embeddings.word_embeddings.weight.normal_()  # words differ more than positions
    model.save_pretrained(folder)
    return folder


def rows(number: int, *, seed: int = 0, noise: float = 0.0) -> list[tuple[str, str]]:
    """Make texts of two words of their topic among others; some get another topic's label."""
    generator = random.Random(seed)
    made = []
    for index in range(number):
        label = list(TOPICS)[index % len(TOPICS)]
        words = generator.sample(FILLERS, generator.randint(2, 9))
        words += generator.sample(TOPICS[label], 2)
        generator.shuffle(words)
        if generator.random() < noise:
            label = generator.choice([other for other in TOPICS if other != label])
        made.append((" ".join(words), label))
    return made


def write_csv(
    path: Path, content: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")
) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(content)
    return path


@functools.cache
def shared_base(root: Path) -> Path:
    """Return the one base of a test session, given `tmp_path_factory.getbasetemp()`."""
    return write_base(root / "tiny-base")


@functools.cache
def shared_data(root: Path) -> Path:
    """Return the one data set of a test session: 300 rows, a tenth of them labelled wrongly."""
    return write_csv(root / "topics.csv", rows(300, seed=1, noise=0.1))


@functools.cache
def shared_run(root: Path) -> tuple["inlay.Run", "Listener"]:
    """Return the one finished run of a test session, and what it told."""
    listener = Listener()
    run = inlay.train(
        shared_data(root), base=str(shared_base(root)), reporter=listener,
        out=str(root / "tiny-run"), **SETTINGS,
    )  # fmt: skip
    return run, listener


class Listener:
    """Keeps everything that a training tells."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.plans: list[Plan] = []
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.evaluations: list[Evaluation] = []
        self.ends: list[dict] = []

    def on_note(self, text):
        self.notes.append(text)

    def on_plan(self, plan):
        self.plans.append(plan)

    def on_step(self, step, num_steps, loss):
        self.steps.append(step)
        self.losses.append(loss)

    def on_evaluation(self, evaluation):
        self.evaluations.append(evaluation)

    def on_end(self, metrics):
        self.ends.append(metrics)


def prepared(root: Path, folder: Path, listener: Listener | None = None, **settings):
    """Make a training that is ready to start, on 120 rows of the shared data."""
    from inlay.training.checkpoint import Checkpoints
    from inlay.training.config import resolve_config
    from inlay.training.defaults import with_defaults
    from inlay.training.interrupt import StopRequest
    from inlay.training.prepare import prepare
    from inlay.training.reading import read_data

    data = folder / "few.csv"
    if not data.exists():
        write_csv(data, rows(120, seed=2))
    given = {"data": str(data), "base": str(shared_base(root)), **SETTINGS, **settings}
    resolved, preset = with_defaults(resolve_config(given))
    return prepare(
        resolved.config, preset, read_data(resolved.config), run=str(folder),
        checkpoints=Checkpoints(folder / "checkpoints"), reporter=listener or Listener(),
        stop=StopRequest(),
    )  # fmt: skip
