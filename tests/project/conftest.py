"""A project of two tasks on the tiny base, trained once and copied for each test."""

import shutil

import pytest

from inlay.project.config import read_project
from inlay.project.work import run_project
from tests import tiny

FILE = """
base: {base}
train: {{epochs: 1, method: head, batch_size: 16, learning_rate: 0.02, precision: float32}}
seeds: [1, 2]
tasks:
  topics: {{data: topics.csv, gate: 0.0}}
  noisy: {{data: noisy.csv}}
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a project of which `topics` is trained and `noisy` is new."""
    folder = tmp_path_factory.mktemp("project")
    tiny.write_csv(folder / "topics.csv", tiny.rows(60))
    tiny.write_csv(folder / "noisy.csv", tiny.rows(45, seed=3, noise=0.2))
    base = tiny.shared_base(tmp_path_factory.getbasetemp())
    (folder / "inlay.yaml").write_text(FILE.format(base=base), encoding="utf-8")
    run_project(read_project(folder / "inlay.yaml"), ["topics"])
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the project's folder, times kept."""
    return shutil.copytree(trained, tmp_path / "project")


@pytest.fixture
def project(folder):
    """The project in the copy."""
    return read_project(folder / "inlay.yaml")
