"""Read the sentence that says what is wrong out of an error of Keras, which begins with what it was doing."""

from __future__ import annotations

import re

_ESCAPE_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CALLING = re.compile(r"Exception encountered when calling (?:layer '[^']*' \(type )?(\S+?)(?:\.call\(\)|\))\.")
_LONGEST = 300  # characters: some messages hold whole configs


def reason_of(error: Exception) -> str:
    """Return what is wrong in one line, with the class whose call it was, without escape codes.

    Args:
        error: what Keras raised while it built, loaded or called a model.
    """
    text = " ".join(_ESCAPE_CODE.sub("", str(error)).split()) or repr(error)
    text = text.replace("`", "'")  # in a message of edgeseg backticks have what its caller gives
    text = text.rpartition("Exception encountered: ")[2]
    callers = _CALLING.findall(text)
    for words in ("Arguments received by ", "Full object config:"):
        text = text.partition(words)[0]
    text = _CALLING.sub("", text)
    text = (text.rpartition("Error encountered: ")[2] if "Error encountered: " in text else text).strip()
    if callers and text:
        text = f"{callers[-1]}: {text}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
