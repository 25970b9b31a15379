"""Complete model names and files in a shell, by click's ``shell_complete``; docs/commands.md says how it is set up."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def artifacts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return packaged files by name, and model files that begin so."""
    from edgeseg.models.packaged_files import packaged_names
    from edgeseg.runtime import SUFFIXES

    return _completed(packaged_names(), SUFFIXES, incomplete)


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return names of the zoo, and files of Keras that begin so."""
    from edgeseg.models.zoo.table import ZOO

    return _completed(ZOO, (".keras", ".h5"), incomplete)


def architectures(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return names of the zoo that begin so."""
    from edgeseg.models.zoo.table import ZOO

    return [CompletionItem(name) for name in ZOO if name.startswith(incomplete)]


def fetched(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return names of what ``models --fetch`` brings that begin so."""
    from edgeseg.downloads.models import PUBLISHED
    from edgeseg.models.packaged_files import packaged_names

    return [CompletionItem(name) for name in (*PUBLISHED, *packaged_names()) if name.startswith(incomplete)]


def artifact_then_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return what ``artifacts`` does for the first word; for the others the shell offers files."""
    first = not ctx.params.get(str(param.name))
    return artifacts(ctx, param, incomplete) if first else [CompletionItem(incomplete, type="file")]


def _completed(names: Iterable[str], suffixes: Collection[str], incomplete: str) -> list[CompletionItem]:
    folder, _, start = incomplete.rpartition("/")
    there = Path(folder or ("/" if incomplete.startswith("/") else "."))
    files = sorted(there.iterdir()) if there.is_dir() else []
    prefix = incomplete[: len(incomplete) - len(start)]
    found = [name for name in names if name.startswith(incomplete)]
    found += [prefix + path.name for path in files if path.name.startswith(start) and path.suffix in suffixes]
    # The shells' scripts of click forget words beside a request for files: it is made where there are none.
    return [CompletionItem(name) for name in found] or [CompletionItem(incomplete, type="file")]
