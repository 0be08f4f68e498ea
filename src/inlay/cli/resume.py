"""`inlay resume`: go on with a training that was interrupted."""

from typing import Annotated

import typer

from inlay.cli import console
from inlay.cli.options import Json
from inlay.cli.train import show_end


def resume(
    *,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder.")],
    as_json: Json = False,
) -> int:
    """Go on with a training that was interrupted."""
    console.be_calm()
    from inlay.cli.progress import reporting
    from inlay.training.train import resume as run_training

    with reporting() as reporter:
        finished = run_training(run, reporter=reporter)
    show_end(finished, as_json=as_json)
    return 0
