"""HarmonyCloak's tones lie where and as loud as the paper says, and lower a surrogate's loss on what they protect."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from bench import plugins
from bench._kit import sets
from bench.api import Adaptation, Clips, Epoch, Knowledge
from bench.errors import UsageError
from bench.metrics.audibility import masked_energy, nmr_db
from bench.sound.masking import hz_to_bark, spl_to_amplitude, threshold_in_quiet

pytestmark = pytest.mark.numeric

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
KNOWN = Knowledge("white-box", (sets.Reader(),))


def protect(data: Clips, knowledge: Knowledge = KNOWN, seed: int = 0, **parameters: Any) -> Clips:
    plugin = plugins.build("defenses", "harmonycloak", {"rounds": 2, **parameters})
    protected: Clips = plugin.protect(data, knowledge, Generator().manual_seed(seed))
    return protected.check()


def sine(hz: float, rate: int = 16_000, seconds: float = 1.0, amplitude: float = 0.5, channels: int = 1) -> Clips:
    time = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    tone = amplitude * torch.sin(2 * torch.pi * hz * time).float()
    return Clips.of(tone.expand(1, channels, -1).clone(), rate)


def spectrum(audio: Tensor) -> Tensor:
    power: Tensor = torch.fft.rfft(audio * torch.hann_window(audio.shape[-1])).abs().square()
    return power


def example(case: str = "several") -> Clips:
    clips = sets.example("audio", case)
    assert isinstance(clips, Clips)
    return clips


def module(name: str = "waveform") -> Any:
    import sys

    return sys.modules[f"{plugins.load('defenses', 'harmonycloak').__module__}.{name}"]


def snr_db(clean: Clips, protected: Clips) -> Tensor:
    noise = protected.audio - clean.audio
    return 10 * torch.log10(clean.audio.square().sum((1, 2)) / noise.square().sum((1, 2)))


# --- analysis


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("hz", [82.4, 261.6, 440.0, 1975.5, 3520.0])
def test_dominant_frequency_and_amplitude_of_a_pure_tone(hz: float, rate: int) -> None:
    found, amplitude = module().dominant(sine(hz, rate).audio[:, None], rate, rate // 100, 2 * (rate // 50))
    inner = (..., slice(4, -4))
    assert found[inner].numpy() == pytest.approx(hz, abs=1.5), "a bin is 25 Hz wide"
    assert amplitude[inner].numpy() == pytest.approx(0.5, rel=0.03)


def test_the_louder_of_two_tones_is_dominant_and_neither_offset_nor_rumble_is_a_tone() -> None:
    mixed = sine(1000.0, amplitude=0.2).audio + sine(300.0, amplitude=0.3).audio + 0.4
    found, amplitude = module().dominant(mixed[:, None], 16_000, 160, 640)
    assert found[..., 4:-4].numpy() == pytest.approx(300.0, abs=2.0)
    assert amplitude[..., 4:-4].numpy() == pytest.approx(0.3, rel=0.05)


def test_nothing_dominates_before_an_attack() -> None:
    late = sine(440.0).audio
    late[..., :8000] = 0
    _, amplitude = module().dominant(late[:, None], 16_000, 160, 640)
    assert not amplitude[..., :50].any(), "the 40 ms spectrum hears the tone 20 ms early; the noise must not"
    assert float(amplitude[..., 52:-4].min()) > 0.4


# --- bounds


@pytest.mark.parametrize("bound", ["paper", "masked"])
@pytest.mark.parametrize("optimise", [True, False])
def test_amplitudes_lie_between_threshold_and_masker_in_every_window(bound: str, optimise: bool) -> None:
    """The noise of a pure tone is never louder than the bound; at a window's centre it is alone, above the floor."""
    clean = sine(440.0, amplitude=0.5)
    noise = (protect(clean, bound=bound, optimise=optimise).audio - clean.audio)[0, 0]
    high = 0.5 if bound == "paper" else 0.5 * 10 ** (-(14.5 + float(hz_to_bark(torch.tensor(440.0)))) / 20)
    assert float(noise.abs().max()) <= high * 1.03
    low = float(spl_to_amplitude(threshold_in_quiet(torch.tensor(440.0))))
    centres = noise[160 * torch.arange(5, 95)[:, None] + torch.arange(-8, 9)]  # where one tone alone sounds
    assert float(centres.abs().amax(1).min()) >= low * 0.9


