"""Types of the options of tasks, with the values that they allow."""

from typing import Annotated, Literal

from pydantic import Field

When = Literal["always", "training", "afterwards", "reports"]
"""When an option can be given: whenever there is the task, or in training only as it shapes what
is learnt, or afterwards only as training fits it to validation itself, or where there is a report,
as it changes no answer."""

DropRate = Annotated[float, Field(ge=0, lt=1)]
"""A fraction of channels that are zeroed."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Fraction = Annotated[float, Field(gt=0, le=1)]
"""A share that is not nothing."""

InnerFraction = Annotated[float, Field(gt=0, lt=1)]
"""A share that is neither nothing nor all."""

Number = Annotated[float, Field(allow_inf_nan=False)]

Count = Annotated[int, Field(ge=1)]

CountOrNone = Annotated[int, Field(ge=0)]
"""A number of things, 0 to switch something off."""

Seed = Annotated[int, Field(ge=0, lt=2**31)]
