"""Tiny models whose weights are far from any symmetry."""

from typing import Any

import torch
import transformers as hf
from torch import nn

import inlay
from inlay.adapters.bank import Adapters
from inlay.sites.sitemap import SiteMap
from inlay.sites.tensors import first_float

SMALL = {
    "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
    "vocab_size": 97, "max_position_embeddings": 40,
}  # fmt: skip

_SITES: dict[tuple[type[nn.Module], str], SiteMap] = {}


def perturbed(model: nn.Module) -> nn.Module:
    """Move every weight, so that biases are not zero and norms not alike."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.add_(noise * 0.05)
    return model.eval()


def encoder(num_layers: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return perturbed(hf.BertModel(hf.BertConfig(**SMALL | {"num_hidden_layers": num_layers})))


def classifier(num_labels: int = 3) -> nn.Module:
    torch.manual_seed(1)
    config = hf.BertConfig(**SMALL, num_labels=num_labels)
    return perturbed(hf.BertForSequenceClassification(config))


def decoder(kind: str = "llama") -> nn.Module:
    torch.manual_seed(1)
    if kind == "gpt2":
        config = hf.GPT2Config(
            n_embd=24, n_layer=3, n_head=4, vocab_size=97, n_positions=40, bos_token_id=1,
            eos_token_id=96, pad_token_id=0,
        )  # fmt: skip
        return perturbed(hf.GPT2LMHeadModel(config))
    config = hf.LlamaConfig(
        **SMALL, num_key_value_heads=2, bos_token_id=1, eos_token_id=96, pad_token_id=0
    )
    return perturbed(hf.LlamaForCausalLM(config))


def pair() -> nn.Module:
    """Return an encoder and a decoder in one, in float64."""
    torch.manual_seed(3)
    config = hf.T5Config(
        d_model=24, d_ff=40, num_layers=2, num_heads=4, d_kv=6, vocab_size=97,
        decoder_start_token_id=0, eos_token_id=96, pad_token_id=0,
    )  # fmt: skip
    return perturbed(hf.T5ForConditionalGeneration(config)).double()


def attach(model: nn.Module) -> Adapters:
    """Attach to a model; what the probe finds in the first of a config serves all."""
    kind = type(model), model.config.to_json_string()
    if kind not in _SITES:
        _SITES[kind] = inlay.probe(model)
    return inlay.attach(model, sites=_SITES[kind])


def batch(rows: int = 3, length: int = 7) -> dict[str, torch.Tensor]:
    """Token ids with padding on the right of the later rows."""
    ids = torch.randint(3, 90, (rows, length), generator=torch.Generator().manual_seed(5))
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        mask[row, length - row :] = 0
        ids[row, length - row :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def stir(module: nn.Module, seed: int = 9) -> None:
    """Give an adapter weights as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        parameter.data.add_(noise.to(parameter.dtype) * 0.1)


def hidden(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the last hidden state or the logits, without gradient."""
    with torch.no_grad():
        output = model(**inputs)
    return output.logits if "logits" in output else output.last_hidden_state


def gradients(
    model: nn.Module, composition: Any, inputs: dict[str, torch.Tensor], weights: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return each adapter parameter's gradient of a weighted sum of the output."""
    model.adapters.zero_grad()
    for name in model.adapters.names:
        model.adapters.entry(name).requires_grad_(True)
    with model.adapters.using(composition):
        (first_float(model(**inputs)) * weights).sum().backward()
    return {
        key: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for key, p in model.adapters.named_parameters()
    }
