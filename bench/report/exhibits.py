"""What a page lets you hear and see, as `bench.report.media` finds it: pages without sound import no torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Exhibit", "Version"]


@dataclass(frozen=True)
class Version:
    """One thing to listen to. `group` tells versions that belong to one recording from what a model made."""

    name: str
    file: str  # in the page's media folder
    note: str = ""
    group: str = "recording"


@dataclass(frozen=True)
class Exhibit:
    """An item in all its versions, with a picture of what was done to it."""

    title: str
    item: str
    versions: tuple[Version, ...]
    picture: str = ""
    caption: str = ""
