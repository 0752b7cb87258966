"""Finds the models that accept `reasoning_effort`, by the family in their name. Pure.

Other models do not receive the parameter, because models without reasoning refuse it.
"""

import re

__all__ = ["effort_for"]

_EXCLUDED = re.compile(r"-chat\b|^o1-(mini|preview)")
"""Models of a family that do not accept the parameter."""

_FAMILIES: tuple[tuple[re.Pattern[str], bool], ...] = (
    (re.compile(r"^o[1-9]\b"), False),  # o1, o3, o3-mini, o4-mini: low to high
    (re.compile(r"^gpt-5(-|$)"), True),  # gpt-5, gpt-5-mini, gpt-5-nano: minimal to high
    (re.compile(r"^gpt-(5\.|[6-9])"), False),  # from gpt-5.1 on: none, low and up
    (re.compile(r"^gpt-oss"), False),  # low to high
    (re.compile(r"^gemini-(2\.5|[3-9])"), True),  # minimal to high
)
"""Families, and whether they accept the value `minimal`."""


def effort_for(model: str, wanted: str) -> str | None:
    """Get the reasoning effort to send to a model.

    Args:
        model: Name of the model, with or without a provider prefix (`openai/gpt-5-mini`).
        wanted: The setting; "" for none.

    Returns:
        The value, or None to omit the parameter. If a family does not accept `minimal`, the value is `low`.
    """
    name = model.lower().rsplit("/", 1)[-1]
    if not wanted or _EXCLUDED.search(name):
        return None
    for family, knows_minimal in _FAMILIES:
        if family.search(name):
            return "low" if wanted == "minimal" and not knows_minimal else wanted
    return None
