"""Import workarounds for torchaudio, audiocraft and frechet_audio_distance.

torchaudio's wheel is a CUDA build: with a CPU-only torch `import torchaudio` fails for lack of libc10_cuda, and with it
every class of Transformers that uses audio. The workaround selects torchaudio's own fallback (no compiled extension)
when it is imported. audiocraft and frechet-audio-distance import packages at their top that this project never calls;
empty modules replace those while they are imported.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

_EXTENSION = "torchaudio._extension"


class _TorchaudioWithoutExtension(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Provides `torchaudio._extension` as a module without compiled extension, where torch has no CUDA."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _EXTENSION or not path:
            return None
        import torch

        if torch.version.cuda is not None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        spec.submodule_search_locations = [str(pathlib.Path(path[0]) / "_extension")]
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        module._IS_TORCHAUDIO_EXT_AVAILABLE = False
        module._IS_ALIGN_AVAILABLE = False
        module._check_cuda_version = lambda: None
        module.fail_if_no_align = _fail_if_no_align


def _fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"{function.__name__} needs torchaudio's compiled extension, but torch is CPU-only: install a CUDA build"
        )

    return refuse


def workaround_torchaudio() -> None:
    """Make `import torchaudio` work with a CPU-only torch. It has no effect before that import, or on a CUDA torch.

    Called before a plugin is loaded, and by the modules of bench that import torchaudio.
    """
    if not any(isinstance(finder, _TorchaudioWithoutExtension) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchaudioWithoutExtension())


def import_audiocraft() -> types.ModuleType:
    """Import audiocraft without xformers (CUDA kernels) and spacy (200 MB, downloads data) if they are not installed.

    Returns:
        The module.

    Raises:
        ImportError: audiocraft is not installed.
    """

    def without_spacy(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("this part of audiocraft needs spacy, which is not installed: pip install spacy")

    _stand_in("xformers", ops={})
    _stand_in("spacy", load=without_spacy)
    return importlib.import_module("audiocraft")


def import_frechet_audio_distance() -> types.ModuleType:
    """Import frechet_audio_distance without laion_clap and encodec if they are not installed: each serves one
    embedding.

    Returns:
        The module.

    Raises:
        ImportError: frechet_audio_distance is not installed.
    """
    _stand_in("laion_clap")
    _stand_in("encodec", EncodecModel=None)
    return importlib.import_module("frechet_audio_distance")


def _stand_in(name: str, **attributes: Any) -> None:
    """Register an empty module of a name, unless it is installed. A dict among the attributes becomes a submodule."""
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module
    for attribute, value in attributes.items():
        if isinstance(value, dict):
            sub = types.ModuleType(f"{name}.{attribute}")
            vars(sub).update(value)
            sys.modules[sub.__name__] = sub
            value = sub
        setattr(module, attribute, value)
