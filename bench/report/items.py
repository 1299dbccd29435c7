"""The sounds and pictures on a page. Their files are written by `bench.report.media`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MediaClip", "MediaItem"]


@dataclass(frozen=True)
class MediaClip:
    """One thing to listen to.

    Attributes:
        name: what it is.
        file: its file in the page's media folder.
        note: what was done to it, such as a gain.
        group: "recording" for what belongs to one recording, "generated" for what a model made.
    """

    name: str
    file: str
    note: str = ""
    group: str = "recording"


@dataclass(frozen=True)
class MediaItem:
    """An item of a set in all its versions, with a picture of what was done to it.

    Attributes:
        title: why it was chosen.
        item: its name in the set.
        clips: its versions.
        picture: the picture's file in the page's media folder; "" for none.
        caption: what the picture shows.
    """

    title: str
    item: str
    clips: tuple[MediaClip, ...]
    picture: str = ""
    caption: str = ""
