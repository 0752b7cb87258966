"""Which methods of an official client were served, for the scripts that call all of them. It needs no other package."""

import inspect

OUTCOMES = {}
"""For each method that was called: "served" if any call was, else "refused"."""


def noting(name, method):
    """Return the method of this name, which notes the outcome of each call, and reads a generator to its end."""

    def call(*arguments, **options):
        OUTCOMES.setdefault(name, "refused")
        found = method(*arguments, **options)
        found = list(found) if inspect.isgenerator(found) else found
        OUTCOMES[name] = "served"
        return found

    return call
