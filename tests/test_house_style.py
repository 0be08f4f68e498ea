"""The house rules that a program can check."""

import ast
import functools
import re
from pathlib import Path

import pytest

import inlay

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "inlay").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MAY_HAVE_TWO_BASES = {"ABC", "Protocol", "NamedTuple", "Module"}
FAMILIES = set(
    re.findall(
        r"\w+",
        "bert roberta gpt llama mistral mixtral qwen gemma phi granite olmo t5 bart marian mamba "
        "vit dino dinov2 swin convnext clip whisper wav2vec wav2vec2 yolos falcon bloom opt "
        "albert electra deberta neox distilbert conformer modernbert",
    )
)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def names_of(tree: ast.AST, kind: type) -> list:
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_file(path):
    text = path.read_text(encoding="utf-8")
    tree = parsed(path)
    assert text.count("\n") <= 400, "one file, one idea: at most 400 lines"
    assert ast.get_docstring(tree), "a module says in one sentence what it is for"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, functions):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines; at most 60"
        assert not isinstance(node, ast.Assert), "an assert is no message for a user"
        if isinstance(node, ast.Raise) and isinstance(node.cause, ast.Constant):
            raise AssertionError("`raise ... from None` hides the cause")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_classes_are_abstract_or_final(path):
    for node in names_of(parsed(path), ast.ClassDef):
        bases = [ast.unparse(base) for base in node.bases]
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        is_error = node.name.endswith("Error")
        is_open = node.name.startswith("Abstract") or is_error or "Protocol" in bases
        is_open = is_open or "NamedTuple" in bases
        assert is_open or "final" in decorators, f"{node.name} is neither abstract nor final"
        others = [base for base in bases if base.rsplit(".", 1)[-1] not in MAY_HAVE_TWO_BASES]
        assert len(others) <= 1 or is_error, f"{node.name} has two parents: {bases}"
        assert not re.search(r"Mixin|Manager|Handler|Util", node.name)


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "sites" in p.parts or "methods" in p.parts], ids=relative
)
def test_no_family_is_named_where_sites_are_found(path):
    tree = parsed(path)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                words |= set(re.split(r"[^a-z0-9]+", node.value.lower()))
        elif isinstance(node, ast.Name | ast.Attribute | ast.arg | ast.alias):
            name = getattr(node, "id", None) or getattr(node, "attr", None)
            name = name or getattr(node, "arg", None) or getattr(node, "name", "")
            words |= set(re.split(r"[^a-z0-9]+", name.lower()))
    # `bert` is also the published name of an initialisation.
    allowed = {"bert"} if path.name == "bottleneck.py" else set()
    assert not words & FAMILIES - allowed


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_every_raises_says_what_it_expects(path):
    for node in names_of(parsed(path), ast.Call):
        if ast.unparse(node.func) == "pytest.raises":
            given = {keyword.arg for keyword in node.keywords}
            assert "match" in given, f"line {node.lineno}: pytest.raises without match="


def test_tests_mirror_the_source():
    """Every file with logic of its own has a test file of the same name."""
    missing = []
    for path in SOURCES:
        inside = path.relative_to(ROOT / "src" / "inlay")
        has_code = names_of(parsed(path), ast.FunctionDef)
        if path.name.startswith("__") or not has_code:
            continue
        twin = ROOT / "tests" / inside.parent / f"test_{inside.name}"
        if not twin.exists():
            missing.append(f"{inside} -> {twin.relative_to(ROOT)}")
    assert not missing, "\n".join(missing)


def test_public_names_are_importable_and_sorted():
    assert sorted(inlay.__all__) == list(inlay.__all__)
    for name in inlay.__all__:
        assert getattr(inlay, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = inlay.nothing


def test_a_type_checker_sees_the_public_names():
    """What is imported on first use is also imported, from the same place, where types are read."""
    tree = parsed(ROOT / "src" / "inlay" / "__init__.py")
    found = {alias.asname: (node.module, alias.name)
             for node in names_of(tree, ast.ImportFrom) for alias in node.names
             if alias.asname is not None}  # fmt: skip
    assert found == {name: (home, name) for name, home in inlay._HOMES.items()}


def test_readme_is_short():
    assert (ROOT / "README.md").read_text().count("\n") <= 150


def test_no_file_called_utils():
    assert not [path for path in SOURCES if path.stem in ("utils", "helpers", "common")]


def test_nothing_names_a_machine():
    """No absolute path of somebody's machine and no package registry's host in the tree."""
    pattern = re.compile(r"/(work|root|home)/\w|pypi\.org|npmjs|pythonhosted|debian\.org")
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if parts[0].startswith(".venv") or parts[0] in (".git", "runs", "build") or path.is_dir():
            continue
        if path.suffix in (".py", ".md", ".toml", ".txt", ".yaml", ".json") or path.name in (
            "Makefile", "run", ".importlinter"
        ):  # fmt: skip
            text = path.read_text(encoding="utf-8", errors="replace")
            assert path == Path(__file__) or not pattern.search(text), relative(path)
