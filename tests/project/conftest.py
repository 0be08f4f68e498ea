import pytest

from inlay.project.config import read_project
from tests import tiny


@pytest.fixture
def project(tmp_path, root):
    """A project of two small tasks, read anew at each call."""
    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(60))
    tiny.write_csv(tmp_path / "other.csv", tiny.rows(60, seed=4))
    path = tmp_path / "inlay.yaml"

    def read(**train):
        settings = {"method": "head", "epochs": 1, "precision": "float32", **train}
        shared = ", ".join(f"{key}: {value}" for key, value in settings.items())
        path.write_text(
            f"base: {tiny.shared_base(root)}\ntrain: {{{shared}}}\ntasks:\n"
            "  topics: {data: topics.csv, gate: 0.0}\n  other: {data: other.csv, gate: 1.1}\n"
        )
        return read_project(path)

    return read


@pytest.fixture
def root(tmp_path_factory):
    return tmp_path_factory.getbasetemp()
