"""Write an adapter as Hugging Face PEFT does, for PEFT itself and for vLLM."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from inlay.adapters.attach import adapters_of
from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import CONFIG_FILE
from inlay.exchange.peft_copies import write_copies
from inlay.exchange.peft_for_vllm import check_can_serve, check_vllm, with_served_names
from inlay.exchange.peft_ia3 import write_ia3
from inlay.exchange.peft_lora_writing import write_lora
from inlay.exchange.peft_names import OF_MODULES, OF_PROMPTS
from inlay.exchange.peft_norms import write_norms
from inlay.exchange.peft_prompts import write_prefix, write_prompt
from inlay.exchange.peft_tensors import WEIGHTS_FILE
from inlay.exchange.peft_vera import write_vera
from inlay.exchange.peft_verify import check_same, evaluating
from inlay.methods.base import AbstractMethod
from inlay.methods.comparators import Head
from inlay.methods.ia3 import IA3
from inlay.methods.lora import LoRA
from inlay.methods.parts_of_base import Norms
from inlay.methods.prefix import Prefix
from inlay.methods.prompt import Prompt
from inlay.methods.vera import VeRA
from inlay.store.atomic import folder_atomically


class Writer(Protocol):
    """What turns an adapter of one method into PEFT's options and tensors."""

    def __call__(
        self, adapters: Adapters, entry: Entry, *, uniform: bool
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the options and the tensors."""
        ...


WRITERS: dict[type[AbstractMethod], tuple[str, Writer, str]] = {
    LoRA: ("LORA", write_lora, OF_MODULES),
    VeRA: ("VERA", write_vera, OF_MODULES),
    IA3: ("IA3", write_ia3, OF_MODULES),
    Norms: ("LN_TUNING", write_norms, OF_MODULES),
    Prefix: ("PREFIX_TUNING", write_prefix, OF_PROMPTS),
    Prompt: ("PROMPT_TUNING", write_prompt, OF_PROMPTS),
}
"""Method -> PEFT's name of it, what writes it, and what stands before the paths of its heads."""

_LEAVE_OUT = "Leave it out: without_head=True in Python, --without-head on the command line."

_TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}
"""The end of a task class's name -> PEFT's word; language models are told by `can_generate`."""


