"""Made-up text that can be learnt: each word is followed by one of two others."""

import json
import random
from pathlib import Path

SENTENCE = (
    "the old grey cat sat on a mat while rain fell over roofs and dogs ran home past green fields "
    "where tall men sang of ships"
)
WORDS = SENTENCE.split()
SETTINGS = {
    "batch_size": 8,
    "vocab_size": 420,
    "max_length": 24,
    "learning_rate": 5e-3,
    "precision": "float32",
    "checkpoint_seconds": 0,
}
"""A training of a second or two."""

SHAPES = {
    "mlm": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48,
    },
    "clm": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 40, "tie_word_embeddings": True,
        "attention_dropout": 0.1,
    },
    "denoise": {
        "d_model": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "d_kv": 16,
        "d_ff": 40, "tie_word_embeddings": True,
    },
}  # fmt: skip


def documents(number: int, *, seed: int = 0) -> list[str]:
    """Make texts of 10 to 40 words, the next word being one of two after each."""
    generator = random.Random(seed)
    made = []
    for _ in range(number):
        place = generator.randrange(len(WORDS))
        words = []
        for _ in range(generator.randint(10, 40)):
            words.append(WORDS[place])
            place = (place + generator.choice((1, 7))) % len(WORDS)
        made.append(" ".join(words).capitalize() + ".")
    return made


def write_text(path: Path, number: int = 150, *, seed: int = 0) -> Path:
    """Write texts with blank lines between them."""
    path.write_text("\n\n".join(documents(number, seed=seed)) + "\n", encoding="utf-8")
    return path


def write_shape(folder: Path, objective: str) -> Path:
    """Write a configuration of a model of about twenty thousand weights."""
    path = folder / f"{objective}.json"
    path.write_text(json.dumps(SHAPES[objective]))
    return path
