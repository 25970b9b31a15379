"""Fill in a page with jinja2: everything is escaped, and a missing name is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeseg._internal.text import counted
from edgeseg.errors import missing_extra


def render(package: str, template: str, *, filters: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]) -> str:
    """Fill in a template, which extends ``base.html.j2`` of this package.

    Args:
        package: the package that has the template as a file, ``__package__`` of the caller.
        template: name of the file.
        filters: filters by their names in the template.
        values: values by their names in the template; a name that the template uses and that is missing is an error.

    Returns:
        A whole HTML file that needs nothing else. What a template marks as ``safe`` is not escaped.

    Raises:
        BackendUnavailable: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing_extra("an HTML page", "charts") from error
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, "") for name in (package, __package__)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters, counted=counted)
    return environment.get_template(template).render(values)
