"""Files that PEFT itself writes are read alike, in families that no golden file is of."""

import copy

import pytest
import torch
import transformers as hf

import inlay
from inlay.exchange.peft_reading import load_peft
from inlay.exchange.peft_writing import save_peft
from inlay.sites.example import example_inputs
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # PEFT's own
]

HEADS = {
    "roberta": hf.AutoModelForSequenceClassification,
    "distilbert": hf.AutoModelForTokenClassification,
    "opt": hf.AutoModelForCausalLM,
    "gpt-neox": hf.AutoModelForCausalLM,
    "qwen3": hf.AutoModelForCausalLM,
    "gpt2": hf.AutoModelForCausalLM,
    "bart": hf.AutoModelForSeq2SeqLM,
    "vit": hf.AutoModel,
}
TASKS = {
    "roberta": "SEQ_CLS", "distilbert": "TOKEN_CLS", "bart": "SEQ_2_SEQ_LM", "vit": None,
}  # fmt: skip
"""Family -> PEFT's word for what its class here is for; a language model's else."""


def built(family):
    torch.manual_seed(3)
    config = copy.deepcopy(FAMILIES[family].config)
    return tiny.perturbed(HEADS[family].from_config(config))


def batch(model):
    inputs = example_inputs(model)
    if "input_ids" not in inputs:
        return inputs
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["attention_mask"][0, -2:] = 0
    return inputs


def stirred(model, scale=0.1):
    generator = torch.Generator().manual_seed(9)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def config_of(family, name, **options):
    peft = pytest.importorskip("peft")
    options.setdefault("task_type", TASKS.get(family, "CAUSAL_LM"))
    return getattr(peft, name)(**options)


READ = {
    "dora": ("roberta", "LoraConfig", {"use_dora": True, "target_modules": "all-linear"}),
    "dora-conv1d": ("gpt2", "LoraConfig", {"use_dora": True, "target_modules": ["c_attn"]}),
    "rslora-patterns": (
        "opt",
        "LoraConfig",
        {
            "r": 3,
            "use_rslora": True,
            "rank_pattern": {"fc1": 5},
            "lora_alpha": 6,
            "alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 9},
            "target_modules": ["q_proj", "v_proj", "fc1"],
            "layers_to_transform": [1],
        },
    ),
    "pissa": ("qwen3", "LoraConfig", {"init_lora_weights": "pissa", "r": 3}),
    "olora": (
        "roberta", "LoraConfig",
        {"init_lora_weights": "olora", "r": 3, "lora_alpha": 5, "use_rslora": True},
    ),
    "bias-all": ("roberta", "LoraConfig", {"bias": "all"}),
    "bias-own": ("opt", "LoraConfig", {"bias": "lora_only", "target_modules": ["fc1", "q_proj"]}),
    "lora-bias": (
        "distilbert", "LoraConfig", {"lora_bias": True, "r": 3, "target_modules": ["q_lin"]}
    ),
    "table": ("qwen3", "LoraConfig", {"target_modules": ["embed_tokens", "q_proj"], "r": 3}),
    "lm-head": ("opt", "LoraConfig", {"target_modules": ["lm_head", "q_proj"], "r": 3}),
    "lm-head-dora": (
        "gpt-neox", "LoraConfig", {"target_modules": ["lm_head"], "r": 3, "use_dora": True}
    ),
    "kernel": ("vit", "LoraConfig", {"target_modules": ["projection", "fc1"], "r": 3}),
    "modules": (
        "gpt-neox", "LoraConfig",
        {"modules_to_save": ["final_layer_norm", "lm_head", "dense_4h_to_h"]},
    ),
    "ia3": ("roberta", "IA3Config", {}),
    "ia3-neox": ("gpt-neox", "IA3Config", {}),
    "ia3-conv1d": ("gpt2", "IA3Config", {}),
    "ia3-one": (
        "bart", "IA3Config",
        {"target_modules": ["fc1", "fc2", "k_proj"], "feedforward_modules": r".*encoder.*fc1"},
    ),
    "vera": ("opt", "VeraConfig", {"r": 5, "target_modules": ["q_proj", "fc1", "fc2"]}),
    "vera-drawn": (
        "qwen3", "VeraConfig",
        {"r": 5, "save_projection": False, "projection_prng_key": 7,
         "target_modules": ["q_proj", "down_proj"]},
    ),
    "vera-bias": ("distilbert", "VeraConfig", {"r": 4, "bias": "vera_only",
                                               "target_modules": ["q_lin"]}),
    "norms": ("roberta", "LNTuningConfig", {"target_modules": ["LayerNorm"]}),
    "some-norms": ("qwen3", "LNTuningConfig", {"target_modules": ["input_layernorm"]}),
    "p-tuning": ("opt", "PromptEncoderConfig", {"num_virtual_tokens": 3, "encoder_hidden_size": 8}),
    "p-tuning-lstm": (
        "qwen3", "PromptEncoderConfig",
        {"num_virtual_tokens": 3, "encoder_hidden_size": 8,
         "encoder_reparameterization_type": "LSTM"},
    ),
    "prompt-pair": ("bart", "PromptTuningConfig", {"num_virtual_tokens": 3}),
    "prefix": ("qwen3", "PrefixTuningConfig", {"num_virtual_tokens": 3}),
    "prefix-pair": ("bart", "PrefixTuningConfig", {"num_virtual_tokens": 3}),
    "multitask": ("opt", "MultitaskPromptTuningConfig", {"num_virtual_tokens": 3, "num_tasks": 1}),
}  # fmt: skip
"""Case -> family, PEFT's config class, options."""


