"""`relay cli`: every command by its number, for those who do not want to type options."""

import shlex
from collections.abc import Mapping, Sequence

import click

# They go on until they are stopped, or are this one.
_NOT_IN_MENU = {"cli", "serve", "try"}


@click.command("cli")
@click.pass_context
def menu(ctx: click.Context) -> None:
    """Choose commands from a menu."""
    root = ctx.find_root().command
    if not isinstance(root, click.Group):
        raise click.UsageError("There are no commands to choose from.")
    offered = {name: one for name, one in root.commands.items() if name not in _NOT_IN_MENU}
    while True:
        name = _chosen("Relay", offered, "leave")
        if name is None:
            return
        _enter([name], offered[name])


def _enter(path: Sequence[str], command: click.Command) -> None:
    """Run a command, or let one of a group be chosen."""
    if not isinstance(command, click.Group):
        _run(path, command)
        return
    while (name := _chosen(" ".join(path), command.commands, "back")) is not None:
        _enter([*path, name], command.commands[name])


def _chosen(title: str, offered: Mapping[str, click.Command], way_out: str) -> str | None:
    names = list(offered)
    click.echo(f"\n{title}")
    for number, name in enumerate(names, 1):
        click.echo(f"{number:3}  {name:<18} {offered[name].get_short_help_str(60)}")
    click.echo(f"  0  {way_out}")
    number = click.prompt("Number", type=click.IntRange(0, len(names)))
    return None if number == 0 else names[number - 1]


def _run(path: Sequence[str], command: click.Command) -> None:
    """Ask for what a command needs, run it, and say in words what went wrong."""
    words = []
    others = []
    for one in command.params:
        if isinstance(one, click.Argument):
            words.append(str(click.prompt(str(one.human_readable_name).lower())))
        elif isinstance(one, click.Option) and one.required:
            words += [one.opts[0], str(click.prompt(one.help or one.opts[0]))]
        elif isinstance(one, click.Option) and not one.hidden:
            others.append(one)
    if others:
        for option in others:
            click.echo(f"     {', '.join(option.opts):<22} {option.help or ''}")
        text = click.prompt("Options such as these, or none", default="", show_default=False)
        try:
            words += shlex.split(text)
        except ValueError as error:
            click.echo(f"Error: {error}", err=True)
            return
    try:
        command.main(words, prog_name=" ".join(["relay", *path]), standalone_mode=False)
    except click.ClickException as error:
        error.show()
    except click.exceptions.Exit:
        pass
