"""The column of a table that holds the objects: named, numbered or guessed, and never less a row than it has."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import NamedTuple

from guidekit.io.contents import SEPARATORS, brief, header, rows

LOOKED_AT = 20
"""First rows of a table without a header by which its column is guessed."""


class Column(NamedTuple):
    """(line number, field) of a column, "" where a row is short, and sentences on how it was found."""

    fields: list[tuple[int, str]]
    notes: list[str]


def column(
    name: str, table: str, wanted: str | None, default: str, usual: str, is_object: Callable[[str], bool]
) -> Column:
    """One column of a table, whatever separates its fields.

    Args:
        name: of the file, for messages.
        table: its text.
        wanted: name of the column, whatever its case, or its number from 1; None is `default`, or, where the table
            has no header, the only column of objects.
        default: the usual name.
        usual: the usual separator.
        is_object: whether a field is one of the objects that are looked for, and so no name of a column.

    Raises:
        ValueError: no such column, several of objects without a header, or no readable table (see `contents.rows`).
    """
    if not table.strip():
        return Column([], [])
    apart, place = _named(name, table, wanted or default, usual, is_object if wanted else None)
    number = wanted if place is None and wanted is not None and wanted.isdigit() and int(wanted) else None
    if place is not None:
        told = [] if apart == usual else [f"{name}: its columns are separated by {apart!r}"]
        found = list(rows(name, table, apart))
        filled = next(i for i, (_, row) in enumerate(found) if any(field.strip() for field in row))
        return Column(_fields(found[filled + 1 :], place), told)
    if number is not None:
        apart, places = _widest(name, table, usual), [int(number) - 1]
    else:
        apart, places = _guessed(table, usual, is_object)
    found = [(line, row) for line, row in rows(name, table, apart) if any(field.strip() for field in row)]
    if number is not None and places[0] >= len(found[0][1]):
        raise ValueError(f"{name} has {len(found[0][1])} columns; column={number} is none of them")
    if not places or (number is None and wanted is not None):
        raise ValueError(_missing(name, wanted or default, [field.strip() for field in found[0][1]], bool(places)))
    if len(places) > 1:
        several = " or ".join(f"column={place + 1}" for place in places)
        raise ValueError(f"{name} has no header, and several columns that may be meant: give {several}")
    told = [] if apart == usual else [f"{name}: its columns are separated by {apart!r}"]
    fields = _fields(found, places[0])
    if is_object(fields[0][1]):
        guessed = "" if len(found[0][1]) == 1 else f"; column {places[0] + 1} of {len(found[0][1])} is read"
        return Column(fields, [*told, f"{name}: it has no header{guessed}"])
    return Column(fields[1:], told)


def _fields(found: list[tuple[int, list[str]]], place: int) -> list[tuple[int, str]]:
    """The fields of one column."""
    return [(line, row[place].strip() if place < len(row) else "") for line, row in found]


def _named(
    name: str, table: str, key: str, usual: str, is_object: Callable[[str], bool] | None
) -> tuple[str, int | None]:
    """Separator and place of a column whose name is in the header; the usual one and None where it is not.

    A name that is an object is refused: it stands in the first row of a table without a header.
    """
    for apart in dict.fromkeys((usual, *SEPARATORS)):
        try:
            names = header(rows(name, table, apart))
        except ValueError:
            if apart == usual:
                raise
            continue
        for same in (lambda field: field == key, lambda field: field.lower() == key.lower()):
            places = [i for i, field in enumerate(names) if same(field)]
            if places and is_object is not None and is_object(names[places[0]]):
                raise ValueError(
                    f"{name} has no header: {brief(key)!r} is its first entry and no name; give column={places[0] + 1}"
                )
            if places:
                return apart, places[0]
    return usual, None


def _readable(table: str, apart: str) -> list[list[str]]:
    """The first rows of a table with something in them; none where it cannot be read so."""
    found: list[list[str]] = []
    try:
        for _, row in rows("", table, apart):
            fields = [field.strip() for field in row]
            if any(fields):
                found.append(fields)
            if len(found) == LOOKED_AT:
                break
    except ValueError:
        return []
    return found


def _widest(name: str, table: str, usual: str) -> str:
    """The separator with which the first row has most fields; the usual one among equals."""
    return max(dict.fromkeys((usual, *SEPARATORS)), key=lambda apart: len(next(iter(_readable(table, apart)), [])))


def _guessed(table: str, usual: str, is_object: Callable[[str], bool]) -> tuple[str, list[int]]:
    """Separator and places of columns that hold objects from the first row on; the usual one and none without any."""
    for apart in dict.fromkeys((usual, *SEPARATORS)):
        found = _readable(table, apart)
        width = len(found[0]) if found else 0
        held = [[i < len(row) and is_object(row[i]) for row in found] for i in range(width)]
        places = [i for i, column in enumerate(held) if all(column)]
        if not places:  # bad rows may be among the first
            places = [i for i, column in enumerate(held) if column[0] and 2 * sum(column) >= len(column)]
        if places:
            return apart, places
    return usual, []


def _missing(name: str, wanted: str, names: list[str], headless: bool) -> str:
    """What to say of a column that is not there."""
    near = difflib.get_close_matches(wanted.lower(), [field.lower() for field in names], 1, 0.0)
    closest = next(field for field in names if field.lower() == near[0]) if near else names[0]
    meant = brief(repr(closest)) if not headless else str(names.index(closest) + 1)
    held = brief(", ".join(names), 400)
    return f"{name} has no column {wanted!r}; it has {held}; did you mean column={meant}?"
