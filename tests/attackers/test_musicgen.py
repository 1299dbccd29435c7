"""MusicGen as an attacker: the delay pattern, the likelihood and its gradient, loading, learning, sampling."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from bench import plugins
from bench.api import Clips
from bench.errors import DataError, UsageError

transformers = pytest.importorskip("transformers", reason="the extra 'models' is not installed")

ATTACKER = plugins.load("attackers", "musicgen")
# The plugin's own modules; importable once the plugin is loaded.
from bench.attackers.musicgen import tokens, weights  # noqa: E402

pytestmark = pytest.mark.numeric

RATE = 16000


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def music(clips: int = 4, seconds: float = 1.0, rate: int = RATE, seed: int = 0, texts: bool = True) -> Clips:
    """Chords of three decaying tones: what a codec has something to say about."""
    draw = rng(seed)
    steps = torch.arange(round(seconds * rate)) / rate
    pitch = 220 * 2 ** (torch.randint(0, 24, (clips, 3, 1), generator=draw) / 12)
    tones = (2 * torch.pi * pitch * steps).sin() * torch.exp(-2 * (steps % 0.5))
    audio = 0.25 * tones.sum(1, keepdim=True)
    words = ("slow chorale for organ", "lively chorale for choir in a minor key", "", "piano")
    return Clips.of(audio, rate, texts=tuple(words[i % 4] for i in range(clips)) if texts else ())


def checkpoint(folder: Path, melody: bool = False) -> Path:
    """A small random model, saved as Transformers saves one."""
    from transformers import EncodecConfig, T5Config

    name = "MusicgenMelody" if melody else "Musicgen"
    codec = EncodecConfig(
        sampling_rate=RATE, upsampling_ratios=[2, 4, 5, 8], num_filters=4, hidden_size=16, num_lstm_layers=1,
        codebook_size=32, target_bandwidths=[1.0], num_residual_layers=1,
    )  # fmt: skip
    text = T5Config(
        vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_encoder_decoder=False
    )  # fmt: skip
    decoder = getattr(transformers, f"{name}DecoderConfig")(
        vocab_size=32, num_hidden_layers=2, hidden_size=32, ffn_dim=64, num_attention_heads=2, dropout=0.1,
        pad_token_id=32, bos_token_id=32, max_position_embeddings=512, initializer_factor=0.3,
    )  # fmt: skip
    config = getattr(transformers, f"{name}Config")(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict(),
        **({"chroma_length": 5} if melody else {}),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config)
        with torch.no_grad():
            latents = model.audio_encoder.encoder(music(8).audio).transpose(1, 2).flatten(0, 1)
            for level in model.audio_encoder.quantizer.layers:  # Transformers leaves the codebooks at zero
                entries = latents[torch.randperm(len(latents))[:32]]
                level.codebook.embed.copy_(entries + 0.3 * entries.std(0) * torch.randn_like(entries))
                latents = latents - level.codebook.decode(level.codebook.encode(latents))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("musicgen"))


@pytest.fixture(scope="module")
def melody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("melody"), melody=True)


@pytest.fixture
def attacker(folder: Path) -> Any:
    return ATTACKER(path=str(folder), steps=6, batch=2, evaluations=3)


@pytest.fixture
def model(attacker: Any) -> Any:
    return attacker.model(music(1), rng())


def read(attacker: Any, model: Any, clips: Clips) -> Any:
    return tokens.tokenized(model, weights.tokenizer(Path(attacker.path)), clips)


def alike_but_for_ties(one: torch.Tensor, other: torch.Tensor) -> None:
    """The losses of clips are the same, but for those where two entries of a codebook are equally near.

    There the last digit, which depends on the size of the batch and on the processor, decides: another entry is taken
    in one frame of fifty. Over nine seeds that befell one clip of five at most, and moved its loss by up to .06 nats.
    """
    difference = (one - other).abs()
    assert (difference < 1e-4).float().mean() >= 0.5
    assert difference.max() < 0.3


# The delay pattern


def test_codebook_k_is_k_steps_late_and_the_rest_is_the_special_token() -> None:
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]])
    late = tokens.delayed(codes, 0)
    assert late.tolist() == [[[1, 2, 3, 0, 0], [0, 4, 5, 6, 0], [0, 0, 7, 8, 9]]]
    assert torch.equal(tokens.on_time(late), codes)


def test_the_delay_is_the_one_of_transformers(model: Any) -> None:
    """Its pattern for a prompt, which begins with the start token."""
    codes, special = torch.randint(0, 32, (2, 4, 9), generator=rng()), 32
    ours = torch.nn.functional.pad(tokens.delayed(codes, special), (1, 0), value=special)
    prompt = torch.nn.functional.pad(codes, (1, 0), value=special).flatten(0, 1)
    _, theirs = model.decoder.build_delay_pattern_mask(prompt, special, max_length=ours.shape[-1])
    assert torch.equal(theirs.view(ours.shape), ours)


@pytest.mark.slow
def test_the_delay_is_the_one_of_audiocraft() -> None:
    from bench.compat import import_audiocraft

    pytest.importorskip("omegaconf", reason="the extra 'audiocraft' is not installed")
    try:
        import_audiocraft()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider

    codes = torch.randint(0, 32, (2, 4, 9), generator=rng())
    pattern = DelayedPatternProvider(4).get_pattern(9)
    theirs, _, _ = pattern.build_pattern_sequence(codes, 32, keep_only_valid_steps=False)
    ours = torch.nn.functional.pad(tokens.delayed(codes, 32), (1, 0), value=32)
    assert torch.equal(theirs, ours)


# The likelihood


def test_the_loss_is_the_one_of_transformers_on_delayed_labels(attacker: Any, model: Any) -> None:
    clips = music(1, texts=False)
    batch = read(attacker, model, clips)
    labels = tokens.delayed(batch.codes, 32).transpose(1, 2)
    with torch.no_grad():
        theirs = model.decoder(
            labels=labels, encoder_hidden_states=batch.states, encoder_attention_mask=batch.mask
        ).loss  # fmt: skip
        ours = attacker.loss(model, clips)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_raw_codes_are_another_task(attacker: Any, model: Any) -> None:
    """Without the delay, Transformers computes something else: the mistake this attacker must not make."""
    clips = music(1, texts=False)
    batch = read(attacker, model, clips)
    with torch.no_grad():
        raw = model.decoder(
            labels=batch.codes.transpose(1, 2), encoder_hidden_states=batch.states, encoder_attention_mask=batch.mask
        ).loss
    assert abs(raw.item() - attacker.loss(model, clips).item()) > 1e-3


def test_both_paths_give_the_same_value_and_the_gradient_reaches_the_recording(attacker: Any, model: Any) -> None:
    clips = music(9)
    lengths = torch.tensor([16000, 12000, 7000]).repeat(3)
    clips = Clips.of(clips.audio * (torch.arange(16000) < lengths[:, None, None]), RATE, lengths=lengths)
    watched = clips.with_audio(clips.audio.clone().requires_grad_(True))
    with torch.no_grad():
        hard = attacker.loss(model, clips)
    soft = attacker.loss(model, watched)
    alike_but_for_ties(hard, soft.detach())
    (gradient,) = torch.autograd.grad(soft.sum(), watched.audio)
    for i, length in enumerate(lengths.tolist()):
        inside = gradient[i, 0, :length]
        assert inside.isfinite().all()
        assert (inside != 0).float().mean() > 0.95


def test_the_gradient_is_the_one_of_the_softened_choice(attacker: Any, model: Any) -> None:
    """Along the straight-through assignment the loss is linear in the target: its derivative is -log p of the entry."""
    batch = read(attacker, model, music(1, 0.2))
    soft = torch.full((*batch.codes.shape, 32), 1 / 32).requires_grad_(True)
    with torch.no_grad():
        late = tokens.delayed(batch.codes, 32)
        inputs = torch.nn.functional.pad(late[..., :-1], (1, 0), value=32)
        log_p = tokens.on_time(tokens._logits(model, inputs, batch)).log_softmax(-1)
    riding = tokens.Tokens(batch.codes, batch.lengths, batch.states, batch.mask, soft)
    picked, _ = tokens.log_likelihood(model, riding)
    (gradient,) = torch.autograd.grad(picked[:, -1, -1].sum(), soft)
    # The last codebook of the last frame is nobody's input, so its gradient is that of the target alone.
    assert torch.allclose(gradient[:, -1, -1], log_p[:, -1, -1], atol=1e-5)
    # Every earlier code is an input: it has a gradient that sums the ways it is read.
    assert (gradient[:, :, 0].abs().sum(-1) > 0).all()


def test_descending_the_gradient_lowers_the_loss(attacker: Any, model: Any) -> None:
    """What error-minimising defenses rely on, on the hard codes of the changed sound."""
    clips = music(2, 0.5)
    audio = clips.audio.clone()
    with torch.no_grad():
        before = attacker.loss(model, clips).mean().item()
    best = before
    for _ in range(20):
        audio.requires_grad_(True)
        (gradient,) = torch.autograd.grad(attacker.loss(model, clips.with_audio(audio)).mean(), audio)
        audio = (audio - 0.003 * gradient.sign()).detach()
        with torch.no_grad():
            best = min(best, attacker.loss(model, clips.with_audio(audio)).mean().item())
    assert best < before - 0.02


def test_a_clip_does_not_depend_on_its_neighbours_or_on_the_padding(attacker: Any, model: Any) -> None:
    clips = music(9)
    padded = Clips.of(
        torch.nn.functional.pad(clips.audio, (0, 5000)), RATE, lengths=clips.lengths, texts=clips.texts
    )  # fmt: skip
    with torch.no_grad():
        together = attacker.loss(model, clips)
        alone = torch.cat([attacker.loss(model, clips.select([i])) for i in range(9)])
        longer = attacker.loss(model, padded)
    alike_but_for_ties(together, alone)
    alike_but_for_ties(together, longer)


def test_a_long_clip_is_the_mean_over_its_windows(attacker: Any, model: Any) -> None:
    clips = music(2, 1.0, texts=False)
    batch = read(attacker, model, clips)
    whole, _ = tokens.clip_means(model, batch, 20)
    parts = []
    for start in (0, 20, 40):
        codes = batch.codes[..., start : start + 20]
        cut = tokens.Tokens(codes, torch.full((2,), codes.shape[-1]), batch.states, batch.mask)
        parts.append(tokens.mean_over_frames(tokens.log_likelihood(model, cut)[0], cut.lengths) * codes.shape[-1] / 50)
    assert torch.allclose(whole, torch.stack(parts).sum(0), atol=1e-5)


def test_quality_scores_the_likelihood_first(attacker: Any, model: Any) -> None:
    clips = music(4)
    with torch.no_grad():
        quality = attacker.quality(model, clips)
        loss = attacker.loss(model, clips)
    assert next(iter(quality)) == "nll"
    assert all(values.shape == (4,) for values in quality.values())
    assert torch.allclose(quality["nll"], -loss, atol=1e-5)
    by_codebook = torch.stack([quality[f"nll_codebook_{k}"] for k in range(4)])
    assert torch.allclose(by_codebook.mean(0), quality["nll"], atol=1e-5)
    assert ((quality["accuracy"] >= 0) & (quality["accuracy"] <= 1)).all()


def test_shuffling_keeps_the_frames_and_depends_on_the_id_alone(attacker: Any, model: Any) -> None:
    clips = Clips.of(music(2).audio, RATE, lengths=torch.tensor([16000, 8000]))
    whole = read(attacker, model, clips)
    module = __import__(ATTACKER.__module__, fromlist=["_shuffled"])
    shuffled = module._shuffled(whole, clips.ids)
    for i, frames in enumerate((50, 25)):
        before, after = whole.codes[i, :, :frames], shuffled.codes[i, :, :frames]
        assert not torch.equal(before, after)
        assert sorted(map(tuple, before.T.tolist())) == sorted(map(tuple, after.T.tolist()))
    assert torch.equal(shuffled.codes[0, :, 50:], whole.codes[0, :, 50:])
    alone = module._shuffled(read(attacker, model, clips.select([1])), clips.ids[1:])
    assert torch.equal(alone.codes[0, :, :25], shuffled.codes[1, :, :25])


def test_another_rate_is_resampled_and_stereo_is_mixed_down(attacker: Any, model: Any) -> None:
    from torchaudio.functional import resample

    clips = music(2)
    stereo = Clips.of(resample(clips.audio, RATE, 32000).expand(-1, 2, -1).contiguous(), 32000, texts=clips.texts)
    there_and_back = clips.with_audio(resample(resample(clips.audio, RATE, 32000), 32000, RATE))
    with torch.no_grad():
        assert torch.allclose(attacker.loss(model, stereo), attacker.loss(model, there_and_back), atol=1e-5)


def test_a_clip_shorter_than_a_frame_is_refused(attacker: Any, model: Any) -> None:
    with pytest.raises(DataError, match=r"0\.001 s, expected at least one frame \(0\.020 s\)"):
        attacker.loss(model, music(2, 0.001))


# Learning


@pytest.mark.parametrize("method", ["full", "lora"])
def test_learning_changes_the_decoder_alone_and_keeps_its_names(folder: Path, method: str) -> None:
    attacker = ATTACKER(path=str(folder), steps=8, batch=4, evaluations=2, lr=0.01, method=method, rank=4)
    clips = music(8)
    seen: list[Any] = []
    base = attacker.model(clips, rng()).state_dict()
    learned = attacker.learn(clips, music(4, seed=1), rng(), log=seen.append)
    after = learned.state_dict()
    assert list(after) == list(base)
    changed = {name for name in base if not torch.equal(base[name], after[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)
    assert seen[-1].validation > seen[0].validation
    assert attacker.loss(learned, music(4, seed=1)).mean().item() == pytest.approx(
        -max(row.validation for row in seen), abs=1e-4
    )


def test_learning_depends_on_the_generator_alone(attacker: Any) -> None:
    """The checkpoint has dropout, which draws from the global generator."""

    def learned(seed: int) -> Tensor:
        model = attacker.learn(music(4), music(2, seed=1), rng(seed))
        return torch.nn.utils.parameters_to_vector(model.decoder.parameters()).detach()

    before, python = torch.get_rng_state(), random.getstate()
    first = learned(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == python
    torch.manual_seed(9)
    random.seed(9)
    assert torch.equal(learned(0), first)
    assert not torch.equal(learned(1), first)


def test_an_augmentation_sees_sound_not_codes(attacker: Any) -> None:
    seen = []

    def quieter(batch: Clips, generator: Generator, model: Any) -> Clips:
        seen.append(batch)
        return batch.with_audio(0.5 * batch.audio)

    attacker.learn(music(4), music(2, seed=1), rng(), augment=quieter)
    assert len(seen) == attacker.steps
    assert all(isinstance(batch, Clips) and len(batch) == 2 for batch in seen)


# Sampling


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_with_a_cache_is_sampling_without(attacker: Any, model: Any, guidance: float) -> None:
    """The likeliest code at every step, once with the cache and once from the whole past."""
    batch = read(attacker, model, music(2, 0.3))
    drawn = tokens.sampled(model, batch, rng(), temperature=1.0, top_k=1, guidance=guidance)
    late = tokens.delayed(drawn, 32)
    inputs = torch.nn.functional.pad(late[..., :-1], (1, 0), value=32)
    with torch.no_grad():
        logits = tokens.on_time(tokens._logits(model, inputs, batch))
        if guidance != 1.0:
            silent = tokens.Tokens(batch.codes, batch.lengths, torch.zeros_like(batch.states), batch.mask)
            plain = tokens.on_time(tokens._logits(model, inputs, silent))
            logits = plain + guidance * (logits - plain)
    assert drawn.shape == batch.codes.shape
    assert torch.equal(logits.argmax(-1), drawn)


def test_sampling_follows_the_model(attacker: Any, model: Any) -> None:
    """The first codes of many draws have the frequencies that the model gives them."""
    batch = read(attacker, model, music(1, 0.04, texts=False))
    many = batch.select(torch.zeros(4000, dtype=torch.int64))
    drawn = tokens.sampled(model, many, rng(), temperature=1.0, top_k=0, guidance=1.0)[:, 0, 0]
    start = torch.full((1, 4, 1), 32)
    with torch.no_grad():
        chances = tokens._logits(model, start, batch)[0, 0, 0].softmax(-1)
    counts = torch.bincount(drawn, minlength=32) / 4000
    assert (counts - chances).abs().max() < 5 * (0.25 / 4000) ** 0.5


def test_generation_is_as_long_as_asked_and_depends_on_the_generator_alone(attacker: Any, model: Any) -> None:
    like = Clips.of(torch.zeros(2, 2, 8820), 22050, lengths=torch.tensor([8820, 5000]), texts=("organ", "choir"))
    before, python = torch.get_rng_state(), random.getstate()
    first = attacker.generate(model, like, rng())
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == python
    first.check()
    assert (first.audio.shape, first.rate, first.ids) == (like.audio.shape, like.rate, like.ids)
    assert first.audio[1, :, :5000].abs().max() > 0
    torch.manual_seed(9)
    assert torch.equal(attacker.generate(model, like, rng()).audio, first.audio)
    assert not torch.equal(attacker.generate(model, like, rng(1)).audio, first.audio)


# Loading


def test_the_melody_model_learns_and_generates(melody: Path) -> None:
    attacker = ATTACKER(path=str(melody), steps=4, batch=2, evaluations=2, lr=0.01)
    clips = music(4, 0.5)
    model = attacker.learn(clips, clips, rng())
    watched = clips.with_audio(clips.audio.clone().requires_grad_(True))
    attacker.loss(model, watched).sum().backward()
    assert watched.audio.grad is not None
    assert torch.ne(watched.audio.grad, 0).float().mean() > 0.9
    attacker.generate(model, clips, rng()).check()
    drawn = tokens.sampled(model, read(attacker, model, clips), rng(), temperature=1.0, top_k=1, guidance=1.0)
    inputs = torch.nn.functional.pad(tokens.delayed(drawn, 32)[..., :-1], (1, 0), value=32)
    with torch.no_grad():
        logits = tokens.on_time(tokens._logits(model, inputs, read(attacker, model, clips)))
    assert torch.equal(logits.argmax(-1), drawn)


def test_meta_models_are_taken_from_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    attacker = ATTACKER(size="small")
    with pytest.raises(DataError, match=r"facebook/musicgen-small is not in the Hugging Face cache \(.*download=true"):
        attacker.model(music(1), rng())
    stored = tmp_path / "models--facebook--musicgen-small"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("0" * 40)
    (stored / "snapshots").mkdir()
    (stored / "snapshots" / ("0" * 40)).symlink_to(folder)
    loaded = attacker.model(music(1), rng()).state_dict()
    same = ATTACKER(path=str(folder)).model(music(1), rng()).state_dict()
    assert all(torch.equal(loaded[name], same[name]) for name in same)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path, folder: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(DataError, match=match) as caught:
            ATTACKER(path=str(tmp_path)).model(music(1), rng())
        assert "\n" not in str(caught.value)

    refused(r"no config\.json in .* \(attacker\.path\)")
    (tmp_path / "config.json").write_text("{")
    refused(r"no \*\.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    weights.config.cache_clear()
    refused(r"config\.json is not JSON")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    weights.config.cache_clear()
    refused(r"of type 'bert', expected 'musicgen'")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights.config.cache_clear()
    refused(r"cannot be read")


def test_parameters_are_checked() -> None:
    with pytest.raises(UsageError, match="size"):
        plugins.build("attackers", "musicgen", {"size": "large"})
    assert plugins.build("attackers", "musicgen", {}, "full").size == "small"
