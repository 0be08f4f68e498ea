"""Time compositions on a MiniLM-sized encoder: rows of many adapters, and fusion of eight.

python -m benchmarks.compositions
"""

import statistics
import time
from datetime import datetime
from pathlib import Path

import torch
import transformers as hf
from torch.nn.functional import linear

import inlay
from inlay.adapters import rows as rows_module
from inlay.adapters.programs import SitePass
from inlay.methods.combining import Combined
from inlay.methods.fusion import FusionLayer

TABLE = Path(__file__).parent / "results" / "compositions.md"
_RUNS = 7


def main() -> None:
    """Measure and write the table."""
    torch.manual_seed(0)
    lines = [
        "# Compositions",
        "",
        f"Written {datetime.now():%Y-%m-%d} by `python -m benchmarks.compositions`; random weights "
        "in the shape of MiniLM-L6 (width 384, 6 blocks), float32, "
        f"{torch.get_num_threads()} thread(s) of a shared machine, torch {torch.__version__}. "
        f"Medians of {_RUNS} alternated runs, with the fastest and the slowest; read ratios.",
        "",
        "| what | median, ms | fastest | slowest |",
        "|---|---|---|---|",
    ]
    for what, times in {**rows_of_many(), **fusion_of_eight()}.items():
        median, low, high = (f(times) * 1e3 for f in (statistics.median, min, max))
        lines.append(f"| {what} | {median:.0f} | {low:.0f} | {high:.0f} |")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def encoder(number: int, method: str) -> torch.nn.Module:
    """Build a base with this many adapters."""
    config = hf.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        vocab_size=1000,
    )  # fmt: skip
    model = hf.BertModel(config).eval()
    adapters = inlay.attach(model)
    for index in range(number):
        for parameter in adapters.add(f"a{index}", method).parameters():
            parameter.data.normal_(0, 0.02)
    return model


def alternated(cases: dict) -> dict[str, list[float]]:
    """Run every case once to warm up, then all in turn."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(_RUNS + 1):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def rows_of_many() -> dict[str, list[float]]:
    """Time 64 rows of 32 tokens through the base, one adapter, and 64 adapters in two ways."""
    model = encoder(64, "bottleneck")
    ids = torch.randint(5, 900, (64, 32))
    rows = inlay.Rows(*[f"a{index}" for index in range(64)])
    grouped = rows_module.grouped_form

    active = {}
    for name, composition, form in (
        ("64 rows, base", None, grouped),
        ("64 rows, one bottleneck", "a0", grouped),
        ("64 rows, 64 bottlenecks, grouped", rows, grouped),
        ("64 rows, 64 bottlenecks, one after the other", rows, lambda *_: None),
    ):
        rows_module.grouped_form = form
        model.adapters.use(composition)
        with torch.no_grad():
            model(input_ids=ids)  # works out the layout of the rows, which is kept
        active[name] = model.adapters._running.active
    rows_module.grouped_form = grouped

    def run(name: str) -> None:
        model.adapters._running.for_all = active[name]
        with torch.no_grad():
            model(input_ids=ids)

    return alternated({name: lambda name=name: run(name) for name in active})


def fusion_of_eight() -> dict[str, list[float]]:
    """Time a forward pass and a training step of `Fuse` over eight adapters in two ways."""
    model = encoder(8, "pfeiffer")
    fuse = inlay.Fuse(*(f"a{index}" for index in range(8)))
    model.adapters.add_combiner(fuse)
    model.adapters.train(fuse)
    ids = torch.randint(5, 900, (32, 64))
    fast, generic = SitePass.fused, FusionLayer.forward

    def as_written(self: FusionLayer, x: torch.Tensor, updates: torch.Tensor, mask=None):
        """Project a key and a value for every adapter."""
        query = linear(x, self.query.weight, self.query.bias)
        scores = torch.einsum("...d,n...d->...n", query, linear(updates, self.key.weight))
        attention = scores.softmax(-1)
        values = linear(updates, self.value.weight)
        return Combined(torch.einsum("...n,n...d->...d", attention, values), attention)

    def run(*, learns: bool, as_paper: bool) -> None:
        SitePass.fused = (lambda *_: None) if as_paper else fast
        FusionLayer.forward = as_written if as_paper else generic
        with torch.set_grad_enabled(learns):
            hidden = model(input_ids=ids).last_hidden_state
            if learns:
                hidden.sum().backward()
        SitePass.fused, FusionLayer.forward = fast, generic

    return alternated(
        {
            "Fuse of 8, forward, a key and a value each": lambda: run(learns=False, as_paper=True),
            "Fuse of 8, forward": lambda: run(learns=False, as_paper=False),
            "Fuse of 8, training step, a key and a value each": lambda: run(
                learns=True, as_paper=True
            ),
            "Fuse of 8, training step": lambda: run(learns=True, as_paper=False),
        }
    )


if __name__ == "__main__":
    main()
