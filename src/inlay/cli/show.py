"""`inlay show`: one run or one saved adapter: settings, places, sizes, numbers, files."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inlay.cli import console, wording
from inlay.cli.options import Json, Run
from inlay.errors import RunError

if TYPE_CHECKING:
    from inlay.store.manifest import Manifest


def show(*, run: Run, as_json: Json = False) -> int:
    """Show a run or a saved adapter with all its details."""
    described = describe(Path(run))
    if as_json:
        console.put(json.dumps(described, indent=2, ensure_ascii=False))
        return 0
    for line in _lines(described):
        console.put(line)
    return 0


def describe(folder: Path) -> dict[str, Any]:
    """Gather what is known of a run or an adapter, as plain data.

    Raises:
        RunError: If the folder is neither.
        FormatError: If the adapter's manifest is damaged.
    """
    from inlay.store.manifest import MANIFEST_FILE, read_manifest
    from inlay.training.run_folder import ADAPTER_FOLDER, CONFIG_FILE, METRICS_FILE, RunFolder

    run = RunFolder(folder)
    is_run = (folder / CONFIG_FILE).is_file()
    adapter = folder / ADAPTER_FOLDER if is_run else folder
    if not is_run and not (folder / MANIFEST_FILE).is_file():
        what = "is neither a run nor a saved adapter" if folder.is_dir() else "does not exist"
        raise RunError(f"{folder} {what}. `inlay list` shows the runs there are.")
    described: dict[str, Any] = {"folder": str(folder), "kind": "run" if is_run else "adapter"}
    if is_run:
        resolved = run.read_config()
        described["state"] = "finished" if run.is_finished else "unfinished"
        described["config"] = resolved.config.model_dump()
        described["origins"] = _origins(folder / CONFIG_FILE)
        if run.is_finished:
            described["metrics"] = run.read_json(METRICS_FILE)
    if (adapter / MANIFEST_FILE).is_file():
        described["adapter"] = _adapter(read_manifest(adapter))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    described["files"] = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    return described


def _origins(config: Path) -> dict[str, str]:
    """Read where each value came from: the comment behind it."""
    lines = [line for line in config.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    return {line.partition(":")[0]: line.rpartition("  # ")[2] for line in lines}


def _adapter(manifest: "Manifest") -> dict[str, Any]:
    placement = manifest.placement
    sizes = {"adapter": 0, "head": 0}
    for name, shape in manifest.tensors.items():
        number = 1
        for length in shape:
            number *= length
        sizes["head" if name.startswith(("head/", "own_head/")) else "adapter"] += number
    return {
        "name": manifest.name,
        "method": manifest.method,
        "at": placement.at if placement else None,
        "layers": placement.layers if placement else None,
        "sites": placement.sites if placement else [],
        "parameters": sizes,
        "base": manifest.base.model_dump(),
        "library_version": manifest.library_version,
        "task": manifest.card.get("task", {}).get("task"),
        "members": manifest.card.get("task", {}).get("names", []),
        "has_pairs": manifest.card.get("data", {}).get("has_pairs", False),
        "labels": manifest.card.get("task", {}).get("labels", []),
        "metrics": manifest.card.get("metrics", {}),
        "blend": manifest.card.get("blend"),
        "stack_on": manifest.stack_on.name if manifest.stack_on else None,
    }


def _lines(described: dict[str, Any]) -> list[str]:
    lines = [f"{described['kind']:<8} {described['folder']}"]
    if "state" in described:
        lines[0] += f"   {described['state']}"
    if "config" in described:
        lines += _config_lines(described["config"], described["origins"])
    if "adapter" in described:
        lines += _adapter_lines(described["adapter"])
    lines += _result_lines(described)
    lines.append("")
    wide = max(map(len, described["files"]), default=0)
    for number, (name, size) in enumerate(described["files"].items()):
        lines.append(f"{'' if number else 'files':<8} {name:<{wide}}  {wording.size(size):>7}")
    return [*lines, "", f"next     {_next(described)}"]


def _config_lines(config: dict[str, Any], origins: dict[str, str]) -> list[str]:
    """Return the settings that somebody chose, or that matter always."""
    always = ("data", "base", "method", "learning_rate", "epochs", "batch_size", "seed")
    lines = []
    for name, value in config.items():
        origin = origins.get(name, "")
        if name in always or origin != "default":
            said = "" if origin == "default" else f"   ({origin})"
            lines.append(f"{'':<8} {name}: {value}{said}")
    lines[0] = "settings" + lines[0][8:]
    lines.append(f"{'':<8} all others at their defaults, see config.yaml")
    return ["", *lines]


def _in_words(settings: dict[str, Any]) -> str:
    """Return a method and its settings, without those that are off."""
    method = dict(settings)
    words = [str(method.pop("method", method.pop("name", "?")))]
    words += [f"{key}={value}" for key, value in method.items() if value not in (None, False)]
    return " ".join(words)


def _adapter_lines(adapter: dict[str, Any]) -> list[str]:
    sizes = adapter["parameters"]
    parts = adapter["method"].get("parts", [adapter["method"]])
    lines = [
        "",
        *_wrapped("adapter", f"{adapter['name']!r}: {' | '.join(map(_in_words, parts))}"),
        (
            f"         {wording.count(sizes['adapter'])} weights, and "
            f"{wording.count(sizes['head'])} in the head"
        ),
    ]
    if adapter["sites"]:
        sites = adapter["sites"]
        few = ", ".join(sites[:6]) + (", ..." if len(sites) > 6 else "")
        where = f"at {adapter['at']}, layers {adapter['layers']}: "
        lines += _wrapped("", f"{where}{wording.plural(len(sites), 'site')} ({few})")
    if adapter["stack_on"] is not None:
        lines += _wrapped("below", f"{adapter['stack_on']!r}, which stayed as it was; see below/")
    base = adapter["base"]
    lines.append(
        f"base     {base['id']}   {base['model_class']}, weights {base['fingerprint'][:12]}"
    )
    if (made := adapter["blend"]) is not None:
        parts = " + ".join(f"{weight:g} x {name}" for name, weight in made["weights"].items())
        lines += _wrapped("blend", f"{made['method']}: {parts}")
    labels = adapter["labels"]
    if labels:
        few = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
        number, what = wording.labels(adapter["task"], len(labels)).rsplit(" ", 1)
        lines += _wrapped(what, f"{number}: {few}")
    return lines


def _wrapped(title: str, text: str) -> list[str]:
    return wording.wrap(text, console.width(), first=f"{title:<9}", rest=" " * 9)


def _result_lines(described: dict[str, Any]) -> list[str]:
    from inlay.cli.results import baseline_lines, report_lines

    if "metrics" in described:
        metrics = described["metrics"]
        return ["", *report_lines(metrics["test"]), *baseline_lines(metrics["baselines"])]
    report = described.get("adapter", {}).get("metrics", {}).get("test")
    return ["", *report_lines(report)] if report else []


def _next(described: dict[str, Any]) -> str:
    from inlay.cli.results import next_step

    folder = shlex.quote(described["folder"])
    if described.get("state") == "unfinished":
        return f"inlay resume {folder}"
    adapter = described.get("adapter", {})
    return next_step(
        described["folder"], adapter.get("task"), has_pairs=adapter.get("has_pairs", False),
        members=adapter.get("members", ()),
    )  # fmt: skip