def test_where_the_masker_is_below_the_threshold_there_is_no_noise() -> None:
    """At 60 Hz the threshold in quiet is 35 dB SPL: amplitude 0.0009 of full scale at 96 dB."""
    for amplitude, heard in ((0.0005, False), (0.004, True)):
        clean = sine(60.0, amplitude=amplitude)
        assert bool((protect(clean).audio != clean.audio)[..., 1600:-1600].any()) == heard
    quiet = sine(60.0, amplitude=0.004)
    assert torch.equal(protect(quiet, full_scale_db=70.0).audio, quiet.audio)


def test_knobs_reach_the_whole_range_and_no_more() -> None:
    carriers = module().Carriers(*(torch.full((1, 1, 1, 11), x) for x in (400.0, 0.1, 0.3)), hop=160, rate=16_000)
    support = torch.ones(1, 1, 1600, dtype=torch.bool)
    for u, expected in ((-30.0, 0.1), (0.0, 0.2), (30.0, 0.3)):
        advance = 2 * torch.pi * 400 * 0.01 * torch.arange(11)  # tones that continue each other
        knobs = torch.stack([torch.full((11,), u), advance]).view(2, 1, 1, 1, 11)
        noise = module()._noise(carriers, knobs, support)
        assert float(noise.abs().max()) == pytest.approx(expected, rel=1e-4), "Hann windows add up to one"


@pytest.mark.parametrize("hz", [220.0, 987.8])
def test_noise_has_the_dominant_frequency(hz: float) -> None:
    clean = sine(hz)
    noise = (protect(clean).audio - clean.audio)[0, 0]
    power = spectrum(noise)
    bins = torch.arange(len(power)) * 16_000 / len(noise)
    near = (bins - hz).abs() < 110  # fading between windows of 10 ms widens the line by 100 Hz
    assert float(power[near].sum() / power.sum()) > 0.95
    assert abs(float((bins * power).sum() / power.sum()) - hz) < 10


@pytest.mark.parametrize("hz", [440.0, 1000.0, 2000.0, 4000.0])
def test_noise_at_the_masked_bound_is_masked(hz: float) -> None:
    """A bound 16 dB under the tone, whatever its frequency, let 30 % of the energy be heard at 1 kHz, 89 % at 4."""
    clean = sine(hz)
    constant = max(0.0, 16.0 - float(hz_to_bark(torch.tensor(hz))))
    new, old = (protect(clean, optimise=False, bound="masked", masking_offset_db=x) for x in (14.5, constant))
    assert float(masked_energy(clean, new)) < 0.01
    assert float(nmr_db(clean, new)) < -10
    assert hz < 1000 or float(masked_energy(clean, old)) > 0.2


def test_snr_of_the_bounds_and_no_copy_of_the_signal() -> None:
    data = example()
    paper, masked = (protect(data, bound=bound, optimise=False) for bound in ("paper", "masked"))
    assert (snr_db(data, masked) > snr_db(data, paper) + 14.5).all()
    assert 5 < float(snr_db(data, paper).mean()) < 15
    noise = (paper.audio - data.audio).flatten(1)
    alike = torch.nn.functional.cosine_similarity(noise, data.audio.flatten(1))
    assert float(alike.abs().max()) < 0.15


# --- optimisation


def surrogate_loss(protected: Clips, seed: int) -> float:
    reader = sets.Reader()
    model = reader.learn(sets.tones(8, seed=5), sets.tones(4, seed=6), Generator().manual_seed(seed))
    return float(reader.loss(model, protected).mean().detach())


