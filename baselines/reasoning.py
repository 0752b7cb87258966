"""Which models take `reasoning_effort`, by the family that a model's name tells. Pure.

A model outside these families is not sent the parameter: the ones that do not reason refuse
a request that has it.
"""

import re

__all__ = ["effort_for"]

_EXCLUDED = re.compile(r"-chat\b|^o1-(mini|preview)")
"""Names within a family that do not take it."""

_FAMILIES: tuple[tuple[re.Pattern[str], bool], ...] = (
    (re.compile(r"^o[1-9]\b"), False),  # o1, o3, o3-mini, o4-mini: low to high
    (re.compile(r"^gpt-5(-|$)"), True),  # gpt-5, gpt-5-mini, gpt-5-nano: minimal to high
    (re.compile(r"^gpt-(5\.|[6-9])"), False),  # from gpt-5.1 on: none, low and up
    (re.compile(r"^gpt-oss"), False),  # low to high
    (re.compile(r"^gemini-(2\.5|[3-9])"), True),  # minimal to high
)
"""A family, and whether it knows the value `minimal`."""


def effort_for(model: str, wanted: str) -> str | None:
    """The effort to send to a model.

    Args:
        model: Its name, with or without a provider in front (`openai/gpt-5-mini`).
        wanted: The setting; "" for none.

    Returns:
        The value, or None to leave the parameter out. A family that reasons and does not
        know `minimal` gets `low`, the nearest that it knows.
    """
    name = model.lower().rsplit("/", 1)[-1]
    if not wanted or _EXCLUDED.search(name):
        return None
    for family, knows_minimal in _FAMILIES:
        if family.search(name):
            return "low" if wanted == "minimal" and not knows_minimal else wanted
    return None
