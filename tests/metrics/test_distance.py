"""Distances against closed forms, against the reference package, and against their own bias."""

import importlib.util
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.api import Clips
from bench.compat import import_frechet_audio_distance
from bench.errors import DataError, UsageError
from bench.metrics import distance, embeddings
from bench.metrics.distance import distances, fad_infinity, frechet, kad, split_half_floor
from bench.metrics.embeddings import logmel, mel_filters

RATE = 16_000


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def normal(rng: torch.Generator, rows: int, features: int) -> torch.Tensor:
    return torch.randn(rows, features, generator=rng, dtype=torch.float64)


def with_moments(rng: torch.Generator, rows: int, mean: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    """Rows whose sample mean and sample covariance are exactly `mean` and `root @ root.T`."""
    x = normal(rng, rows, len(mean))
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    rows_with_moments: torch.Tensor = x @ root.T + mean
    return rows_with_moments


def test_frechet_has_the_closed_form_of_diagonal_gaussians(rng: torch.Generator) -> None:
    of_x, of_y = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 0.1]).double()
    apart = torch.tensor([1.0, -2.0, 0.0]).double()
    x = with_moments(rng, 50, torch.zeros(3).double(), of_x.diag())
    y = with_moments(rng, 70, apart, of_y.diag())
    expected = apart.square().sum() + (of_x - of_y).square().sum()
    assert frechet(x, y) == pytest.approx(float(expected), abs=1e-9)
    assert frechet(y, x) == pytest.approx(float(expected), abs=1e-9)


def test_frechet_is_invariant_under_rotation_and_scales_with_the_square(rng: torch.Generator) -> None:
    x, y = normal(rng, 80, 6), normal(rng, 60, 6) * 2 + 1
    turn = torch.linalg.qr(normal(rng, 6, 6))[0]
    assert frechet(x @ turn, y @ turn) == pytest.approx(frechet(x, y), rel=1e-9)
    assert frechet(3 * x, 3 * y) == pytest.approx(9 * frechet(x, y), rel=1e-9)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet(x[:, :1], x[:, :1] + 2) == pytest.approx(4.0, abs=1e-9)  # one feature


@pytest.mark.parametrize(("rows", "features"), [(300, 16), (80, 40)])
def test_frechet_agrees_with_the_package(rng: torch.Generator, rows: int, features: int) -> None:
    if importlib.util.find_spec("frechet_audio_distance") is None:
        pytest.skip("the package frechet-audio-distance is not installed")
    package = import_frechet_audio_distance()
    theirs = package.FrechetAudioDistance.__new__(package.FrechetAudioDistance)
    x, y = normal(rng, rows, features), normal(rng, rows, features) @ normal(rng, features, features)
    moments = [theirs.calculate_embd_statistics(part.numpy()) for part in (x, y)]
    expected = float(np.real(theirs.calculate_frechet_distance(*moments[0], *moments[1])))
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rows", [2, 3, 20])
def test_frechet_is_finite_where_rows_are_fewer_than_features(rng: torch.Generator, rows: int) -> None:
    x, y = normal(rng, rows, 64), normal(rng, rows, 64)
    assert 0 < frechet(x, y) < 500
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-6)
    assert frechet(torch.zeros(rows, 8), torch.zeros(rows, 8)) == 0.0


def test_frechet_is_biased_by_one_over_n_and_its_extrapolation_is_not(rng: torch.Generator) -> None:
    """Every bound is five standard errors of the draws' mean, which a right value exceeds once in a million."""

    def mean(values: list[float]) -> tuple[float, float]:
        """The mean and five standard errors of it."""
        drawn = torch.tensor(values)
        return float(drawn.mean()), 5 * float(drawn.std()) / len(values) ** 0.5

    sizes = (200, 400, 800)
    scaled = [mean([n * frechet(normal(rng, n, 16), normal(rng, n, 16)) for _ in range(16)]) for n in sizes]
    for value, bound in scaled:  # halves with every doubling
        assert bound < 0.2 * value, "enough draws to tell 1 / n from 1 / sqrt(n), which is 1.4 times as much"
        assert abs(value - scaled[0][0]) <= bound + scaled[0][1]
    extrapolated = [fad_infinity(normal(rng, 400, 16), normal(rng, 400, 16), rng) for _ in range(16)]
    value, bound = mean([value for value, _ in extrapolated])
    assert abs(value) < bound
    assert bound < 0.5 * scaled[1][0] / 400, "enough draws to tell it from the biased value"
    assert sum(r2 for _, r2 in extrapolated) / 16 > 0.8


