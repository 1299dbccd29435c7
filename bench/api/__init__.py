"""The contract: all that the author of a plugin reads.

A plugin is one file (or folder) in `defenses/`, `attackers/`, `attackers/adaptive/` or `datasets/`; its name is the
file's name. It holds one public frozen dataclass that inherits one of the four bases, `Dataset`, `Defense`, `Attacker`,
`Adaptation`, and says which sets it works on:

    @dataclass(frozen=True)
    class Whisper(Defense[Clips]):
        per = "clip"  # an attribute of the contract: no annotation
        level: float = 0.01  # a parameter: an annotated field

        def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
            ...

The fields are its parameters: they give `--set whisper.level=0.02`, the entry in the record and the cache key at once,
so they must survive JSON. All other attributes and methods are those that the bases declare; a name that they do not
declare is an error when the plugin is loaded (helpers of your own begin with an underscore or stand at module level).

Conventions
-----------
* A plugin works on *sets* (`Clips`, `Rolls`), never on one clip at a time.
* Randomness is the `torch.Generator` handed in; nothing touches the global generators.
* The device is the data's; a plugin moves nothing by itself.
* A plugin imports `bench` and its own libraries, never another plugin: a defense is *handed* its surrogates.
* Heavy libraries (transformers, muspy) are imported inside functions: loading a plugin must be quick.
* A parameter that makes no sense is refused in `__post_init__` by a `ValueError` (`check_range` raises one with the
  nearest good value; NaN and infinity are refused for you), data that cannot be used by a `bench.errors.DataError`,
  each in one line.

Helpers that a plugin may rely on
---------------------------------
* `bench.sound`: files, codecs, spectra, mel bands, auditory masking, augmentation of recordings.
* `bench.notes`: piano rolls, MIDI files, edits of notes, velocities, rendering to sound.
* `bench.metrics`: distances and quality measures as pure functions.
* `bench.training`: the training loop of attackers, classifiers, crafting of perturbations against surrogates.

What a plugin imports of these four is part of its identity: where their code changes, so do the digests of the plugins
that import it, and their results are computed anew. `bench.api` itself is versioned by the schema of the keys.
"""

from bench.api.concatenation import concatenate
from bench.api.contract import (
    Adaptation,
    Attacker,
    Augment,
    Dataset,
    Defense,
    Knowledge,
    Plugin,
)
from bench.api.limits import check_range
from bench.api.log import Epoch, Log, silent_log
from bench.api.sets import Clips, Data, Rolls
from bench.vocabulary import Control, DomainName, Needs, Per, ValidityCheck

__all__ = [
    "Adaptation", "Attacker", "Augment", "Clips", "Control", "Data", "Dataset", "Defense", "DomainName", "Epoch",
    "Knowledge", "Log", "Needs", "Per", "Plugin", "Rolls", "ValidityCheck", "check_range", "concatenate", "silent_log",
]  # fmt: skip
