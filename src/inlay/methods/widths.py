"""The inner width of a bottleneck, given itself or as a part of the outer one."""

from collections.abc import Mapping

from inlay.errors import ConfigError
from inlay.methods.base import Place, check_at_least

Reduction = float | Mapping[str, float]
"""The outer width by the inner one; a mapping gives it by block, as text (`"3"`, or `"decoder.3"`
for one submodel), and for the rest under `"default"`."""


def check_widths(
    owner: str, reduction: Reduction, inner_width: int | None, *, usual: float
) -> None:
    """Refuse widths that cannot be, and both ways to give one.

    Args:
        owner: The method's name, for messages.
        reduction: The setting.
        inner_width: The other setting, instead of `reduction`.
        usual: The value of `reduction` if it was not given.

    Raises:
        ConfigError: If a value is not allowed, or both are given.
    """
    if inner_width is not None:
        check_at_least(owner, "inner_width", inner_width, 1)
        if reduction != usual:
            raise ConfigError(
                f"{owner}(reduction={reduction!r}, inner_width={inner_width}): give one of the two."
            )
    for value in reduction.values() if isinstance(reduction, Mapping) else [reduction]:
        if value <= 0:
            raise ConfigError(f"{owner}(reduction={value!r}): reduction must be above 0.")


def inner_width_at(
    owner: str, reduction: Reduction, inner_width: int | None, place: Place, *, multiple: int = 1
) -> int:
    """Return the inner width for one place.

    Args:
        owner: The method's name, for messages.
        reduction: The setting.
        inner_width: The other setting; if given it is the result.
        place: The place.
        multiple: What a width that follows from `reduction` is a multiple of, at least once.

    Raises:
        ConfigError: If the reductions by block have none for this block and no default.
    """
    if inner_width is not None:
        return inner_width
    if isinstance(reduction, Mapping):
        keys = (f"{place.submodel}.{place.block}", str(place.block), "default")
        found = next((reduction[key] for key in keys if key in reduction), None)
        if found is None:
            raise ConfigError(
                f"{owner}(reduction={dict(reduction)!r}): no reduction for block "
                f"{place.block} and no 'default'."
            )
        reduction = found
    return multiple * max(1, round(place.width / reduction / multiple))
