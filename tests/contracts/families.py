"""Every family of Transformer that the contracts run over: a tiny config and what is in it."""

import copy
import functools
from dataclasses import dataclass

import torch
import transformers as hf
from torch import nn

import inlay
from inlay.sites.sitemap import SiteMap

_SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56,
    "vocab_size": 120, "max_position_embeddings": 64,
}  # fmt: skip
_GROUPED = {"num_key_value_heads": 2}
_PAIR = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 56, "decoder_ffn_dim": 56,
    "vocab_size": 120,
}  # fmt: skip
_SOUND = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56,
    "conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
_TOWER = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56,
    "projection_dim": 16,
}  # fmt: skip

TWO = ("attention", "ffn")
THREE = ("attention", "cross_attention", "ffn")


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the probe must find in a family.

    Attributes:
        config: A tiny config.
        blocks: Submodel -> kinds of each block, in order; `""` where there is one stack.
        num_blocks: Blocks of each submodel.
        norm: Where the norms are; of the second block, as a first one may lack some.
        scale: Kind -> residual scale where it is not 1.
        causal: Submodels whose positions see earlier ones only.
        maps: Kinds of the linear maps of the second block of the last submodel.
    """

    config: hf.PretrainedConfig
    blocks: dict[str, tuple[str, ...]]
    num_blocks: int = 2
    norm: str = "pre"
    scale: dict[str, float] | None = None
    causal: tuple[str, ...] = ()
    maps: tuple[str, ...] = ("q", "k", "v", "o", "up", "down")

    def build(self) -> nn.Module:
        """Return a model of one's own with weights that no coincidence can explain."""
        return copy.deepcopy(self._model)

    @functools.cached_property
    def sites(self) -> SiteMap:
        """What the probe finds."""
        return inlay.probe(self._model)

    @functools.cached_property
    def _model(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(11)
            model = hf.AutoModel.from_config(self.config).eval()
            for parameter in model.parameters():
                # Fresh models have zero biases and identical norms; pretrained ones do not.
                parameter.data.add_(torch.randn_like(parameter) * 0.05)
        return model


_GATED = ("q", "k", "v", "o", "gate", "up", "down")

FAMILIES: dict[str, Family] = {
    "bert": Family(config=hf.BertConfig(**_SMALL), blocks={"": TWO}, norm="post"),
    "roberta": Family(config=hf.RobertaConfig(**_SMALL), blocks={"": TWO}, norm="post"),
    "xlm-roberta": Family(config=hf.XLMRobertaConfig(**_SMALL), blocks={"": TWO}, norm="post"),
    "distilbert": Family(
        config=hf.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=56, vocab_size=120),
        blocks={"": TWO}, norm="post",
    ),
    "deberta-v2": Family(config=hf.DebertaV2Config(**_SMALL), blocks={"": TWO}, norm="post"),
    "deberta": Family(
        config=hf.DebertaConfig(
            **_SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"],
            position_biased_input=False,
        ),
        blocks={"": TWO}, norm="post", maps=("qkv", "other", "other", "o", "up", "down"),
    ),
    "albert": Family(
        config=hf.AlbertConfig(embedding_size=16, **_SMALL), blocks={"": TWO}, num_blocks=1,
        norm="post",
    ),
    "electra": Family(
        config=hf.ElectraConfig(embedding_size=16, **_SMALL), blocks={"": TWO}, norm="post"
    ),
    "modernbert": Family(
        config=hf.ModernBertConfig(**_SMALL, pad_token_id=0), blocks={"": TWO},
        maps=("qkv", "o", "gate_up", "down"),
    ),
    "gpt2": Family(
        config=hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=120), blocks={"": TWO},
        causal=("",), maps=("qkv", "o", "up", "down"),
    ),
    "gpt-j": Family(
        config=hf.GPTJConfig(n_embd=32, n_layer=2, n_head=4, vocab_size=120, rotary_dim=4),
        blocks={"": TWO}, causal=("",),
    ),
    "gpt-neox": Family(
        config=hf.GPTNeoXConfig(**_SMALL), blocks={"": TWO}, causal=("",),
        maps=("qkv", "o", "up", "down"),
    ),
    "falcon": Family(
        config=hf.FalconConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=120
        ),
        blocks={"": TWO}, causal=("",), maps=("qkv", "o", "up", "down"),
    ),
    "opt": Family(
        config=hf.OPTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=56, vocab_size=120,
            word_embed_proj_dim=32,
        ),
        blocks={"": TWO}, causal=("",),
    ),
    "bloom": Family(
        config=hf.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=120),
        blocks={"": TWO}, causal=("",), maps=("qkv", "o", "up", "down"),
    ),
    "llama": Family(
        config=hf.LlamaConfig(**_SMALL, **_GROUPED), blocks={"": TWO}, causal=("",), maps=_GATED
    ),
    "mistral": Family(
        config=hf.MistralConfig(**_SMALL, **_GROUPED), blocks={"": TWO}, causal=("",), maps=_GATED
    ),
    "mixtral": Family(
        config=hf.MixtralConfig(num_local_experts=2, **_SMALL, **_GROUPED), blocks={"": TWO},
        causal=("",), maps=("q", "k", "v", "o", "other"),
    ),
    "qwen3": Family(
        config=hf.Qwen3Config(head_dim=8, **_SMALL, **_GROUPED), blocks={"": TWO}, causal=("",),
        maps=_GATED,
    ),
    "gemma3": Family(
        config=hf.Gemma3TextConfig(head_dim=8, **_SMALL, **_GROUPED), blocks={"": TWO},
        norm="sandwich", causal=("",), maps=_GATED,
    ),
    "phi3": Family(
        config=hf.Phi3Config(pad_token_id=0, **_SMALL, **_GROUPED), blocks={"": TWO},
        causal=("",), maps=("qkv", "o", "gate_up", "down"),
    ),
    "granite": Family(
        config=hf.GraniteConfig(residual_multiplier=0.3, **_SMALL, **_GROUPED), blocks={"": TWO},
        scale={"attention": 0.3, "ffn": 0.3}, causal=("",), maps=_GATED,
    ),
    "olmo2": Family(
        config=hf.Olmo2Config(**_SMALL, **_GROUPED), blocks={"": TWO}, norm="res-post",
        causal=("",), maps=_GATED,
    ),
    "t5": Family(
        config=hf.T5Config(d_model=32, d_ff=56, num_layers=2, num_heads=4, d_kv=8, vocab_size=120),
        blocks={"encoder": TWO, "decoder": THREE}, causal=("decoder",),
        maps=("q", "k", "v", "o", "q", "k", "v", "o", "up", "down"),
    ),
    "bart": Family(
        config=hf.BartConfig(**_PAIR, max_position_embeddings=64),
        blocks={"encoder": TWO, "decoder": THREE}, norm="post", causal=("decoder",),
        maps=("q", "k", "v", "o", "q", "k", "v", "o", "up", "down"),
    ),
    "marian": Family(
        config=hf.MarianConfig(
            **_PAIR, max_position_embeddings=64, pad_token_id=0, decoder_start_token_id=0
        ),
        blocks={"encoder": TWO, "decoder": THREE}, norm="post", causal=("decoder",),
        maps=("q", "k", "v", "o", "q", "k", "v", "o", "up", "down"),
    ),
    "mamba": Family(
        config=hf.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=120, state_size=4),
        blocks={"": ("mixer",)}, causal=("",), maps=("up", "other", "down"),
    ),
    "vit": Family(config=hf.ViTConfig(**_VISION), blocks={"": TWO}),
    "beit": Family(config=hf.BeitConfig(**_VISION), blocks={"": TWO}),
    "dinov2": Family(
        config=hf.Dinov2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8
        ),
        blocks={"": TWO},
    ),
    "swin": Family(
        config=hf.SwinConfig(
            image_size=32, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4],
            window_size=4,
        ),
        blocks={"": TWO}, num_blocks=4,
    ),
    "convnext": Family(
        config=hf.ConvNextConfig(depths=[2, 2, 2, 2], hidden_sizes=[8, 12, 16, 20]),
        blocks={"": ("conv",)}, num_blocks=8, norm="none", maps=("up", "down"),
    ),
    "clip": Family(
        config=hf.CLIPConfig(
            text_config={
                "hidden_size": 32, "vocab_size": 120, "max_position_embeddings": 20,
                "eos_token_id": 2, **_TOWER  # pools where the largest id is, not at the first
            },
            vision_config={"hidden_size": 48, "image_size": 32, "patch_size": 8, **_TOWER},
            projection_dim=16,
        ),
        blocks={"vision_model": TWO, "text_model": TWO}, causal=("text_model",),
    ),
    "whisper": Family(
        config=hf.WhisperConfig(
            **_PAIR, num_mel_bins=16, max_source_positions=20, max_target_positions=30,
            pad_token_id=0, decoder_start_token_id=1,
        ),
        blocks={"encoder": TWO, "decoder": THREE}, causal=("decoder",),
        maps=("q", "k", "v", "o", "q", "k", "v", "o", "up", "down"),
    ),
    "wav2vec2": Family(config=hf.Wav2Vec2Config(**_SOUND), blocks={"": TWO}, norm="post"),
    "wav2vec2-conformer": Family(
        config=hf.Wav2Vec2ConformerConfig(**_SOUND),
        blocks={"": ("ffn", "attention", "conv", "ffn")},
        scale={"ffn": 0.5},
        maps=("up", "down", "q", "k", "v", "other", "o", "up", "down"),
    ),
    "yolos": Family(
        config=hf.YolosConfig(**(_VISION | {"image_size": [32, 32]}), num_detection_tokens=4),
        blocks={"": TWO}, maps=("k", "v", "q", "o", "up", "down"),
    ),
}  # fmt: skip
"""Name -> family."""
