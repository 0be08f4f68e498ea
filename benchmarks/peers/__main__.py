"""Compare with the peers, row by row.

    make bench      or: python -m benchmarks.peers --rows step,step-bf16 --pairs 5

The peers run in an environment of their own (`make .venv-peers/.installed`). Rows take turns, pair
by pair, and what two of them share is run once a round. Each pair is written as soon as it is
there; a row that is measured again replaces the older one, or with `--more` adds to it.
"""

import argparse
import json
import sys
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.peers.alternate import ROOT, How, NotComparedError, Round, measure_pair
from benchmarks.peers.rows import ROWS, Row
from benchmarks.peers.table import line, table
from inlay.store.bases import resolve_base


def main() -> None:
    """Measure the rows asked for and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="*", help='names or patterns: "step*,fuse"')
    parser.add_argument("--list", action="store_true", help="only name the rows")
    parser.add_argument("--table", action="store_true", help="only write the table anew")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--more", action="store_true", help="add pairs to those of a row")
    parser.add_argument("--repeats", type=int, default=15, help="in each process")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of both sides; PyTorch's choice if not given")
    parser.add_argument(
        "--set", default="", help='for whole trainings, to try them out: "rows=400 epochs=1"'
    )
    parser.add_argument("--peers-python", type=Path, default=ROOT / ".venv-peers/bin/python")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows = chosen(options.rows)
    if options.list:
        for row in rows:
            print(f"{row.name:28} {row.goal:8} {row.what}")
        return
    problems = 0
    if not options.table:
        how = How(
            base=resolve_base("minilm").source, peers_python=options.peers_python,
            repeats=options.repeats, warmup=options.warmup, threads=options.threads,
            settings=options.set,
        )  # fmt: skip
        problems = measure(rows, how, options)
    write(read(options.out), options.out)
    if problems:
        raise SystemExit(f"{problems} of {len(rows)} rows could not be compared")


def chosen(patterns: str) -> list[Row]:
    """Return the rows that match, in the table's order.

    Raises:
        SystemExit: If a pattern matches nothing.
    """
    wanted = patterns.split(",")
    for pattern in wanted:
        if not any(fnmatch(name, pattern) for name in ROWS):
            raise SystemExit(f"--rows {pattern}: there is no such row; they are {', '.join(ROWS)}")
    return [row for row in ROWS.values() if any(fnmatch(row.name, own) for own in wanted)]


def measure(rows: list[Row], how: How, options: Any) -> int:
    """Measure pairs of rows in turn, writing each; return how many rows could not be compared."""
    measured = {row.name: begun(row, options) for row in rows}
    left = list(rows)
    for _ in range(options.pairs):
        done: Round = {}
        left = [row for row in left if add_pair(row, measured[row.name], how, done, options)]
    for row in left:
        print(line(row, measured[row.name]), flush=True)
    return len(rows) - len(left)


def begun(row: Row, options: Any) -> dict[str, Any]:
    """Return what is known of a row before it is measured: with `--more` its pairs."""
    earlier = read(options.out).get(row.name, {}) if options.more else {}
    if "problem" in earlier:
        earlier = {}
    commands = [earlier["command"]] if earlier else []
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "command": "; ".join([*commands, command_of(sys.argv[1:])]),
        "pairs": list(earlier.get("pairs", [])),
    }


def add_pair(row: Row, found: dict[str, Any], how: How, done: Round, options: Any) -> bool:
    """Measure one more pair of a row and write it; tell whether it could be compared."""
    pairs = found["pairs"]
    try:
        pair = measure_pair(row, len(pairs) + 1, how, done)
    except NotComparedError as error:
        print(f"{row.name}: {error}", file=sys.stderr)
        if options.more and pairs:
            return False  # those that were there stay good
        found["problem"] = str(error)
    else:
        if pairs and versions_in(pair) != versions_in(pairs[0]):
            raise SystemExit(
                f"{row.name}: this pair is of {versions_in(pair)}, those before of "
                f"{versions_in(pairs[0])}; measure all of them anew, without --more"
            )
        pairs.append(pair)
    write({**read(options.out), row.name: found}, options.out)
    return "problem" not in found


def command_of(arguments: list[str]) -> str:
    """Return the command as somebody else would give it, without paths of this machine."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--peers-python")
    parser.add_argument("--out")
    return " ".join(["python -m benchmarks.peers", *parser.parse_known_args(arguments)[1]])


def versions_in(pair: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what each side of a pair ran with."""
    return [side["versions"] for side in pair]


def read(folder: Path) -> dict[str, Any]:
    """Read what was measured before."""
    path = folder / "peers.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def write(measured: dict[str, Any], folder: Path) -> None:
    """Write all readings and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers.json").write_text(json.dumps(measured, indent=1) + "\n")
    (folder / "peers.md").write_text(table(measured))


if __name__ == "__main__":
    main()