def test_fad_infinity_keeps_what_is_really_apart(rng: torch.Generator) -> None:
    x, y = normal(rng, 600, 8), normal(rng, 600, 8) + 1.0
    assert fad_infinity(x, y, rng).value == pytest.approx(8.0, abs=1.0)
    with pytest.raises(DataError, match="16 rows of 8 features, expected at least 18 rows"):
        fad_infinity(x[:16], y, rng)


def test_paired_rows_have_no_distance_from_themselves(rng: torch.Generator) -> None:
    x = normal(rng, 200, 8)
    assert fad_infinity(x, x, rng, paired=True).value == pytest.approx(0.0, abs=1e-8)
    assert kad(x, x, paired=True) == pytest.approx(0.0, abs=1e-9)
    assert kad(x, x) < -0.1  # the same rows as if independent: the cross term holds every row beside itself


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("rows", [4, 10, 40])
def test_kad_of_equal_distributions_is_zero_on_average(rng: torch.Generator, rows: int, paired: bool) -> None:
    values = torch.tensor([kad(normal(rng, rows, 5), normal(rng, rows, 5), paired=paired) for _ in range(400)])
    error = float(values.std() / math.sqrt(len(values)))
    assert abs(float(values.mean())) < 4 * error
    assert values.min() < 0 < values.max()