@pytest.mark.parametrize("case", READ)
def test_what_peft_writes_is_read_alike(case, tmp_path):
    peft = pytest.importorskip("peft")
    family, name, options = READ[case]
    base = built(family)
    inputs = batch(base)
    plain = tiny.hidden(base, inputs)
    ours = copy.deepcopy(base)
    model = stirred(peft.get_peft_model(base, config_of(family, name, **options)))
    extra = {"task_ids": torch.zeros(2, dtype=torch.long)} if case == "multitask" else {}
    expected = tiny.hidden(model, inputs | extra)
    model.save_pretrained(tmp_path / "a")
    load_peft(ours, tmp_path / "a")
    ours.adapters.use("a")
    found = tiny.hidden(ours, inputs)
    if case in ("p-tuning", "multitask"):  # OPT's padding has other numbers, which no word reads
        is_padding = inputs["attention_mask"] == 0
        for hidden in (found, expected):
            hidden[:, -is_padding.shape[1] :][is_padding] = 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    ours.adapters.use(None)
    assert torch.equal(tiny.hidden(ours, inputs), plain), "the base is as it was"
    if expected.shape == plain.shape:
        assert (expected - plain).abs().max() > 1e-3


@pytest.mark.parametrize("case", [c for c in READ if c != "vera-drawn"])
def test_what_was_read_is_written_for_peft_again(case, tmp_path):
    peft = pytest.importorskip("peft")
    family, name, options = READ[case]
    base = built(family)
    clean = copy.deepcopy(base)
    inputs = batch(base)
    model = stirred(peft.get_peft_model(base, config_of(family, name, **options)))
    extra = {"task_ids": torch.zeros(2, dtype=torch.long)} if case == "multitask" else {}
    expected = tiny.hidden(model, inputs | extra)
    model.save_pretrained(tmp_path / "a")
    load_peft(clean, tmp_path / "a")
    save_peft(clean, "a", tmp_path / "b")
    inlay.detach(clean)
    again = peft.PeftModel.from_pretrained(clean, tmp_path / "b").eval()
    torch.testing.assert_close(tiny.hidden(again, inputs), expected, rtol=0, atol=1e-4)


WRITE = {
    "lora": ("roberta", "lora[rank=3,alpha=5]", {}),
    "orthogonal": ("opt", "lora[rank=3,init=orthogonal,scale=alpha/sqrt(rank)]", {}),
    "ranks": ("qwen3", inlay.LoRA(rank=3, ranks={"q": 2}, alphas={"down": 3.0}), {}),
    "pissa": ("gpt2", "lora[rank=3,init=pissa]", {}),
    "table": ("opt", "lora[rank=3]", {"at": "embedding, q"}),
    "kernel": ("vit", "lora[rank=3]", {"at": "kernel, up"}),
    "lm-head": ("bart", "lora[rank=3]", {"at": "lm_head, q"}),
    "dora": ("gpt-neox", "lora[rank=3,magnitude=true]", {}),
    "pissa-dora": ("roberta", "lora[rank=3,init=pissa,magnitude=true]", {}),
    "vera": ("opt", "vera[rank=4,seed=3]", {"at": "q, up, down"}),
    "ia3": ("distilbert", "ia3", {}),
    "norms": ("opt", "norms", {}),
    "prefix": ("opt", "prefix[length=3,takes_positions=true]", {}),
    "prompt": ("distilbert", "prompt[length=3,returned=true]", {}),
    "p-tuning": ("qwen3", "prompt[length=3,encoder=lstm,returned=true]", {}),
    "prompt-pair": ("bart", "prompt[length=3,returned=true]", {"submodel": "encoder"}),
}


@pytest.mark.parametrize("case", WRITE)
def test_what_we_write_gives_our_outputs_in_peft(case, tmp_path):
    peft = pytest.importorskip("peft")
    family, method, where = WRITE[case]
    model = built(family)
    inputs = batch(model)
    tiny.stir(inlay.attach(model).add("a", method, **where))
    model.adapters.use("a")
    expected = tiny.hidden(model, inputs)
    save_peft(model, "a", tmp_path)
    inlay.detach(model)
    loaded = peft.PeftModel.from_pretrained(model, tmp_path).eval()
    torch.testing.assert_close(tiny.hidden(loaded, inputs), expected, rtol=0, atol=1e-4)