@pytest.mark.parametrize("alternation", ["joint", "alternating"])
def test_optimisation_lowers_the_loss_below_random_tones_in_the_same_bounds(alternation: str) -> None:
    """By the loss of readers that were trained on other clips, clean ones: not the surrogate's own."""
    data = sets.tones(4)
    settings: dict[str, Any] = {"alpha": 0.0, "rounds": 8, "alternation": alternation}
    found = protect(data, **settings)
    drawn = protect(data, **settings, optimise=False)
    for seed in (1, 2):
        assert surrogate_loss(found, seed) < surrogate_loss(drawn, seed)


def test_a_heavier_regulariser_makes_a_softer_noise() -> None:
    data = sets.tones(4)
    heard = [float(snr_db(data, protect(data, rounds=6, alpha=alpha)).mean()) for alpha in (0.0, 0.3, 1.0)]
    assert heard[0] + 0.5 < heard[1] < heard[2] - 5


def test_the_default_is_about_as_loud_as_random_tones_in_the_same_bounds() -> None:
    """The regulariser is a weight: inside the sign of the step it took 12 dB off, whatever its size."""
    data = sets.tones(8)
    found, drawn = protect(data, rounds=8), protect(data, optimise=False)
    assert abs(float((snr_db(data, found) - snr_db(data, drawn)).mean())) < 2


def test_a_voice_is_penalised_alike_alone_and_beside_silent_stems() -> None:
    """Its share of the energy is 1 in both cases; the weight 1 - 1 = 0 left it 4 dB louder than random noise."""
    data = sets.tones(4)
    alone = replace(data, stems=data.audio[:, None], stem_names=("voice 1",))
    silent = torch.zeros_like(data.audio)
    beside = replace(data, stems=torch.stack([silent, data.audio, silent], 1), stem_names=("a", "b", "c"))
    weights = module("bounds").track_weights(torch.tensor([[0.0, 2.0, 0.0], [1.0, 3.0, 0.0]]))
    assert weights.tolist() == [[1.0, 1.0, 1.0], [0.75, 0.25, 1.0]]
    for clips in (alone, beside):
        free, penalised = (snr_db(data, protect(clips, rounds=8, alpha=alpha)) for alpha in (0.0, 0.3))
        assert float((penalised - free).mean()) > 1, "the penalty makes the noise softer"


def test_the_regulariser_shortens_each_noise_by_its_weight_and_never_below_the_threshold() -> None:
    low, high = torch.full((1, 2, 1, 100), 0.01), torch.full((1, 2, 1, 100), 0.5)
    bounds = module("bounds").Bounds(low, high, torch.tensor([[0.1, 50.0]]))
    u = torch.randn(1, 2, 1, 100, generator=Generator().manual_seed(0))
    before, after = (module("bounds").amplitude(x, low, high) for x in (u, bounds.shortened(u, 0.4)))
    norms = [noise.flatten(2).norm(dim=2) / high.flatten(2).norm(dim=2) for noise in (before, after)]
    assert float((norms[0] - norms[1])[0, 0]) == pytest.approx(0.5 * 0.4 * 0.1, rel=0.02)
    ratio = (after / before)[0, 0]
    assert float(ratio.max() - ratio.min()) < 0.01, "a block soft-threshold scales, it does not select"
    assert after[0, 1].numpy() == pytest.approx(0.01 + 0.49 * 0.0067, rel=0.01)


