"""Write checkpoints as AdapterHub does, for tiny models, and compute what it computes."""

import json

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

DEFAULTS = {
    "mh_adapter": False, "output_adapter": True, "cross_adapter": False, "reduction_factor": 4,
    "non_linearity": "swish", "original_ln_before": True, "original_ln_after": True,
    "ln_before": False, "ln_after": False, "is_parallel": False, "scaling": 1.0,
    "residual_before_ln": True, "adapter_residual_before_ln": False, "leave_out": [],
    "inv_adapter": None, "inv_adapter_reduction_factor": None, "use_gating": False,
    "dropout": 0.0, "init_weights": "bert", "phm_layer": False, "phm_dim": 4,
}  # fmt: skip
ACTS = {"swish": F.silu, "relu": F.relu, "gelu": F.gelu, "leakyrelu": F.leaky_relu}


def write(folder, config, tensors, *, name="a", pickled=False, kind="adapter", **facts):
    """Write the two files of an adapter, or of a fusion or a head."""
    folder.mkdir(parents=True, exist_ok=True)
    json_name = {"adapter": "adapter_config", "fusion": "adapter_fusion_config"}
    whole = {"config": config, "name": name, "version": "adapters.1.3.0", **facts}
    whole = {key: value for key, value in whole.items() if value != "left out"}
    (folder / f"{json_name.get(kind, 'head_config')}.json").write_text(json.dumps(whole))
    stem = {"adapter": "adapter", "fusion": "adapter_fusion", "head": "model_head"}[kind]
    if pickled:
        stem = "model_adapter_fusion" if kind == "fusion" else stem
        torch.save(tensors, folder / f"pytorch_{stem}.bin")
    else:
        stem = "model_adapter_fusion" if kind == "fusion" else stem
        save_file(tensors, folder / f"{stem}.safetensors")
    return folder


def bottleneck(owner, width=24, inner=5, *, name="a", seed=0, **options):
    """Draw the tensors of a bottleneck under a module of the peer's model."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=draw) * 0.5

    tensors, at = {}, 1 if options.get("ln_before") else 0
    if options.get("ln_before"):
        tensors["adapter_norm_before.weight"] = 1 + random(width)
        tensors["adapter_norm_before.bias"] = random(width)
        tensors |= {f"adapter_down.0.{p}": tensors[f"adapter_norm_before.{p}"].clone() for p in
                    ("weight", "bias")}  # fmt: skip
    tensors[f"adapter_down.{at}.weight"] = random(inner, width)
    tensors[f"adapter_down.{at}.bias"] = random(inner)
    tensors["adapter_up.weight"] = random(width, inner)
    tensors["adapter_up.bias"] = random(width)
    if options.get("ln_after"):
        tensors["adapter_norm_after.weight"] = 1 + random(width)
        tensors["adapter_norm_after.bias"] = random(width)
    if options.get("scaling") in ("learned", "channel"):
        tensors["scaling"] = 2 + random(1 if options["scaling"] == "learned" else width)
    prefix = f"{owner}.adapters.{name}." if owner else f"adapters.{name}."
    return {f"{prefix}{key}": value for key, value in tensors.items()}


class PeerOutput(nn.Module):
    """The peer's own way through the end of a sublayer of BERT, with one bottleneck."""

    def __init__(self, own, tensors, options):
        super().__init__()
        self.own, self.tensors, self.options = own, tensors, DEFAULTS | options

    def forward(self, hidden_states, input_tensor):
        x, options = self.own.dense(hidden_states), self.options
        norm, residual = self.own.LayerNorm, x
        if options["is_parallel"]:
            h = input_tensor
            a = self.update(h, norm_after=options["ln_after"]) + x
            return norm(a + input_tensor) if options["original_ln_after"] else a
        h = x
        if options["original_ln_before"]:
            h = h + input_tensor
            if options["residual_before_ln"] == "post_add":
                residual = h
            h = norm(h)
        if options["residual_before_ln"] is False:
            residual = h
        if options["adapter_residual_before_ln"]:
            a = self.after(self.update(h, norm_after=False) + residual)
        else:
            a = self.update(h, norm_after=options["ln_after"]) + residual
        return norm(a + input_tensor) if options["original_ln_after"] else a

    def update(self, h, *, norm_after):
        t, at = self.tensors, 0
        if self.options["ln_before"]:
            h, at = self.layer_norm(h, "adapter_norm_before"), 1
        z = F.linear(h, t[f"adapter_down.{at}.weight"], t[f"adapter_down.{at}.bias"])
        z = ACTS[self.options["non_linearity"]](z)
        z = F.linear(z, t["adapter_up.weight"], t["adapter_up.bias"])
        z = z * t.get("scaling", self.options["scaling"])
        return self.after(z) if norm_after else z

    def after(self, z):
        return self.layer_norm(z, "adapter_norm_after") if self.options["ln_after"] else z

    def layer_norm(self, z, name):
        t = self.tensors
        return F.layer_norm(z, z.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"])


def peer_hidden(model, inputs, tensors, options, name="a"):
    """Return what the peer's model gives; this model is left as it was."""
    changed = []
    for index, layer in enumerate(model.encoder.layer):
        for parent, owner in ((layer.attention, "attention.output"), (layer, "output")):
            start = f"encoder.layer.{index}.{owner}.adapters.{name}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            if own:
                changed.append((parent, parent.output))
                parent.output = PeerOutput(parent.output, own, options)
    try:
        with torch.no_grad():
            return model(**inputs).last_hidden_state
    finally:
        for parent, own in changed:
            parent.output = own
