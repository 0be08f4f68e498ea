"""`inlay list`: the runs in a folder, finished or not."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from inlay.cli import console, wording
from inlay.cli.options import Json
from inlay.cli.results import number, title
from inlay.cli.table import table
from inlay.errors import InlayError, RunError

_HEADER = ("run", "data", "base", "method", "seed", "result", "weights", "trained", "state")


def list_runs(
    *,
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where runs are.")] = Path(
        "runs"
    ),
    as_json: Json = False,
) -> int:
    """List the runs in a folder, the newest first."""
    rows = read_runs(folder)
    if as_json:
        console.put(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        console.put(f"no runs in {folder}; the first one: inlay train yourfile.csv")
    else:
        right = ("seed", "result", "weights", "trained")
        cells = [[_cell(row, name) for name in _HEADER] for row in rows]
        console.put(table(_HEADER, cells, right=right, limit=console.stdout_width()))
    return 0


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """Read what is to be said of each run in a folder, the newest first.

    Raises:
        RunError: If there is no such folder, unless it is the default one.
    """
    from inlay.training.run_folder import CONFIG_FILE

    if not folder.is_dir():
        if folder == Path("runs"):
            return []
        raise RunError(f"{folder} is no folder; give one that holds runs.")
    if (folder / CONFIG_FILE).is_file():
        return [_read(folder)]
    runs = [path.parent for path in folder.glob(f"*/{CONFIG_FILE}")]
    return [_read(run) for run in sorted(runs, key=_started, reverse=True)]


def _started(run: Path) -> tuple[float, str]:
    from inlay.training.run_folder import CONFIG_FILE

    return (run / CONFIG_FILE).stat().st_mtime, run.name


def _read(run: Path) -> dict[str, Any]:
    from inlay.training.run_folder import METRICS_FILE, RunFolder

    folder = RunFolder(run)
    when = datetime.fromtimestamp(_started(run)[0]).astimezone().isoformat(timespec="seconds")
    row: dict[str, Any] = {"run": str(run), "started": when}
    try:
        config = folder.read_config().config
        row |= {name: getattr(config, name) for name in ("data", "base", "method", "seed")}
        if not folder.is_finished:
            return row | {"state": "unfinished"}
        metrics = folder.read_json(METRICS_FILE)
        return row | {
            "data": metrics["data"],
            "base": metrics["base"],
            "metric": metrics["test"]["metric"],
            "result": metrics["test"][metrics["test"]["metric"]],
            "trainable_parameters": metrics["trainable_parameters"],
            "train_seconds": metrics["train_seconds"],
            "state": "finished",
        }
    except (InlayError, KeyError, TypeError) as error:
        return row | {"state": "damaged", "problem": str(error)}


def _cell(row: dict[str, Any], name: str) -> str:
    if name == "data":
        return Path(row["data"]).name if "data" in row else ""
    if name == "base":
        return str(row.get("base", "")).rpartition("/")[2]
    if name == "result":
        if "result" not in row:
            return ""
        return f"{title(row['metric'])} {number(row['metric'], row['result'])}"
    if name == "weights":
        count = row.get("trainable_parameters")
        return "" if count is None else wording.weights(count)
    if name == "trained":
        seconds = row.get("train_seconds")
        return "" if seconds is None else wording.duration(seconds)
    return str(row.get(name, ""))
