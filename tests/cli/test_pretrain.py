"""`inlay pretrain`: its options, what it prints, and its exit codes."""

import json

import pytest

from tests.pretraining import text

OPTIONS = ["--vocab-size", "300", "--max-length", "24", "--batch-size", "8", "--steps", "6"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A text file of 150 documents."""
    return text.write_text(tmp_path_factory.mktemp("corpus") / "walk.txt")


def test_results_go_to_stdout_and_progress_to_stderr(call, corpus, tmp_path):
    shape = text.write_shape(tmp_path, "clm")
    given = ["pretrain", corpus, "--objective", "clm", "--size", shape, *OPTIONS]
    code, out, err = call(*given, "--out", tmp_path / "model")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("held-out perplexity ")
    assert " by frequency, 296 by chance" in lines[1]
    assert lines[-1] == f"next   inlay train yourfile.csv --base {tmp_path / 'model'}"
    assert "plan   clm: " in err and " tokens, of 300 different" in err
    assert "6 steps, batch 8 of 24 tokens" in err
    assert "perplexity" in err
    code, out, err = call(*given, "--out", tmp_path / "model")
    assert (code, out) == (2, "")
    assert "holds a finished pretraining; choose another --out, or use --force" in err
    code, out, _ = call(*given, "--out", tmp_path / "model", "--force", "--json")
    metrics = json.loads(out)
    assert (code, metrics["steps"], metrics["folder"]) == (0, 6, str(tmp_path / "model"))
    saved = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert saved == metrics


def test_columns_and_several_sources(call, corpus, tmp_path):
    rows = [{"one": words, "two": words.upper()} for words in text.documents(60, seed=2)]
    table = tmp_path / "rows.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    shape = text.write_shape(tmp_path, "mlm")
    code, out, err = call(
        "pretrain", table, corpus, "--size", shape, *OPTIONS, "--text-column", "one",
        "--eval_every", "3", "--out", tmp_path / "model", "--json",
    )  # fmt: skip
    assert code == 0, err
    settings = json.loads((tmp_path / "model" / "pretraining.json").read_text())
    assert settings["text_columns"] == ["one"]
    assert [record["documents"] for record in settings["corpus_files"]] == [60, 150]
    assert json.loads(out)["objective"] == "mlm"


def test_mistakes_have_codes(call, corpus, tmp_path):
    out = ["--out", tmp_path / "x"]
    assert call("pretrain", tmp_path / "none.txt", *out)[0] == 3
    code, _, err = call("pretrain", corpus, "--objective", "clmm", *out)
    assert code == 2 and "objective='clmm' is not known. Known: mlm, clm, denoise, infill" in err
    code, _, err = call("pretrain", corpus, "--base", tmp_path / "nowhere", *out)
    assert code == 2 and "nowhere' is not on this machine" in err
    code, _, err = call("pretrain", corpus)
    assert code == 2 and "--out" in err
    assert not (tmp_path / "x" / "config.json").exists()


def test_help_names_the_defaults(call):
    code, out, _ = call("pretrain", "--help")
    assert code == 0
    for part in ("[default: mlm]", "300 for tiny", "[default: 16]", "CORPUS..."):
        assert part in out
