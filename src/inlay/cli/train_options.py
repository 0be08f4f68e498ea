"""The options of `inlay train`, each with its help text; their names are those of `TrainConfig`."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    str | None, typer.Argument(metavar="DATA", help="File, folder, built-in or Hub name.")
]
Base = Annotated[
    str | None, typer.Option(help="Base: alias, folder or Hub name.", show_default="minilm")
]
Method = Annotated[
    str | None,
    typer.Option(
        help="bottleneck, lora, pfeiffer, houlsby, full, top:2, head, or with settings: "
        "lora[rank=4].",
        show_default="bottleneck",
    ),
]
At = Annotated[
    str | None, typer.Option(help='Sites, like "attention, ffn".', show_default="by method")
]
StackOn = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="Run that stays frozen below the new adapter."),
]
Layers = Annotated[
    str | None, typer.Option(help="Blocks: all, upper, upper 1/4, 3-5.", show_default="by method")
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Passes over the data, at most.", show_default="5; more for few rows"),
]
BatchSize = Annotated[int | None, typer.Option(help="Rows of a step.", show_default="32")]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak learning rate.", show_default="by method")
]
FewShot = Annotated[
    int | None, typer.Option(min=1, help="Learn from this many rows for each label.")
]
Seed = Annotated[int | None, typer.Option(help="Of weights, order and dropout.", show_default="1")]
Out = Annotated[Path | None, typer.Option(help="Folder of the run.", show_default="new, in runs/")]
RunsOut = Annotated[
    Path | None, typer.Option("--out", help="Folder of the runs.", show_default="new, in runs/")
]
Config = Annotated[Path | None, typer.Option(help="YAML file of settings; options win over it.")]
DropUnseenLabels = Annotated[
    bool, typer.Option("--drop-unseen-labels", help="Leave out rows with labels not in train.")
]
MaxLength = Annotated[
    int | None, typer.Option(help="Tokens of a text that are read.", show_default="256")
]
Precision = Annotated[
    str | None, typer.Option(help="auto, float32 or bfloat16.", show_default="auto")
]
Replay = Annotated[
    bool | None,
    typer.Option(
        "--replay/--no-replay",
        help="Keep on disk what frozen blocks compute, for later epochs and runs.",
        show_default="where possible",
    ),
]
Trunk = Annotated[
    str | None,
    typer.Option(help="How the frozen base is stored: auto or int8.", show_default="auto"),
]
TrunkDropout = Annotated[
    bool, typer.Option("--trunk-dropout", help="Run the frozen base with its dropout in training.")
]
ExplainSpeed = Annotated[
    bool, typer.Option("--explain-speed", help="Say what was chosen for speed, and why.")
]
Patience = Annotated[
    int | None,
    typer.Option(help="Evaluations without gain before it stops.", show_default="3"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be given often."),
]
Project = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Train every task of a project that is not fresh."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a run that is in --out already.")]