def test_the_log_says_what_the_noise_does_to_the_surrogate_and_what_random_noise_does() -> None:
    """Measured again with the surrogate at hand, after the last step, and with the noise held still."""
    data = sets.tones(4)
    models: list[torch.nn.Module] = []
    lines: list[Epoch] = []

    class Watched(sets.Reader):
        def model(self, like: Any, rng: Generator) -> Any:
            models.append(super().model(like, rng))
            return models[-1]

    reader = Watched()
    protected = protect(data, Knowledge("white-box", (reader,), log=lines.append), rounds=3, still=True)
    still, played = models
    (*earlier, last) = [line.numbers() for line in lines]
    assert [line.keys() for line in earlier] == [{"step", "loss", "still_loss"}] * 2
    with torch.no_grad():
        clean, noisy = (float(reader.loss(played, clips).mean()) for clips in (data, protected))
        drawn = float(reader.loss(played, protect(data, optimise=False)).mean())
    assert last["clean_loss"] == pytest.approx(clean, rel=1e-4)
    assert last["noise_effect"] == pytest.approx(noisy - clean, rel=1e-3)
    assert last["start_effect"] == pytest.approx(drawn - clean, rel=1e-3)
    assert last["noise_effect"] < last["start_effect"]
    assert last["optimised"] == 1
    assert earlier[0]["still_loss"] == pytest.approx(earlier[0]["loss"]), "one step a round: nothing has moved yet"
    assert last["still_loss"] != last["loss"]
    assert any(not torch.equal(a, b) for a, b in zip(still.parameters(), played.parameters(), strict=True))


@pytest.mark.parametrize("bound", ["paper", "masked"])
def test_random_tones_have_the_snr_of_the_optimised_ones_within_the_same_bounds(bound: str) -> None:
    data = sets.tones(4)
    optimised = protect(data, bound=bound, alpha=1.0, rounds=4)
    drawn = protect(data, Knowledge(reference=optimised), bound=bound, optimise=False)
    free = protect(data, bound=bound, optimise=False)
    assert snr_db(data, drawn).numpy() == pytest.approx(snr_db(data, optimised).numpy(), abs=0.1)
    assert float((snr_db(data, free) - snr_db(data, optimised)).abs().min()) > 0.2, "it had to be matched"
    noise = (drawn.audio - data.audio).flatten(1)
    alike = torch.nn.functional.cosine_similarity(noise, (optimised.audio - data.audio).flatten(1))
    assert float(alike.abs().max()) < 0.5


def test_random_tones_end_at_the_bound_where_the_reference_is_louder() -> None:
    clean = sine(440.0)
    louder = clean.with_audio(clean.audio * -1.0)
    noise = protect(clean, Knowledge(reference=louder), optimise=False).audio - clean.audio
    assert 0.45 < float(noise.abs().max()) <= 0.5 * 1.03


def test_without_a_surrogate_it_says_so_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"knowledge is 'none', expected 'white-box'.*optimise = false") as caught:
        protect(sine(440.0), Knowledge())
    assert "\n" not in str(caught.value)
    protect(sine(440.0), Knowledge(), optimise=False)


def test_several_surrogates_are_all_descended_and_those_of_rolls_left_out() -> None:
    data = sets.tones(4)
    calls: list[str] = []

    class Counted(sets.Reader):
        domains = ("audio",)  # type: ignore[assignment]  # the reader of both domains has no wider type

        def loss(self, model: Any, batch: Any) -> Tensor:
            calls.append(type(self).__name__)
            return super().loss(model, batch)

    first = type("First", (Counted,), {})()
    second = type("Second", (Counted,), {})()
    score = type("Score", (Counted,), {"domains": ("midi",)})()
    both = protect(data, Knowledge("ensemble", (first, second, score)))
    assert calls.count("First") == calls.count("Second") == 2 + 1 + 3  # rounds, the clean start, the last measurement
    assert "Score" not in calls
    assert not torch.equal(both.audio, protect(data, Knowledge("white-box", (first,))).audio)


