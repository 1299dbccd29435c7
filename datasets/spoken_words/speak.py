"""Script that lets eSpeak NG speak; a process of its own, since its output depends on all it said since its start.

Standard input: a JSON list of [voice, word, words a minute, pitch 0..100, intonation 0..100].
Standard output: samples a second and the number of samples of each utterance, as a JSON line, then all samples, 16 bits
each. Exit status 1 and one line on standard error where eSpeak NG or one of its voices does not work.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import numpy as np

# From espeak_ng's speak_lib.h.
_SYNCHRONOUS, _NO_EXIT, _UTF8, _CHARACTERS = 2, 0x8000, 1, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_LOUDNESS = 60  # of 200; at the usual 100 the loudest voices clip


def main() -> None:
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _NO_EXIT)
    if rate <= 0:
        sys.exit(f"eSpeak NG does not start (status {rate})")
    pieces: list[Any] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)  # type: ignore[untyped-decorator]
    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(receive)
    utterances = []
    for voice, word, speed, pitch, intonation in json.load(sys.stdin):
        if library.espeak_SetVoiceByName(voice.encode()):
            sys.exit(f"eSpeak NG has no voice '{voice}'")
        for parameter, value in ((_RATE, speed), (_VOLUME, _LOUDNESS), (_PITCH, pitch), (_RANGE, intonation)):
            library.espeak_SetParameter(parameter, value, 0)
        pieces.clear()
        text = ctypes.create_string_buffer(word.encode())
        status = library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, _CHARACTERS, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        if status or not pieces:
            sys.exit(f"eSpeak NG cannot say '{word}' as '{voice}' (status {status})")
        utterances.append(np.concatenate(pieces))
    sys.stdout.write(json.dumps({"rate": rate, "lengths": [len(utterance) for utterance in utterances]}) + "\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(np.concatenate(utterances).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
