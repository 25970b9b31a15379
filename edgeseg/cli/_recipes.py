"""Take the options of ``edgeseg train`` from a recipe (``--recipe``) or the record of a run (``--resume RUN``)."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from edgeseg.choices import TutorialRecipe
from edgeseg.errors import InputError
from edgeseg.training.run.folder import LAST, SETTINGS

if TYPE_CHECKING:
    from edgeseg.training.recipes.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])

_META, _RESUMED = "edgeseg.recipe", "edgeseg.resumed"


class _RecipeType(click.ParamType[str]):
    """The path of a TOML file, or the name of a packaged recipe."""

    name = "FILE|NAME"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the packaged names that begin so; where none does, the shell offers files."""
        names = [CompletionItem(name) for name in get_args(TutorialRecipe) if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]  # not both, see _completion


def option(function: F) -> F:
    """Add ``--recipe``, whose settings become the defaults of the other options."""
    return click.option(
        "--recipe",
        type=_RecipeType(),
        is_eager=True,  # before the options that it has values for
        expose_value=False,
        callback=_take,
        help=f"TOML file of options by name, such as a run's train.toml; or what a tutorial does: "
        f"{', '.join(get_args(TutorialRecipe))}. What is typed wins.",
    )(function)


def _take(ctx: click.Context, param: click.Parameter, source: str | None) -> None:
    if source is not None and not ctx.resilient_parsing:
        _use(ctx, source)


def resume_option(function: F) -> F:
    """Add ``--resume``, which may name a run, whose settings then become the defaults of the other options."""
    return click.option(
        "--resume",
        is_flag=False,
        flag_value="",
        metavar="[RUN]",
        is_eager=True,
        callback=_take_run,
        help="Continue the killed run in the folder RUN, with its own settings; without RUN the command that began it "
        "is repeated with this.",
    )(function)


def _take_run(ctx: click.Context, param: click.Parameter, run: str | None) -> bool:
    """Return whether a run is resumed; read the record of one that is named."""
    if run and not ctx.resilient_parsing:
        if _META in ctx.meta:
            raise click.UsageError("--resume RUN takes the settings of that run: omit --recipe.", ctx)
        folder = Path(run)
        if not (folder / LAST).is_file():
            raise InputError(f"there is nothing to resume: '{folder / LAST}' does not exist.")
        if not (folder / SETTINGS).is_file():
            raise InputError(
                f"'{folder}' has no {SETTINGS}: repeat the command that began it, with "
                f"--output-dir {shlex.quote(run)} --resume."
            )
        _use(ctx, str(folder / SETTINGS))
        ctx.meta[_RESUMED] = folder
    return run is not None


def place_of_run() -> Path | None:
    """Return the folder that ``--resume RUN`` names."""
    folder: Path | None = click.get_current_context().meta.get(_RESUMED)
    return folder


def _use(ctx: click.Context, source: str) -> None:
    from edgeseg.training.recipes.recipe import Recipe

    if _RESUMED in ctx.meta:
        raise click.UsageError("--resume RUN takes the settings of that run: omit --recipe.", ctx)
    recipe = ctx.meta[_META] = Recipe.open(source)
    ctx.default_map = defaults = {}
    for name, param in _params(ctx.command, recipe).items():
        typed = _as_typed(param, recipe.values[name])
        try:
            param.type_cast_value(ctx, typed)
        except click.BadParameter as error:
            raise click.UsageError(f"{recipe.place(name)}: {name}: {error.message}", ctx) from error
        defaults[str(param.name)] = typed


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``TrainConfig`` with what click does not merge: tables, of which single names were typed."""
    recipe: Recipe | None = click.get_current_context().meta.get(_META)
    if recipe is None:
        return dict(settings)
    tables = {**recipe.of("config"), "augmentation_changes": recipe.of("augmentation")}
    return {
        field: {**tables[field], **value} if isinstance(value, Mapping) and field in tables else value
        for field, value in settings.items()
    }


@contextmanager
def explained() -> Iterator[None]:
    """Name the recipe, and where it is at fault its line, in an error about the settings together."""
    context = click.get_current_context()
    recipe: Recipe | None = context.meta.get(_META)
    try:
        yield
    except InputError as error:
        if recipe is None:
            raise
        typed = [name for name in context.params if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
        raise recipe.explained(error, typed) from error


def _params(command: click.Command, recipe: Recipe) -> dict[str, click.Parameter]:
    """Return the parameters of a command that a recipe has a value for, by its names."""
    named = {name.lstrip("-"): param for param in command.params for name in param.opts}
    return {name: named[name] for name in recipe.values if name in named}


def _as_typed(param: click.Parameter, value: Any) -> Any:
    """Return a value as click takes it from the words of a command line."""
    from edgeseg.models.zoo.options import as_typed

    if isinstance(value, Mapping):
        pairs = [f"{name}={as_typed(item)}" for name, item in value.items()]
        return pairs if param.multiple else ",".join(pairs)
    if isinstance(value, tuple) and param.nargs == 1 and not param.multiple:
        return as_typed(value)
    return value
