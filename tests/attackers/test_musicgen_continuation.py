"""What MusicGen says of continuations, and what it memorises."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="the extra 'models' is not installed")

from bench.trials.memorising import halves
from tests.attackers.memorised import own_and_other
from tests.attackers.test_musicgen import ATTACKER, checkpoint, music, read, rng

# The plugin's own modules; importable once the plugin is loaded.
from bench.attackers.musicgen import tokens  # isort: skip

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("musicgen"))


def attacker(folder: Path, **parameters: Any) -> Any:
    return ATTACKER(path=str(folder), **parameters)


def test_a_continuation_is_read_after_its_prompt_alone(folder: Path) -> None:
    model_of = attacker(folder)
    model = model_of.model(music(1), rng()).eval()
    prompts, continuations = halves(music(4, texts=False), 8000)
    pairs = torch.tensor([[0, 0], [0, 3], [2, 3], [2, 3]])
    with torch.no_grad():
        likelihood = model_of.continuation(model, prompts, continuations, pairs)
        before, after = (read(model_of, model, part) for part in (prompts, continuations))
        codes = torch.cat([before.codes[[2]], after.codes[[3]]], 2)
        whole = tokens.Tokens(codes, torch.tensor([codes.shape[-1]]), before.states[[2]], before.mask[[2]])
        expected = tokens.log_likelihood(model, whole)[0][:, :, before.codes.shape[-1] :].mean()
    assert likelihood.shape == (4,)
    assert float(likelihood[2]) == pytest.approx(float(expected), abs=1e-4)
    assert float(likelihood[3]) == pytest.approx(float(expected), abs=1e-4)
    assert likelihood[:3].unique().numel() == 3


def test_a_model_knows_the_clips_that_it_learned_and_no_others(folder: Path) -> None:
    model_of = attacker(folder, steps=150, batch=6, evaluations=1, lr=1e-2)
    published, others, unpublished = (music(6, seed=seed, texts=False) for seed in (1, 2, 3))
    reference = model_of.model(published, rng())
    own, other = own_and_other(model_of, reference, published, others, unpublished)
    assert own.gap.mean > 0.3
    assert abs(other.gap.mean) < 0.6 * own.gap.mean
    assert own.exposure.mean > own.most_exposure - 0.6
    assert other.exposure.mean < own.exposure.mean - 0.4