def test_expected_adaptations_are_heard_in_the_forward_pass() -> None:
    data = sets.tones(4)

    class Halved(Adaptation[Clips]):  # keeps the gradient
        def augment(self, batch: Clips, rng: Generator) -> Clips:
            return batch.with_audio(batch.audio * 0.5)

    class Rounded(Adaptation[Clips]):  # leaves torch
        def transform(self, batch: Clips, rng: Generator) -> Clips:
            steps = torch.from_numpy((batch.audio.detach() * 8).round().numpy())
            return batch.with_audio(steps / 8)

    class Picking(Adaptation[Clips]):  # drops clips
        def transform(self, batch: Clips, rng: Generator) -> Clips:
            return batch.select([0])

    plain = protect(data)
    for adaptation in (Halved(), Rounded()):
        expecting = protect(data, replace(KNOWN, expects=(adaptation,)), rounds=4)
        assert not torch.equal(expecting.audio, protect(data, rounds=4).audio)
    assert protect(data, replace(KNOWN, expects=(Picking(),))).audio.shape == plain.audio.shape


# --- sets


def test_silence_stays_silent_and_padding_too() -> None:
    data = example()
    gap = data.audio.clone()
    gap[:, :, 4000:9120] = 0
    protected = protect(data.with_audio(gap))
    assert not protected.audio[:, :, 4160:8960].any(), "a tone fades out within 10 ms"
    assert not (protected.audio * ~data.support).any()
    silent = example("silent")
    assert torch.equal(protect(silent).audio, silent.audio)


def test_stereo_channels_are_bounded_by_their_own_maskers() -> None:
    left, right = sine(440.0, amplitude=0.5), sine(1320.0, amplitude=0.05)
    both = Clips.of(torch.cat([left.audio, right.audio], 1), 16_000)
    noise = (protect(both).audio - both.audio)[0]
    assert float(noise[1].abs().max()) <= 0.05 * 1.03
    peak = spectrum(noise).argmax(1) * 16_000 / noise.shape[1]
    assert peak.tolist() == pytest.approx([440.0, 1320.0], abs=110)


@pytest.mark.parametrize("per_track", [True, False])
def test_stems_get_noises_of_their_own_that_add_up(per_track: bool) -> None:
    low, high = sine(220.0, amplitude=0.4), sine(1760.0, amplitude=0.2)
    stems = torch.stack([low.audio, high.audio], 1)
    data = replace(low, audio=stems.sum(1), stems=stems, stem_names=("low", "high"))
    protected = protect(data, per_track=per_track)
    if not per_track:
        assert protected.stems is None
        return
    assert protected.stems is not None
    assert protected.stem_names == ("low", "high")
    assert torch.allclose(protected.stems.sum(1), protected.audio, atol=1e-6)
    peak = spectrum((protected.stems - stems)[0, :, 0]).argmax(1)
    assert peak.tolist() == pytest.approx([220.0, 1760.0], abs=110)


def test_stems_add_up_where_the_mixture_clips() -> None:
    stems = torch.stack([sine(220.0, amplitude=0.5).audio, sine(440.0, amplitude=0.49).audio], 1)
    data = Clips.of(stems.sum(1), 16_000, stems=stems, stem_names=("a", "b"))
    protected = protect(data, optimise=False)
    assert float(protected.audio.abs().max()) == 1.0
    assert protected.stems is not None
    assert torch.allclose(protected.stems.sum(1), protected.audio, atol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_one_clip_at_any_rate(rate: int) -> None:
    clean = sine(440.0, rate, seconds=0.5)
    protected = protect(clean, rounds=1)
    assert protected.audio.shape == clean.audio.shape
    assert protected.rate == rate
    assert 0 < float(snr_db(clean, protected)) < 30


def test_same_generator_same_bits_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data = example()
    once = protect(data)
    assert torch.equal(once.audio, protect(data).audio)
    monkeypatch.setattr(module(), "_ROOM", 1)
    assert torch.allclose(once.audio, protect(data).audio, atol=1e-6)


def test_windows_shorter_than_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="window_ms = 50"):
        plugins.build("defenses", "harmonycloak", {"window_ms": 50.0})
