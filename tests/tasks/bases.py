"""Tiny bases with a language model's head, and their tokenizers."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

TEXT = [
    "the quick brown fox jumps over the lazy dog",
    "a card was lost and a loan was asked for",
    "user: hello assistant: how can I help you today",
]


def tokenizer(*, begins=False, has_padding=True):
    """A byte-level BPE of a few lines, with an end sign."""
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>", "<s>", "<mask>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    own.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    start = "<s> " if begins else ""
    own.post_processor = processors.TemplateProcessing(
        single=f"{start}$A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    names = {"eos_token": "</s>", "bos_token": "<s>", "mask_token": "<mask>", "unk_token": "<unk>"}
    if has_padding:
        names["pad_token"] = "<pad>"
    return PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=64, **names)


def write(folder, kind, **options):
    """Save a tiny model of a kind with its tokenizer and return the folder."""
    torch.manual_seed(5)
    own = tokenizer(begins=kind != "encoder-decoder", **options)
    size = len(own)
    if kind == "decoder":
        config = LlamaConfig(
            vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
            bos_token_id=2, eos_token_id=1, pad_token_id=0,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    elif kind == "masked":
        config = BertConfig(
            vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=64, pad_token_id=0,
        )  # fmt: skip
        model = BertForMaskedLM(config)
    else:
        config = T5Config(
            vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
        model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    own.save_pretrained(folder)
    return folder
