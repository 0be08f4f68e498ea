"""Where the peer's adapters of linear maps are: what its settings say, and what a file holds."""

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import Source, Tails, check_blocks


def lora_places(config: Config) -> tuple[list[str], list[str]]:
    """Take the settings of where a LoRA is: which of q, k and v, and kinds of linear maps.

    Raises:
        FormatError: If a setting cannot be used.
    """
    matrices = config.take("attn_matrices", ["q", "v"])
    if not isinstance(matrices, list) or not set(matrices) <= {"q", "k", "v"}:
        raise config.wrong("attn_matrices", matrices, "a list of 'q', 'k' and 'v'")
    ordered = [letter for letter in "qkv" if letter in matrices]
    places = list(ordered) if config.take("selfattn_lora", default=True) else []
    if config.take("intermediate_lora", default=False):
        places.append("up")
    if config.take("output_lora", default=False):
        places.append("down")
    return ordered, places


def check_linear(
    source: Source, tails: dict[str, Tails], places: list[str], leave_out: object
) -> None:
    """Refuse a file without tensors at a map that the config names.

    Which maps of a feed-forward layer the peer means differs by family, so that only kinds that
    the file has somewhere are asked for in every block, and the number of kinds is compared.

    Raises:
        FormatError: If one is missing.
    """
    kinds = {source.sites[name].kind for name in tails}
    attention = [p for p in places if p in "qkv"]
    if not tails:
        raise FormatError(f"{source.where}: there are no tensors of a LoRA.")
    there = [s for s in source.sites if s.kind in kinds]
    check_blocks(source, there, tails, leave_out)
    asked = set(attention) if "qkv" not in kinds else {"qkv"} if attention else set()
    for kind in sorted(asked - kinds):
        raise FormatError(
            f"{source.where}: there are no tensors for any map {kind!r}, where the config says "
            "there is an adapter; the file is incomplete, or of another model."
        )
    if len(kinds - {"q", "k", "v", "qkv"}) != len(places) - len(attention):
        raise FormatError(
            f"{source.where}: the config puts a LoRA at {', '.join(places)}, but the tensors are "
            f"at {', '.join(sorted(kinds))}; the file is incomplete, or of another model."
        )
