"""The manifest of a saved adapter: what it is, for which base, and what its tensors are."""

from pathlib import Path
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, ValidationError

from inlay.errors import FormatError

FORMAT = "inlay-adapter"
FORMAT_VERSION = 1
"""Raised when an older library could read a new file wrongly."""

MANIFEST_FILE = "adapter.json"
WEIGHTS_FILE = "adapter.safetensors"
BELOW_FOLDER = "below"
"""Inside an adapter's folder: a copy of what it is stacked on, without heads."""


@final
class PlacementRecord(BaseModel):
    """The query an adapter was placed with, and the sites that answered it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: str
    layers: str
    submodel: str
    sites: list[str]


@final
class BaseRecord(BaseModel):
    """Which base an adapter was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None
    """Hub name or folder, as far as known; for people and for finding it again."""
    revision: str | None
    fingerprint: str
    """Hash of the weights; decides whether a model is the same base."""
    model_class: str
    sites_digest: str


@final
class CombinesRecord(BaseModel):
    """What a learned combination is over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    composition: str
    """The text form of a `Fuse` or `Route`."""
    adapters: dict[str, str]
    """Name of each adapter in it -> hash of its weights, as learned weights fit no others."""


@final
class StackRecord(BaseModel):
    """What an adapter is stacked on; its files lie in `BELOW_FOLDER`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    weights: str
    """Hash of its weights, as what was learned above it fits no other."""


@final
class Manifest(BaseModel):
    """The content of `adapter.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["inlay-adapter"]
    format_version: int
    library_version: str
    name: str
    method: dict[str, Any]
    placement: PlacementRecord | None
    base: BaseRecord
    has_head: bool
    own_heads: list[str]
    tensors: dict[str, list[int]]
    """Name -> shape, so that a file that lost a tensor is recognised."""
    combines: CombinesRecord | None = None
    """For the learned weights of a `Fuse` or `Route`; not written for an adapter."""
    stack_on: StackRecord | None = None
    """What runs below it; not written for an adapter that acts alone."""
    card: dict[str, Any]
    """What the layers above keep here: task, labels, metrics."""


def adapter_folder(folder: str | Path) -> Path:
    """Return the folder of the adapter, given that of the adapter or of its run.

    Raises:
        FormatError: If there is no saved adapter; an unfinished run is named as such.
    """
    folder = Path(folder)
    for candidate in (folder, folder / "adapter"):
        if (candidate / MANIFEST_FILE).is_file():
            return candidate
    if (folder / "config.yaml").is_file():
        raise FormatError(
            f"{folder} is a run that has not finished. Continue it with: inlay resume {folder}"
        )
    if not folder.exists():
        raise FormatError(f"{folder} does not exist. `inlay list` shows the runs there are.")
    raise FormatError(
        f"{folder} holds no saved adapter ({MANIFEST_FILE}). Give a run's folder or its adapter/."
    )


def read_manifest(folder: Path) -> Manifest:
    """Read and check `adapter.json`.

    Raises:
        FormatError: If it is missing, damaged, foreign, or of a newer version.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise FormatError(
            f"{folder} is no saved adapter: it has no {MANIFEST_FILE}. "
            "Give the folder that `inlay.save` wrote, or a run's folder."
        )
    try:
        text = path.read_text(encoding="utf-8")
        version = _Version.model_validate_json(text)
        if version.format != FORMAT:
            raise FormatError(f"{path}: format is {version.format!r}; expected {FORMAT!r}.")
        if version.format_version > FORMAT_VERSION:
            raise FormatError(
                f"{path}: format version {version.format_version} is newer than "
                f"{FORMAT_VERSION}, the newest this library reads. Update inlay."
            )
        return Manifest.model_validate_json(text)
    except (ValidationError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {_first_problem(error)}.") from error


@final
class _Version(BaseModel):
    """The two fields that every version of the manifest has."""

    format: str
    format_version: int


def _first_problem(error: ValidationError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not text in UTF-8"
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