def save_peft(
    model: nn.Module,
    name: str,
    folder: str | Path,
    *,
    without_head: bool = False,
    for_vllm: bool = False,
) -> None:
    """Save an adapter in PEFT's format: `PeftModel.from_pretrained(base, folder)` loads it.

    The file is read again and compared before it takes its place. A folder that holds a PEFT
    adapter is replaced; any other folder that is not empty is refused.

    Args:
        model: A model with adapters, of the class that the file shall be loaded on.
        name: Which adapter.
        folder: Where to.
        without_head: Leave the adapter's head out.
        for_vllm: Write what vLLM loads: one rank and one scale for all modules, nothing but LoRA.

    Raises:
        AdapterError: If there is no such adapter.
        FormatError: If PEFT, or vLLM, has no form for the adapter, with what prevents it; or the
            folder holds something else.
    """
    adapters = adapters_of(model)
    entry = adapters.entry(name)
    folder = Path(folder)
    if folder.exists() and not _may_replace(folder):
        raise FormatError(f"{folder} is not empty and holds no PEFT adapter; choose another.")
    kind, writer, prefix = _writer(entry)
    _check_gate(entry)
    if for_vllm:
        check_can_serve(adapters, entry, without_head=without_head)
    with adapters.original_weights(), evaluating(entry):
        options, tensors = writer(adapters, entry, uniform=for_vllm)
        copies = write_copies(adapters, entry, kind)
    heads = {} if without_head else _heads(adapters, entry, prefix)
    own = [] if without_head else list(entry.own_heads)
    config = {**_about(model, has_head=bool(own)), "peft_type": kind, **options, **copies.options}
    config["modules_to_save"] = [*own, *copies.modules] or None
    if for_vllm:
        config, tensors = with_served_names(model, adapters, config, tensors)
    if prefix == OF_PROMPTS and config["task_type"] is None:
        raise FormatError(
            f"PEFT runs {kind} only for tasks that it knows, and {type(model).__name__} is for "
            "none of them, or its head is left out."
        )
    plain = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in sorted({**tensors, **copies.tensors, **heads}.items())
    }
    with folder_atomically(folder) as temporary:
        content = to_safetensors(plain, metadata={"format": "pt"})
        (temporary / WEIGHTS_FILE).write_bytes(content)
        text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
        (temporary / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
        check_same(temporary, adapters, entry, without_head=without_head)
        if for_vllm:
            check_vllm(temporary)


def _writer(entry: Entry) -> tuple[str, Writer, str]:
    if entry.stack_on is not None:
        raise FormatError(
            f"adapter {entry.name!r} is stacked on {entry.stack_on!r}, and PEFT's files have no "
            "place for an adapter below another. Save it with `inlay.save`."
        )
    if isinstance(entry.method, Head) and entry.weights:
        return WRITERS[Norms]
    if type(entry.method) not in WRITERS:
        known = ", ".join(sorted(method.name for method in WRITERS))
        what = "a learned combination" if entry.combines else f"of method {entry.method.name!r}"
        raise FormatError(
            f"adapter {entry.name!r} is {what}, which has no form in PEFT; these have: {known}. "
            "Save it with `inlay.save`."
        )
    return WRITERS[type(entry.method)]


def _check_gate(entry: Entry) -> None:
    """Refuse a gate."""
    if getattr(entry.method, "gate", False) is not False:
        raise FormatError(
            f"adapter {entry.name!r} has a gate, for which PEFT has no place. Save it with "
            "`inlay.save`."
        )


def _heads(adapters: Adapters, entry: Entry, prefix: str) -> dict[str, Tensor]:
    if entry.head is not None:
        raise FormatError(
            f"adapter {entry.name!r} has a head of a task beside the model, for which PEFT has no "
            f"place. {_LEAVE_OUT}"
        )
    modules = [path for path, _ in adapters.model.named_modules()]
    for head in entry.own_heads:
        # PEFT finds `modules_to_save` by the end of a path, not even at a dot.
        known = (*entry.own_heads, "adapters")
        others = [p for p in modules if p.endswith(head) and p.split(".")[0] not in known]
        if others:
            raise FormatError(
                f"adapter {entry.name!r} has a head {head!r}, which PEFT would take for "
                f"{others[0]!r} too. {_LEAVE_OUT}"
            )
    return {
        f"{prefix}{path}.{key}": value
        for path, head in entry.own_heads.items()
        for key, value in head.state_dict().items()
    }


def _about(model: nn.Module, *, has_head: bool) -> dict[str, Any]:
    """Return what PEFT writes of the base, as far as it is known."""
    config = getattr(model, "config", None)
    about: dict[str, Any] = {
        "base_model_name_or_path": getattr(config, "_name_or_path", None) or None,
        "revision": getattr(config, "_commit_hash", None),
        "inference_mode": True,
        "task_type": task_type(model, has_head=has_head),
        "auto_mapping": None,
    }
    if about["task_type"] is None:
        about["auto_mapping"] = {
            "base_model_class": type(model).__name__,
            "parent_library": type(model).__module__,
        }
    return about


def task_type(model: nn.Module, *, has_head: bool) -> str | None:
    """Return PEFT's word for what a model is for, or `None`.

    A task whose head PEFT would look for in the file is only named if the head is there.
    """
    if getattr(model, "can_generate", lambda: False)():
        is_pair = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
        return "SEQ_2_SEQ_LM" if is_pair else "CAUSAL_LM"
    if getattr(model, "base_model", None) is model:
        # PEFT's class for it gives the model `input_ids`, which those of pictures and speech lack.
        return "FEATURE_EXTRACTION" if _reads_words(model) else None
    found = [w for end, w in _TASK_TYPES.items() if type(model).__name__.endswith(end)]
    return found[0] if found and has_head else None


def _reads_words(model: nn.Module) -> bool:
    return getattr(model, "main_input_name", "input_ids") == "input_ids"


def _may_replace(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        values: Mapping[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "peft_type" in values
