"""`guidekit examples`: small files of every domain, to try the commands of the documentation with."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from guidekit.errors import UnknownNameError
from guidekit.examples import Example
from guidekit.extras import MissingExtraError
from guidekit.installed import domain_names, load_domain

USAGE = """guidekit examples FOLDER              small files of every domain, and a command that uses each
guidekit examples FOLDER domain=dna   those of one domain; of several: domain=dna,proteins"""


def run(arguments: Sequence[str]) -> int:
    """Write the example files of all domains, or of those named, into a folder, and list them.

    Args:
        arguments: the folder, made where it is missing, and domain=.

    Raises:
        ValueError: no folder, other settings, or a file or folder of one of these names that is there already; then
            nothing is written.
        MissingExtraError: a domain was named whose libraries are not installed.
    """
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    folder, names = read(arguments)
    found: dict[str, Sequence[Example]] = {}
    for name in names or domain_names():
        try:
            found[name] = load_domain(name).examples()
        except MissingExtraError as error:
            if names:
                raise
            print(f"{name} is left out: {error}")
    write(folder, [example for examples in found.values() for example in examples])
    for name, examples in found.items():
        if examples:
            print("\n".join([name, *_lines(examples), ""]))
    print(f"{sum(map(len, found.values()))} files and folders are in {folder}; the commands run there")
    return 0


def write(folder: Path, examples: Sequence[Example]) -> None:
    """Write examples into a folder: all of them, or none.

    Raises:
        ValueError: a path that is no folder, names that are taken, or one name of two examples.
    """
    names = [example.name for example in examples]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two examples are called {twice[0]}; choose one of their domains by domain=")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a new folder is needed, or one without files of these names")
    taken = [name for name in names if (folder / name).exists()]
    if taken:
        more = f" and {len(taken) - 1} more of these files" if len(taken) > 1 else ""
        raise ValueError(f"{folder} has {taken[0]}{more} already, and nothing is overwritten; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".examples-") as hidden:
        for example in examples:
            example.write(Path(hidden, example.name))
        for example in examples:
            Path(hidden, example.name).rename(folder / example.name)


def read(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder, and the domains named; none where none are.

    Raises:
        ValueError: no folder or several, or other settings.
    """
    folders = [argument for argument in arguments if "=" not in argument and not argument.startswith("-")]
    settings = [argument.partition("=") for argument in arguments if argument not in folders]
    for key, equals, value in settings:
        if key != "domain" or not equals:
            raise UnknownNameError("setting of guidekit examples", key + equals + value, ["domain=NAME"])
    if len(folders) != 1 or not folders[0]:
        raise ValueError("guidekit examples needs one folder to write to: guidekit examples try")
    names = [name.strip() for *_, value in settings for name in value.strip("[]").split(",")]
    for name in names:
        if name not in domain_names():
            raise UnknownNameError("domain", name, domain_names())
    return Path(folders[0]).expanduser(), list(dict.fromkeys(names))


def _lines(examples: Sequence[Example]) -> Iterator[str]:
    """What was written, with a command for each, or for several behind one another that it uses."""
    for command, together in itertools.groupby(examples, key=lambda one: one.command):
        for one in together:
            yield f"  {one.name}: {one.what} ({one.license})"
        yield f"      {command}"