def test_kad_has_the_value_of_its_definition(rng: torch.Generator) -> None:
    x, y = normal(rng, 7, 3), normal(rng, 5, 3) + 1
    pairs = torch.combinations(torch.arange(7))
    width = (x[pairs[:, 0]] - x[pairs[:, 1]]).norm(dim=1).median()

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.exp(-(a - b).square().sum() / (2 * width**2)))

    xx = sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (7 * 6)
    yy = sum(kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / (5 * 4)
    xy = sum(kernel(a, b) for a in x for b in y) / (7 * 5)
    assert kad(x, y) == pytest.approx(100 * (xx + yy - 2 * xy), rel=1e-9)


def test_kad_grows_with_the_shift_and_takes_its_ruler_from_the_reference(rng: torch.Generator) -> None:
    x, y = normal(rng, 200, 5), normal(rng, 200, 5)
    values = [kad(x, y + shift) for shift in (0.0, 0.3, 1.0, 3.0)]
    assert values == sorted(values)
    assert values[-1] > 50
    assert kad(5 * x, 5 * y + 2) == pytest.approx(kad(x, y + 0.4), rel=1e-9)
    assert kad(x, 5 * y) != pytest.approx(kad(5 * y, x), rel=0.1)


def test_kad_in_blocks_is_the_same(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(rng, 50, 4), normal(rng, 30, 4) + 1
    whole = kad(x, y)
    monkeypatch.setattr(distance, "_VALUES_PER_BLOCK", 70)
    assert kad(x, y) == pytest.approx(whole, rel=1e-12)


def test_kad_of_rows_that_are_all_alike(rng: torch.Generator) -> None:
    assert kad(torch.zeros(5, 3), torch.zeros(5, 3)) == pytest.approx(0.0)
    assert kad(torch.zeros(5, 3), torch.full((5, 3), 9.0)) == pytest.approx(200.0)


def test_the_floor_is_the_distance_of_halves(rng: torch.Generator) -> None:
    x = normal(rng, 400, 8)
    typical = sum(frechet(normal(rng, 200, 8), normal(rng, 200, 8)) for _ in range(10)) / 10
    assert split_half_floor(x, rng) == pytest.approx(typical, rel=0.3)
    assert 0 < split_half_floor(x, rng, kad) < 1.0
    with pytest.raises(DataError, match="cannot be halved"):
        split_half_floor(x[:3], rng)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), "1 and 5 rows"),
        (torch.zeros(5, 3), torch.zeros(5, 4), "expected .n, d. and .m, d."),
        (torch.full((5, 3), float("nan")), torch.zeros(5, 3), "NaN"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(x: torch.Tensor, y: torch.Tensor, message: str) -> None:
    for measure in (frechet, kad):
        with pytest.raises(DataError, match=message):
            measure(x, y)


def sounds(rng: torch.Generator, clips: int, colour: float = 0.0, channels: int = 1, rate: int = RATE) -> Clips:
    """Noise whose spectrum falls by `colour` powers of the frequency, of different loudness and length."""
    spectrum = torch.fft.rfft(torch.randn(clips, channels, 4_000, generator=rng))
    falling = torch.arange(1, spectrum.shape[-1] + 1).float() ** -colour
    audio = torch.fft.irfft(spectrum * falling)
    audio = audio / audio.abs().amax((1, 2), keepdim=True) * (0.1 + 0.8 * torch.rand(clips, 1, 1, generator=rng))
    lengths = torch.randint(2_000, 4_001, (clips,), generator=rng)
    return Clips.of(audio * (torch.arange(4_000) < lengths[:, None])[:, None], rate, lengths=lengths)


def test_mel_filters_are_means_over_bins_that_cover_the_band() -> None:
    for rate, size in ((8_000, 256), (16_000, 512), (44_100, 1024)):
        filters = mel_filters(rate, size, 32)
        torch.testing.assert_close(filters.sum(0), torch.ones(32))
        assert (filters[1:-1].sum(1) > 0).all()
        assert (filters.argmax(0).diff() > 0).all()


def test_logmel_hears_level_and_band_and_not_the_padding(rng: torch.Generator) -> None:
    clips = sounds(rng, 6)
    rows = logmel(clips)
    assert rows.shape == (6, 64)
    assert rows.isfinite().all()
    for index, length in enumerate(clips.lengths.tolist()):
        alone = logmel(Clips.of(clips.audio[index : index + 1, :, :length].contiguous(), RATE))
        torch.testing.assert_close(rows[index : index + 1], alone, atol=1e-4, rtol=1e-4)
    louder = logmel(clips.with_audio(clips.audio / 2))
    torch.testing.assert_close(
        rows[:, :32] - louder[:, :32], torch.full((6, 32), 2 * math.log(2)).double(), atol=1e-3, rtol=0
    )
    tone = Clips.of(0.5 * torch.sin(2 * torch.pi * 1_000 * torch.arange(8_000) / RATE)[None, None], RATE)
    assert logmel(tone)[0, :32].argmax() == mel_filters(RATE, 512, 32)[32].argmax()


def test_logmel_of_stereo_silence_and_one_sample(rng: torch.Generator) -> None:
    mono = sounds(rng, 3)
    stereo = mono.with_audio(mono.audio.expand(-1, 2, -1).contiguous())
    torch.testing.assert_close(logmel(stereo), logmel(mono))
    assert (logmel(Clips.of(torch.zeros(2, 1, 1), RATE)).isfinite()).all()


def test_distances_tell_a_set_from_its_twin_and_from_another(rng: torch.Generator) -> None:
    real, alike, darker = sounds(rng, 160), sounds(rng, 160), sounds(rng, 160, colour=1.0)
    near, far = distances(real, alike, rng), distances(real, darker, rng)
    names = {"fad", "fad_infinity", "fad_infinity_r2", "fad_floor", "kad", "kad_floor", "rows"}
    assert near.keys() == {f"{name}[logmel]" for name in names}
    assert all(math.isfinite(value) for value in near.values())
    assert near["fad[logmel]"] < 1.5 * near["fad_floor[logmel]"]
    assert far["fad[logmel]"] > 10 * far["fad_floor[logmel]"]
    assert far["kad[logmel]"] > 10 * far["kad_floor[logmel]"] > 10 * abs(near["kad[logmel]"]) / 3
    assert near["fad_infinity[logmel]"] < 0.5 * near["fad[logmel]"]
    assert near["rows[logmel]"] == 160
    same = distances(real, real, rng)
    assert same["kad[logmel]"] == pytest.approx(0.0, abs=1e-6)
    assert same["fad[logmel]"] == pytest.approx(0.0, abs=1e-6)


def test_few_clips_give_what_they_can(rng: torch.Generator) -> None:
    one, three, ten = (distances(sounds(rng, n), sounds(rng, n), rng) for n in (1, 3, 10))
    assert {name for name, value in one.items() if math.isfinite(value)} == {"rows[logmel]"}
    assert math.isfinite(three["kad[logmel]"])
    assert math.isnan(three["fad_floor[logmel]"])
    assert math.isfinite(ten["fad_floor[logmel]"])
    assert math.isnan(ten["fad_infinity[logmel]"])


def test_distances_depend_on_the_generator_alone(rng: torch.Generator) -> None:
    real, other = sounds(rng, 140), sounds(rng, 140)
    torch.manual_seed(0)
    first = distances(real, other, torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    assert distances(real, other, torch.Generator().manual_seed(1)) == first


def test_unknown_embeddings_and_other_rates_are_refused(rng: torch.Generator) -> None:
    with pytest.raises(UsageError, match="did you mean 'vggish'"):
        distances(sounds(rng, 4), sounds(rng, 4), rng, "vgish")
    with pytest.raises(DataError, match="8000 samples a second against real ones at 16000"):
        distances(sounds(rng, 4), sounds(rng, 4, rate=8_000), rng)


@pytest.mark.parametrize("name", ["vggish", "pann", "clap", "encodec"])
def test_missing_weights_are_named_and_never_fetched(
    name: str, rng: torch.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "load", refuse)
    wanted = "needs its weights at .*, where there is no file|needs the package"
    with pytest.raises(DataError, match=rf"embedding '{name}' ({wanted})"):
        distances(sounds(rng, 2), sounds(rng, 2), rng, name)


@pytest.fixture
def pann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of PANN's checkpoint, for a model of that package that is a mean over time of eight stretches."""

    class Model(torch.nn.Module):
        def __init__(self, path: Path) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.load(path)["weight"])

        def forward(self, audio: torch.Tensor, mixup: None) -> dict[str, torch.Tensor]:
            assert audio.shape[0] == 1
            assert audio.shape[1] >= 16_000
            return {"embedding": torch.nn.functional.adaptive_avg_pool1d(audio.abs(), 8) * self.weight}

    def build(ckpt_dir: str, model_name: str, sample_rate: int) -> SimpleNamespace:
        assert (model_name, sample_rate) == ("pann", 16_000)
        return SimpleNamespace(model=Model(path))

    path = tmp_path / "Cnn14_16k_mAP%3D0.438.pth"
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(
        embeddings, "import_frechet_audio_distance", lambda: SimpleNamespace(FrechetAudioDistance=build)
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=name))
    embeddings._model.cache_clear()
    return path


