"""Fill in a template of a text that is no page, such as a program or Markdown: its own filters escape what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeseg._internal.text import counted
from edgeseg.errors import missing_extra


def render_text(
    package: str, template: str, *, what: str, filters: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]
) -> str:
    """Fill in a template.

    Args:
        package: the package that has the template as a file, ``__package__`` of the caller.
        template: name of the file.
        what: is written, as the start of a sentence.
        filters: filters by their names in the template; whatever comes from outside goes through one that escapes it.
        values: values by their names in the template; a name that the template uses and that is missing is an error.

    Raises:
        BackendUnavailable: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing_extra(what, "charts") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters, counted=counted)
    return environment.get_template(template).render(values)
