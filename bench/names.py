"""Check names that become files and folders."""

from __future__ import annotations

import os
import re

from bench.errors import UsageError

__all__ = ["LONGEST_FILE_NAME", "check_label", "check_suite_name", "suite_name_from"]

# Bytes of a record's name without its ending. File systems take 255; drafts and endings need the rest.
LONGEST_FILE_NAME = 200
_LONGEST_SUITE_NAME = 64  # characters
_SAFE = re.compile(r"[^\W_][\w.-]*", re.ASCII)
# Names that Windows reserves for devices, whatever the ending, and names of files beside the suites' folders.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_SITE = {
    "assets", "media", "index.html", "summary.md", "bench.sqlite", "board.json",
    "rows.csv", "cells.csv", "trials.csv", "worths.csv",
}  # fmt: skip


def check_suite_name(name: str, where: str) -> None:
    """Check that a suite's name is usable as the name of a folder.

    Args:
        name: Name of the suite; its records, its pages and its run in a tracker are called by it.
        where: The beginning of the message.

    Raises:
        UsageError: It is empty, long, reserved, or has other characters than letters, digits, "-", "_" and ".". One
            line.
    """
    problem = ""
    if not _SAFE.fullmatch(name) or name.endswith("."):
        problem = 'expected ASCII letters, digits, "-", "_" and ".", a letter or digit first and no "." last'
    elif len(name) > _LONGEST_SUITE_NAME:
        problem = f"{len(name)} characters, expected at most {_LONGEST_SUITE_NAME}"
    elif name.lower() in _SITE or name.lower().partition(".")[0] in _DEVICES:
        problem = "this name is reserved"
    if problem:
        nearest = suite_name_from(name)
        hint = f", such as {nearest!r}" if nearest != name else ""
        raise UsageError(f"{where}: name = {_quoted(name)}: {problem}{hint}")


def suite_name_from(text: str) -> str:
    """Return the nearest usable name of a suite.

    Args:
        text: Any text.

    Returns:
        The name; "run" where no character of the text is usable.
    """
    cleaned = re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII)[:_LONGEST_SUITE_NAME].strip("-_.")
    reserved = cleaned.lower() in _SITE or cleaned.lower().partition(".")[0] in _DEVICES
    return f"suite-{cleaned}" if reserved else cleaned or "run"


def check_label(label: str, where: str) -> None:
    """Check that a table can show a plugin's label: one line of printable text, not too long.

    Args:
        label: The label.
        where: The beginning of the message.

    Raises:
        UsageError: It cannot. One line.
    """
    if not label.strip() or not label.isprintable():
        raise UsageError(f"{where}: the name {_quoted(label)}: expected one line of text")
    if len(os.fsencode(label)) > LONGEST_FILE_NAME:
        raise UsageError(
            f"{where}: the name {_quoted(label)} has {len(os.fsencode(label))} bytes, expected at most "
            f"{LONGEST_FILE_NAME}: records are called by it"
        )


def _quoted(text: str) -> str:
    """Return a text as one short line of ASCII in quotes, followed by "..." where it was shortened."""
    return ascii(text[:_LONGEST_SUITE_NAME]) + ("..." if len(text) > _LONGEST_SUITE_NAME else "")