def test_weights_that_are_there_are_used(pann: Path, rng: torch.Generator) -> None:
    torch.save({"weight": torch.arange(8.0)}, pann)
    hub = torch.hub.get_dir()
    found = distances(sounds(rng, 5, rate=8_000), sounds(rng, 5, rate=8_000), rng, "pann")
    assert math.isfinite(found["fad[pann]"])
    assert found["rows[pann]"] == 5
    assert torch.hub.get_dir() == hub


class Harmful:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("harmed"),)  # type: ignore[return-value]


@pytest.mark.parametrize("content", [b"not a checkpoint", pickle.dumps(Harmful()), b""])
def test_weights_that_are_no_weights_are_refused(pann: Path, rng: torch.Generator, content: bytes) -> None:
    pann.write_bytes(content)
    with pytest.raises(DataError, match=r"'pann': the weights in .* cannot be loaded"):
        distances(sounds(rng, 2), sounds(rng, 2), rng, "pann")
    assert not Path("harmed").exists()


@pytest.mark.slow
def test_the_packages_own_pann_gives_a_row_a_clip(
    rng: torch.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real network with random weights: 80 million of them."""
    if importlib.util.find_spec("frechet_audio_distance") is None:
        pytest.skip("the package frechet-audio-distance is not installed")
    import_frechet_audio_distance()
    from frechet_audio_distance.models.pann import Cnn14_16k

    network = Cnn14_16k(
        sample_rate=16_000, window_size=512, hop_size=160, mel_bins=64, fmin=50, fmax=8_000, classes_num=527
    )
    torch.save({"model": network.state_dict()}, tmp_path / "Cnn14_16k_mAP%3D0.438.pth")
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    embeddings._model.cache_clear()
    rows = embeddings.EMBEDDINGS["pann"](sounds(rng, 3))
    assert rows.shape == (3, 2048)
    assert rows.isfinite().all()
