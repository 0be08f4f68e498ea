import json
import shutil


def test_a_run(call, run):
    code, out, err = call("show", run)
    assert (code, err) == (0, "")
    assert out.startswith(f"run      {run}   finished\n")
    assert "epochs: 3   (flag)" in out
    assert "method: bottleneck\n" in out
    assert "layers: upper   (default of bottleneck)" in out
    assert "at attention, ffn, layers upper: 2 sites (1.attention, 1.ffn)" in out
    assert "labels   3: card, loan, travel" in out
    assert "test   accuracy" in out
    assert "adapter/adapter.safetensors" in out
    assert f'next     inlay predict {run} "a text of yours"' in out


def test_its_adapter(call, run):
    code, out, _ = call("show", run / "adapter")
    assert code == 0
    assert out.startswith(f"adapter  {run / 'adapter'}\n")
    assert "test   accuracy" in out


def test_the_parameters_are_those_of_the_metrics(call, run):
    shown = json.loads(call("show", run, "--json")[1])
    metrics = json.loads((run / "metrics.json").read_text())
    assert shown["adapter"]["parameters"] == {
        "adapter": metrics["adapter_parameters"], "head": metrics["head_parameters"],
    }  # fmt: skip
    assert shown["files"]["metrics.json"] == (run / "metrics.json").stat().st_size
    assert shown["origins"]["epochs"] == "flag"
    assert shown["config"]["epochs"] == 3


def test_an_unfinished_run_says_how_to_go_on(call, run, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(run, folder)
    (folder / "metrics.json").unlink()
    shutil.rmtree(folder / "adapter")
    code, out, _ = call("show", folder)
    assert code == 0
    assert "unfinished" in out.splitlines()[0]
    assert out.rstrip().endswith(f"inlay resume {folder}")


def test_what_is_neither(call, tmp_path):
    code, _, err = call("show", tmp_path)
    assert code == 2
    assert "is neither a run nor a saved adapter" in err
    assert "does not exist" in call("show", tmp_path / "nowhere")[2]


def test_what_is_below(call, run, tmp_path):
    folder = shutil.copytree(run / "adapter", tmp_path / "adapter")
    manifest = json.loads((folder / "adapter.json").read_text())
    manifest["stack_on"] = {"name": "shared one", "weights": "ab"}
    (folder / "adapter.json").write_text(json.dumps(manifest))
    assert "below    'shared one', which stayed as it was" in call("show", folder)[1]
    assert json.loads(call("show", folder, "--json")[1])["adapter"]["stack_on"] == "shared one"
    assert json.loads(call("show", run, "--json")[1])["adapter"]["stack_on"] is None


def test_an_adapter_of_several_methods(call, tmp_path):
    import inlay
    from tests.contracts import tiny

    model = tiny.encoder()
    inlay.attach(model).add("a", "unipelt[prefix.inner_width=3]")
    inlay.save(model, "a", tmp_path / "a")
    code, out, _ = call("show", tmp_path / "a")
    assert code == 0
    joined = " ".join(out.split())
    assert "'a': prefix length=10 inner_width=3" in joined
    assert "at=attention | bottleneck reduction=16" in joined
    assert "at=ffn | lora rank=8" in joined
