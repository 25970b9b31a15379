"""Read the sentence that says what is wrong out of an error of Keras, which begins with what it was doing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeseg.errors import InputError

_ESCAPE_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CALLING = re.compile(r"Exception encountered when calling (?:layer '[^']*' \(type )?(\S+?)(?:\.call\(\)|\))\.")
_LONGEST = 300  # characters: some messages hold whole configs


def reason_of(error: Exception) -> str:
    """Return what is wrong in one line, with the class whose call it was, without escape codes.

    Args:
        error: what Keras raised while it built, loaded or called a model. Where a layer of edgeseg refused, it has that
            sentence in it.
    """
    text = " ".join(_ESCAPE_CODE.sub("", str(error)).split()) or repr(error)
    text = text.replace("`", "'")  # in a message of edgeseg backticks have what its caller gives
    for own in _refusals(error):
        text = text.replace(own.replace("`", "'"), own)
    text = text.rpartition("Exception encountered: ")[2]
    callers = _CALLING.findall(text)
    for words in ("Arguments received by ", "Full object config:"):
        text = text.partition(words)[0]
    text = _CALLING.sub("", text)
    text = (text.rpartition("Error encountered: ")[2] if "Error encountered: " in text else text).strip()
    if callers and text:
        text = f"{callers[-1]}: {text}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _refusals(error: BaseException | None) -> Iterator[str]:
    """Yield what edgeseg said of errors from which this one was raised."""
    while error is not None:
        if isinstance(error, InputError):
            yield str(error)
        error = error.__cause__ or error.__context__
