"""`bench protect`: a user's sound file or MIDI file through a defense."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from bench.commands.options import Device, Sets
from bench.exits import OK
from bench.vocabulary import Preset

app = App(
    name="protect",
    help_epilogue=(
        "Examples:\n"
        "  bench protect song.wav -o protected.wav\n"
        "  bench protect song.flac -o protected.flac --set harmonycloak.bound=paper\n"
        "  bench protect song.wav -o noisy.wav --defense noise --set noise.snr_db=20\n"
        "  bench protect song.mid -o protected.mid --set harmonycloak.mode=ghost\n"
    ),
)


@app.default
def protect(
    source: Path,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    defense: str = "harmonycloak",
    attacker: str | None = None,
    preset: Preset = "small",
    seed: int = 0,
    set_: Sets = None,
    device: Device = "auto",
    force: bool = False,
) -> int:
    """Protect a sound file or a MIDI file and say what that did to the sound or the notes.

    Parameters
    ----------
    source
        A WAV, FLAC, OGG, MP3 or AIFF file of any length, rate and number of channels, or a MIDI file.
    out
        Where to write; the ending says the format. A MIDI file gives a MIDI file.
    defense
        A defense by name, or a Python file that holds one.
    attacker
        Whom the defense is made against (its surrogate); default: musicgen, of a MIDI file symphonynet. "none" for a
        defense that needs nobody.
    preset
        The budget of the defense.
    seed
        Of the defense's random numbers.
    set_
        A parameter, as NAME.KEY=VALUE.
    device
        auto (an accelerator where there is one), cpu, cuda, or cuda:N.
    force
        Write over an existing file.
    """
    from bench.commands.protect import protect_file

    protect_file(source, out, defense, attacker, preset, seed, set_ or [], force=force, device=device)
    return OK
