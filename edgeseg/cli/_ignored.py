"""Refuse options that the kind of input, or of result, would ignore."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from edgeseg._internal.text import masked
from edgeseg.errors import InputError


def refuse_typed(names: Iterable[str], why: str) -> None:
    """Refuse the first of some parameters of the running command that was typed.

    Args:
        names: of the parameters.
        why: the rest of the sentence that begins with the flag, without a full stop.

    Raises:
        InputError: one was.
    """
    context, wanted = click.get_current_context(), set(names)
    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        if param.name in wanted and source is click.core.ParameterSource.COMMANDLINE:
            raise InputError(f"{param.opts[0]} {why}.")


def refuse_for_kinds(sources: tuple[str, ...], *, dicom_seg: bool, on_map: bool) -> None:
    """Refuse options of ``predict`` that are for another kind of file than the sources are.

    Of files of several kinds each option is for some. What cannot be looked at, such as a pipe, is let pass.

    Args:
        sources: what is segmented.
        dicom_seg: whether DICOM SEG is written.
        on_map: whether a length is given in units of a map.

    Raises:
        InputError: one is, or a source does not exist.
    """
    from edgeseg.rasters.whole import WHOLE_SUFFIXES
    from edgeseg.sources.animation import kind_of
    from edgeseg.sources.files import places

    kinds = {masked(str(place)): kind_of(place) if isinstance(place, Path) else "address" for place in places(sources)}
    if "other" in kinds.values():
        return
    first, suffixes = next(iter(kinds)), {Path(place).suffix.lower() for place in kinds}
    if "dicom" not in kinds.values():
        refuse_typed(("window",), f"is for DICOM images, and '{first}' is none")
    for place, kind in kinds.items():
        if dicom_seg and kind != "dicom":
            raise InputError(f"--dicom-seg is for DICOM images, and '{place}' is none.")
    if set(kinds.values()) == {"image"}:
        refuse_typed(("start_frame", "vid_stride"), f"is for videos, and '{first}' is an image")
    if not suffixes & WHOLE_SUFFIXES:
        accepted = ", ".join(sorted(WHOLE_SUFFIXES))
        refuse_typed(("bands", "band_range"), f"is for rasters ({accepted}), and '{first}' is none")
        if on_map:
            raise InputError(f"--tolerance in units of a map is for rasters ({accepted}), and '{first}' is none.")
