"""A reader sees the old content or the new, never half."""

import pytest

from inlay.store.atomic import folder_atomically, is_leftover, write_atomically


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "one")
    write_atomically(path, b"two \xc3\xbc")
    assert path.read_text(encoding="utf-8") == "two ü"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_failed_write_leaves_the_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomically(path, "old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_is_whole_or_not_there(tmp_path):
    path = tmp_path / "folder"

    def write(*names, fail=False):
        with folder_atomically(path) as temporary:
            for name in names:
                (temporary / name).write_text(name)
            if fail:
                raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        write("a", fail=True)
    assert list(tmp_path.iterdir()) == []
    write("a", "b")
    with pytest.raises(KeyboardInterrupt, match="stop"):
        write("c", fail=True)
    assert sorted(p.name for p in path.iterdir()) == ["a", "b"]
    write("d")
    assert [p.name for p in path.iterdir()] == ["d"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_leftovers_are_told_by_the_name_they_were_to_have():
    assert is_leftover(".metrics.json.ab12_xyz", ["metrics.json"])
    assert is_leftover(".adapter.ab12_xyz.old", ["adapter"])
    for name in ("metrics.json", ".metrics.json.ab12", ".other.json.ab12_xyz", "metrics.json.ab"):
        assert not is_leftover(name, ["metrics.json"])
