"""Define the exceptions that edgeseg raises on purpose; ``EdgesegError`` catches all of them."""

import difflib
from collections.abc import Iterable

# Characters of a name that is compared with others: the time grows with the product of the two lengths.
_LONGEST_NAME = 200


class EdgesegError(Exception):
    """Base of every error that edgeseg raises on purpose; its text is one line for a person."""


class InputError(EdgesegError, ValueError):
    """An input of the caller is wrong: a file, a name, a size, a number."""


class SourceLost(EdgesegError):
    """A camera or stream delivers no more frames; the regular end of a file is not an error."""


class UnsupportedModel(EdgesegError):
    """The model is valid Keras but cannot be exported; the text says which part and what to do."""


class RewriteRefused(EdgesegError):
    """A rewrite is not valid at this place in the model; the text says why and, where possible, what to do."""


class VerificationFailed(EdgesegError):
    """The exported artifact disagrees with the Keras model beyond the gate of its precision."""


class SinkLost(EdgesegError):
    """A sink broke while frames were written to it: a full disk, a server that hung up, a process that died."""


class BackendUnavailable(EdgesegError):
    """A runtime or an optional part is not installed; the text has the command that installs it."""


class DeviceLost(EdgesegError):
    """A device that is being measured went away, its process died, or its answer cannot be right; the text says how."""


def did_you_mean(name: str, accepted: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `` Did you mean 'export'?`` for a mistyped name; empty where no accepted name is close.

    Args:
        name: the name as typed.
        accepted: the names that would be right.
        cutoff: how similar two names must be, in [0, 1].
    """
    if len(name) > _LONGEST_NAME:
        return ""
    near = difflib.get_close_matches(name, [one for one in accepted if len(one) <= _LONGEST_NAME], n=1, cutoff=cutoff)
    return f" Did you mean '{near[0]}'?" if near else ""


def missing_extra(what: str, extra: str) -> BackendUnavailable:
    """Build the error for an optional part that is not installed.

    Args:
        what: the part that needs it, as the start of a sentence (``"edgeseg export"``).
        extra: the extra that brings it (``"convert"``).
    """
    return BackendUnavailable(
        f'{what} needs packages that are not installed. Install them with: pip install "edgeseg[{extra}]"'
    )
