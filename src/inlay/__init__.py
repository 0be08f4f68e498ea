"""Inlay: fine-tune large pretrained Transformers by small adapters inside a frozen base.

The public names are imported when they are first used, so that `import inlay` and the command
line start without PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inlay.adapters.attach import attach as attach
    from inlay.adapters.attach import detach as detach
    from inlay.adapters.bank import Adapters as Adapters
    from inlay.adapters.blend import Blend as Blend
    from inlay.adapters.blend import blend as blend
    from inlay.adapters.fold import fold as fold
    from inlay.adapters.repeating import repeat as repeat
    from inlay.compose.average import Average as Average
    from inlay.compose.fuse import Fuse as Fuse
    from inlay.compose.nodes import Composition as Composition
    from inlay.compose.parallel import Parallel as Parallel
    from inlay.compose.route import Route as Route
    from inlay.compose.rows import Rows as Rows
    from inlay.compose.stack import Stack as Stack
    from inlay.compose.text import parse_composition as parse_composition
    from inlay.evaluation.blending import blend_saved as blend_saved
    from inlay.evaluation.compare import compare as compare
    from inlay.evaluation.predictor import Predictor as Predictor
    from inlay.evaluation.predictor import load_predictor as load_predictor
    from inlay.evaluation.predictor import load_predictors as load_predictors
    from inlay.evaluation.report import evaluate as evaluate
    from inlay.evaluation.together import predict_together as predict_together
    from inlay.exchange.peft_writing import save_peft as save_peft
    from inlay.exchange.reading import load as load
    from inlay.methods.bottleneck import Bottleneck as Bottleneck
    from inlay.methods.compacter import Compacter as Compacter
    from inlay.methods.comparators import Full as Full
    from inlay.methods.comparators import Head as Head
    from inlay.methods.comparators import Top as Top
    from inlay.methods.conv import ConvAdapter as ConvAdapter
    from inlay.methods.ends import EmbeddingAdapter as EmbeddingAdapter
    from inlay.methods.ends import OutputAdapter as OutputAdapter
    from inlay.methods.fusion import Fusion as Fusion
    from inlay.methods.gate import Gate as Gate
    from inlay.methods.ia3 import IA3 as IA3
    from inlay.methods.invertible import Invertible as Invertible
    from inlay.methods.lora import LoRA as LoRA
    from inlay.methods.loreft import LoReFT as LoReFT
    from inlay.methods.parts_of_base import BitFit as BitFit
    from inlay.methods.parts_of_base import Norms as Norms
    from inlay.methods.prefix import Prefix as Prefix
    from inlay.methods.prompt import Prompt as Prompt
    from inlay.methods.side import Side as Side
    from inlay.methods.union import Part as Part
    from inlay.methods.union import Union as Union
    from inlay.methods.vera import VeRA as VeRA
    from inlay.pretraining.folder import Pretrained as Pretrained
    from inlay.pretraining.pretrain import pretrain as pretrain
    from inlay.sites.probe import probe as probe
    from inlay.sites.sitemap import Site as Site
    from inlay.sites.sitemap import SiteMap as SiteMap
    from inlay.store.save import save as save
    from inlay.training.depth import depth as depth
    from inlay.training.many import train_many as train_many
    from inlay.training.sweep import sweep as sweep
    from inlay.training.train import Run as Run
    from inlay.training.train import resume as resume
    from inlay.training.train import train as train

_HOMES = {
    "Adapters": "inlay.adapters.bank",
    "Average": "inlay.compose.average",
    "Blend": "inlay.adapters.blend",
    "BitFit": "inlay.methods.parts_of_base",
    "Bottleneck": "inlay.methods.bottleneck",
    "Compacter": "inlay.methods.compacter",
    "Composition": "inlay.compose.nodes",
    "ConvAdapter": "inlay.methods.conv",
    "EmbeddingAdapter": "inlay.methods.ends",
    "Full": "inlay.methods.comparators",
    "Fuse": "inlay.compose.fuse",
    "Fusion": "inlay.methods.fusion",
    "Gate": "inlay.methods.gate",
    "Head": "inlay.methods.comparators",
    "IA3": "inlay.methods.ia3",
    "Invertible": "inlay.methods.invertible",
    "LoRA": "inlay.methods.lora",
    "LoReFT": "inlay.methods.loreft",
    "Norms": "inlay.methods.parts_of_base",
    "OutputAdapter": "inlay.methods.ends",
    "Parallel": "inlay.compose.parallel",
    "Part": "inlay.methods.union",
    "Predictor": "inlay.evaluation.predictor",
    "Prefix": "inlay.methods.prefix",
    "Prompt": "inlay.methods.prompt",
    "Route": "inlay.compose.route",
    "Rows": "inlay.compose.rows",
    "Pretrained": "inlay.pretraining.folder",
    "Run": "inlay.training.train",
    "Side": "inlay.methods.side",
    "Site": "inlay.sites.sitemap",
    "SiteMap": "inlay.sites.sitemap",
    "Stack": "inlay.compose.stack",
    "Top": "inlay.methods.comparators",
    "Union": "inlay.methods.union",
    "VeRA": "inlay.methods.vera",
    "attach": "inlay.adapters.attach",
    "blend": "inlay.adapters.blend",
    "blend_saved": "inlay.evaluation.blending",
    "compare": "inlay.evaluation.compare",
    "depth": "inlay.training.depth",
    "detach": "inlay.adapters.attach",
    "evaluate": "inlay.evaluation.report",
    "fold": "inlay.adapters.fold",
    "load": "inlay.exchange.reading",
    "load_predictor": "inlay.evaluation.predictor",
    "load_predictors": "inlay.evaluation.predictor",
    "parse_composition": "inlay.compose.text",
    "predict_together": "inlay.evaluation.together",
    "pretrain": "inlay.pretraining.pretrain",
    "probe": "inlay.sites.probe",
    "repeat": "inlay.adapters.repeating",
    "resume": "inlay.training.train",
    "save": "inlay.store.save",
    "save_peft": "inlay.exchange.peft_writing",
    "sweep": "inlay.training.sweep",
    "train": "inlay.training.train",
    "train_many": "inlay.training.many",
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'inlay' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*globals(), *_HOMES])
