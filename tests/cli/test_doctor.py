import torch

from inlay.store import bases


def test_the_screen(call, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(bases, "bases_on_disk", lambda: ["a/b", bases.ALIASES["minilm"]])
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert f"torch {torch.__version__}" in out
    assert "network  off (HF_HUB_OFFLINE=1); telemetry: none, there is none" in out
    assert "models   a/b\n" in out
    assert f"{bases.ALIASES['minilm']} (--base minilm)" in out
    assert "inlay inspect yourfile.csv" in out


def test_no_model_on_disk(call, monkeypatch):
    monkeypatch.setattr(bases, "bases_on_disk", list)
    assert "none on this machine yet" in call("doctor")[1]


def test_a_cuda_build_without_gpu(call, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "is built for CUDA 13.0, but there is no GPU to be seen" in call("doctor")[1]


def test_the_network_is_allowed_unless_switched_off(call, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert "network  allowed" in call("doctor")[1]
