"""A tiny base with a tokenizer, and a tiny data set that it can learn, for tests of commands."""

import csv
import random
import subprocess
import sys
from pathlib import Path

PROGRAM = "import sys; from inlay.cli.main import main; sys.exit(main())"
TRAIN = ["train", "--epochs", "3", "--batch-size", "8", "--learning-rate", "5e-2", "--precision"]
TRAIN += ["float32"]

TOPICS = {
    "card": ["card", "plastic", "chip", "pin", "visa", "expired"],
    "loan": ["loan", "mortgage", "interest", "debt", "rate", "borrow"],
    "travel": ["flight", "hotel", "abroad", "trip", "ticket", "passport"],
}
FILLERS = ["my", "the", "is", "was", "a", "about", "question", "please", "help", "where", "when"]


def write_base(folder: Path) -> Path:
    """Write a small random text encoder with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = sorted({word for topic in TOPICS.values() for word in topic} | set(FILLERS))
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    model = BertModel(
        BertConfig(
            vocab_size=len(names), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=40, max_position_embeddings=64,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(folder)
    return folder


def rows(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Make texts with labels; each text has two words of its topic among others."""
    generator = random.Random(seed)
    made = []
    for index in range(number):
        label = list(TOPICS)[index % len(TOPICS)]
        words = generator.sample(FILLERS, 4) + generator.sample(TOPICS[label], 2)
        generator.shuffle(words)
        made.append((" ".join(words), label))
    return made


def write_csv(path: Path, content: list[tuple[str, ...]], header: tuple[str, ...]) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(content)
    return path


def inlay(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run the program in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, **options
    )
