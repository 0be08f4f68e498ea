"""Train a tokenizer on a corpus: byte-level BPE, or a unigram language model."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from inlay.errors import ConfigError

KINDS = ("bpe", "unigram")

NUM_SENTINELS = 100
"""Sentinels `<extra_id_0>` ... of a tokenizer for span corruption (Raffel et al. 2020)."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Specials:
    """The special tokens of an objective.

    Attributes:
        roles: Role -> token, in the order of the ids, which begin at 0.
        extra: Further special tokens, after those.
        template: How one text is wrapped; `$A` is the text.
        pair: How two texts are wrapped.
    """

    roles: dict[str, str]
    extra: tuple[str, ...] = ()
    template: str
    pair: str

    @property
    def tokens(self) -> list[str]:
        """All of them, each once, by id."""
        return [*dict.fromkeys(self.roles.values()), *self.extra]


SPECIALS = {
    "mlm": Specials(
        roles={
            "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
            "mask_token": "[MASK]", "bos_token": "[CLS]", "eos_token": "[SEP]",
        },
        template="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
    ),
    "clm": Specials(
        roles={
            "pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
        },
        template="<s> $A",
        pair="<s> $A <s> $B",
    ),
    "denoise": Specials(
        roles={"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
        extra=tuple(f"<extra_id_{number}>" for number in range(NUM_SENTINELS)),
        template="$A </s>",
        pair="$A </s> $B </s>",
    ),
}  # fmt: skip
SPECIALS["infill"] = SPECIALS["denoise"]


def train_tokenizer(
    documents: Iterable[str], *, kind: str, specials: Specials, vocab_size: int, max_length: int
) -> Any:
    """Train a tokenizer that `AutoTokenizer` loads, with offsets into the text.

    Both kinds keep every blank: decoding gives back the text that was encoded, but for characters
    the unigram model has never seen.

    Args:
        documents: What it is trained on.
        kind: `bpe` (bytes merged into tokens; knows every text) or `unigram` (Kudo 2018).
        specials: The special tokens, which get the first ids.
        vocab_size: Tokens at most, special ones included; a small corpus gives fewer.
        max_length: Tokens that the model will take.

    Raises:
        ConfigError: If the vocabulary cannot hold the alphabet.
    """
    from transformers import PreTrainedTokenizerFast

    build = {"bpe": _train_bpe, "unigram": _train_unigram}[kind]
    tokenizer = build(documents, specials, vocab_size)
    template = processors.TemplateProcessing(
        single=specials.template,
        pair=specials.pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in specials.roles.values()],
    )
    parts = [processors.ByteLevel(trim_offsets=True), template] if kind == "bpe" else [template]
    tokenizer.post_processor = processors.Sequence(parts)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        additional_special_tokens=list(specials.extra),
        **specials.roles,
    )


def _train_bpe(documents: Iterable[str], specials: Specials, vocab_size: int) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = len(specials.tokens) + len(alphabet) + 1
    if vocab_size < least:
        raise ConfigError(
            f"vocab_size={vocab_size}: the 256 bytes and {len(specials.tokens)} special tokens "
            f"need {least} at least."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials.tokens, initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def _train_unigram(documents: Iterable[str], specials: Specials, vocab_size: int) -> Tokenizer:
    documents = list(documents)
    # A blank is written as a sign of its own, which is part of the alphabet.
    alphabet = {"▁" if character == " " else character for text in documents for character in text}
    least = len(specials.tokens) + len(alphabet) + 1
    if vocab_size < least:
        raise ConfigError(
            f"vocab_size={vocab_size}: the corpus has {len(alphabet)} different characters, which "
            f"need {least} tokens at least, special ones included. Take more, or tokenizer bpe."
        )
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="never"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=specials.tokens, show_progress=False,
        unk_token=specials.roles["unk_token"], initial_alphabet=sorted(alphabet),
    )  # fmt: skip
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer
