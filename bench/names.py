"""Names that become files and folders: which are safe, and what is wrong with the others."""

from __future__ import annotations

import os
import re

from bench.errors import UsageError

__all__ = ["LONGEST_FILE_NAME", "check_label", "check_suite_name", "suite_name_from"]

# Bytes of a record's name without its ending. File systems take 255; drafts and endings need the rest.
LONGEST_FILE_NAME = 200
_LONGEST_SUITE_NAME = 64  # characters
_SAFE = re.compile(r"[^\W_][\w.-]*", re.ASCII)
# What Windows keeps for devices, whatever the ending, and what a site of pages writes beside the suites' folders.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_SITE = {
    "assets", "media", "index.html", "summary.md", "bench.sqlite", "board.json",
    "rows.csv", "cells.csv", "trials.csv",
}  # fmt: skip


def check_suite_name(name: str, where: str) -> None:
    """Refuse a suite's name that is no plain name of a folder.

    Args:
        name: of the suite; its records, its pages and its run in a tracker are called by it.
        where: what the message begins with.

    Raises:
        UsageError: it is empty, long, reserved, or has other signs than letters, digits, "-", "_" and ".". One line.
    """
    problem = ""
    if not _SAFE.fullmatch(name) or name.endswith("."):
        problem = 'expected ASCII letters, digits, "-", "_" and ".", a letter or digit first and no "." last'
    elif len(name) > _LONGEST_SUITE_NAME:
        problem = f"{len(name)} characters, expected at most {_LONGEST_SUITE_NAME}"
    elif name.lower() in _SITE or name.lower().partition(".")[0] in _DEVICES:
        problem = "this name is reserved"
    if problem:
        near = suite_name_from(name)
        hint = f", such as {near!r}" if near != name else ""
        raise UsageError(f"{where}: name = {_shown(name)}: {problem}{hint}")


def suite_name_from(text: str) -> str:
    """The nearest safe name of a suite; "run" where nothing of the text can stay."""
    cleaned = re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII)[:_LONGEST_SUITE_NAME].strip("-_.")
    reserved = cleaned.lower() in _SITE or cleaned.lower().partition(".")[0] in _DEVICES
    return f"suite-{cleaned}" if reserved else cleaned or "run"


def check_label(label: str, where: str) -> None:
    """Refuse what a table cannot call a plugin: nothing, signs that cannot be printed, or a very long text.

    Raises:
        UsageError: one line.
    """
    if not label.strip() or not label.isprintable():
        raise UsageError(f"{where}: the name {_shown(label)}: expected one line of text")
    if len(os.fsencode(label)) > LONGEST_FILE_NAME:
        raise UsageError(
            f"{where}: the name {_shown(label)} has {len(os.fsencode(label))} bytes, expected at most "
            f"{LONGEST_FILE_NAME}: records are called by it"
        )


def _shown(text: str) -> str:
    """A text as one short line of ASCII in quotes; "..." behind the quotes where it was shortened."""
    return ascii(text[:_LONGEST_SUITE_NAME]) + ("..." if len(text) > _LONGEST_SUITE_NAME else "")
