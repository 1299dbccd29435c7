"""Pretraining of the tiny MusicGen that ships with bench: codec, language model and text encoder, on one CPU core.

    python attackers/musicgen/pretrain.py --out attackers/musicgen/tiny --work FOLDER --codec attackers/musicgen/tiny

Trains on the split "pretrain" of the data set `composers`: music by others than the artist whom the benchmark protects,
in the timbres of all splits and as single voices too, so that neither timbre, texture nor more training is what
fine-tuning on the artist teaches. Clips,
codes and the state of the training are kept in the work folder and taken up again. Prints its progress, and at the end
the model card's figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bench import plugins
from bench.api import Clips
from bench.training import states
from bench.training.learning import seeded

RATE, SECONDS, CODEBOOKS, ENTRIES = 16000, 10.0, 4, 256
CODEC = {
    "sampling_rate": RATE,
    # Downsampling begins with the largest step: what runs at 16 kHz costs most.
    "upsampling_ratios": [2, 4, 5, 8],
    "num_filters": 8,
    "num_residual_layers": 1,
    "residual_kernel_size": 7,
    "hidden_size": 32,
    "num_lstm_layers": 1,
    "codebook_size": ENTRIES,
    "target_bandwidths": [1.6],  # kbit/s: 50 frames x 4 codebooks x 8 bits
    "norm_type": "weight_norm",
    "use_causal_conv": True,
}
TEXT = {
    "vocab_size": 384,  # ByT5's bytes
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "is_encoder_decoder": False,
}
DECODER = {
    "vocab_size": ENTRIES,
    "num_codebooks": CODEBOOKS,
    "num_hidden_layers": 3,
    "hidden_size": 128,
    "ffn_dim": 512,
    "num_attention_heads": 4,
    "dropout": 0.0,
    "pad_token_id": ENTRIES,
    "bos_token_id": ENTRIES,
    "max_position_embeddings": 1024,
}
HELD_OUT = 48  # clips by the others, of works that are in no other split, for the figures
WINDOW = 300  # frames the language model is trained on at once
NO_TEXT = 0.15  # share of windows without a description: what guidance needs


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)

    def rng(phase: int) -> Generator:  # one a phase, so that taking up a run changes nothing
        return Generator().manual_seed(100 * options.seed + phase)

    train, held_out = (_recordings(options, split) for split in ("pretrain", "test"))
    model = _untrained(rng(1))
    _say(f"{_count(model.audio_encoder)} codec, {_count(model.decoder)} decoder, {_count(model.text_encoder)} text")

    cpu_seconds = {"codec": _codec(model.audio_encoder, train.audio, rng(2), options)}
    cpu_seconds["language_model"] = _language_model(model, train, held_out, options)
    model.half().save_pretrained(options.out)
    _say(json.dumps({"cpu_seconds": cpu_seconds, **_figures(options.out, train, held_out)}, indent=1))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Pretrain the tiny MusicGen.")
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--work", type=Path, required=True, help="where intermediate results are kept")
    parser.add_argument("--codec", type=Path, help="a checkpoint whose codec is taken; by default one is trained")
    parser.add_argument("--codec-steps", type=int, default=1200)
    parser.add_argument("--clips", type=int, default=1200, help="of 10 s, to train on")
    parser.add_argument("--steps", type=int, default=2200, help="of the language model")
    parser.add_argument("--batch", type=int, default=8, help="windows a step of the language model")
    parser.add_argument("--lr", type=float, default=2e-3, help="of the language model")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def _recordings(options: argparse.Namespace, split: str) -> Clips:
    """The clips of the others, to train on or of works that are held out."""
    from bench.trials.artefacts import load_data, save_data

    folder = options.work / split
    if not (folder / "set.json").is_file():
        folder.mkdir(exist_ok=True)
        others = ("bach", "trecento", "haydn", "mozart", "beethoven")
        given = {
            "artist": others,
            "others": others,
            "texture": "mixed",
            "seconds": SECONDS,
            "rate": RATE,
            "stems": False,
        }
        dataset = plugins.build(
            "datasets", "composers", {**given, "pretrain_clips": options.clips, "test_clips": HELD_OUT}
        )
        save_data(folder, dataset.load(split))
        _say(f"{split} rendered in {time.process_time():.0f} s")
    clips: Any = load_data(folder)
    return clips  # type: ignore[no-any-return]


def _untrained(rng: Generator) -> Any:
    """Build the untrained model."""
    from transformers import EncodecConfig, T5Config
    from transformers.models.musicgen.configuration_musicgen import MusicgenConfig, MusicgenDecoderConfig
    from transformers.models.musicgen.modeling_musicgen import MusicgenForConditionalGeneration

    config = MusicgenConfig(
        text_encoder=T5Config(**TEXT).to_dict(),
        audio_encoder=EncodecConfig(**CODEC).to_dict(),
        decoder=MusicgenDecoderConfig(**DECODER).to_dict(),
    )
    with seeded(rng):
        model = MusicgenForConditionalGeneration(config)
    # A head that begins as its table lets the model say "the same again" before it has learned anything.
    for head, table in zip(model.decoder.lm_heads, model.decoder.model.decoder.embed_tokens, strict=True):
        head.weight.data.copy_(table.weight.data[:ENTRIES])
    return model


def _codec(codec: Any, audio: Tensor, rng: Generator, options: argparse.Namespace) -> float:
    """Train the codec, or load it from the work folder; processor-seconds."""
    from safetensors.torch import load_file, save_file

    from .codec_training import train_codec

    file = options.work / "codec.safetensors"
    start = time.process_time()
    if options.codec:
        from . import weights

        codec.load_state_dict(weights.load(options.codec, rng).audio_encoder.state_dict())
    elif file.is_file():
        codec.load_state_dict(load_file(file))
    else:
        errors: list[float] = []
        for step, error in train_codec(codec, audio, rng, steps=options.codec_steps):
            errors.append(error)
            if step % 50 == 0:
                _say(f"codec {step}: {8.686 * sum(errors) / len(errors):.2f} dB, {time.process_time() - start:.0f} s")
                errors.clear()
        save_file({name: value.contiguous() for name, value in codec.state_dict().items()}, file)
    codec.half().float()  # the language model reads the codes of the codec that is shipped
    codec.eval().requires_grad_(False)
    return round(time.process_time() - start)


def _language_model(model: Any, train: Clips, held_out: Clips, options: argparse.Namespace) -> float:
    """AdamW on random windows; the text encoder learns along. Taken up where the work folder has a state."""
    from safetensors.torch import load_file, save_file

    from . import codec, tokens, weights

    begin = time.process_time()
    file = options.work / "codes.safetensors"
    if not file.is_file():
        save_file({"codes": codec.encode(model.audio_encoder, train.audio).contiguous()}, file)
        _say(f"encoded in {time.process_time() - begin:.0f} s")
    all_codes = load_file(file)["codes"]
    lengths = codec.frames(train, model.audio_encoder)
    held_out_tokens = _tokens(model, held_out)
    tokenizer = weights.tokenizer(weights.TINY)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.lr, betas=(0.9, 0.95), weight_decay=0.05)
    state = options.work / "state.safetensors"
    done, spent = states.take_up(state, model, optimizer)
    losses: list[float] = []
    for step in range(done + 1, options.steps + 1):
        rng = Generator().manual_seed(1_000_000 * (options.seed + 1) + step)  # taking up a run changes nothing
        for group in optimizer.param_groups:
            group["lr"] = options.lr * _schedule(step, options.steps)
        clip = torch.randint(len(train), (options.batch,), generator=rng)
        start = (torch.rand(options.batch, generator=rng) * (lengths[clip] - WINDOW).clamp_min(0)).long()
        codes = torch.stack([all_codes[c, :, s : s + WINDOW] for c, s in zip(clip, start, strict=True)])
        undescribed = torch.rand(options.batch, generator=rng) < NO_TEXT
        texts = ["" if s else train.texts[int(c)] for c, s in zip(clip, undescribed, strict=True)]
        read, mask = tokens.described(model, tokenizer, texts, options.batch)
        batch = tokens.Tokens(codes, (lengths[clip] - start).clamp(max=WINDOW), read, mask)

        loss = -tokens.clip_means(model.train(), batch, WINDOW)[0].mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            nats_of = _by_codebook(model.eval(), held_out_tokens)
            cpu = spent + time.process_time() - begin
            _say(
                f"model {step}: train {sum(losses) / len(losses):.3f}, held out {sum(nats_of) / CODEBOOKS:.3f} "
                f"({' '.join(f'{nats:.2f}' for nats in nats_of)}), {cpu:.0f} s"
            )
            losses.clear()
            states.keep(state, model, optimizer, step, cpu)
    return round(spent + time.process_time() - begin)


def _schedule(step: int, steps: int) -> float:
    """The rate's factor: a warm-up, a plateau, and a linear descent in the last quarter.

    A training that is taken up with another number of steps on its plateau is the training of that number.
    """
    return min(1.0, step / 100, 0.02 + 4 * (1 - step / steps))


def _tokens(model: Any, clips: Clips) -> Any:
    """Encode clips and their descriptions."""
    from . import tokens, weights

    with torch.no_grad():
        return tokens.tokenized(model, weights.tokenizer(weights.TINY), clips)


def _by_codebook(model: Any, encoded: Any) -> list[float]:
    """Compute the mean negative log-likelihood of each codebook."""
    from . import tokens

    with torch.no_grad():
        means: list[float] = (-tokens.clip_means(model, encoded, WINDOW)[0].mean(0)).tolist()
    return means


def _figures(out: Path, train: Clips, held_out: Clips) -> dict[str, Any]:
    """Compute the figures of the model card from the checkpoint as shipped, in half precision."""
    from . import codec, weights
    from .codec_training import MelDistance

    model = weights.load(out, Generator().manual_seed(0))
    encoded = _tokens(model, held_out)
    with torch.no_grad():
        decoded = codec.decode(model.audio_encoder, encoded.codes)[..., : held_out.audio.shape[-1]]
        error = 8.686 * float(MelDistance(RATE)(decoded, held_out.audio))
    shift = codec.encode(model.audio_encoder, held_out.audio.roll(1, -1)) != encoded.codes
    code_counts = [torch.bincount(encoded.codes[:, k].flatten(), minlength=ENTRIES).float() for k in range(CODEBOOKS)]
    shares = [counts / counts.sum() for counts in code_counts]
    return {
        "megabytes": round(sum(file.stat().st_size for file in out.glob("*.safetensors")) / 1e6, 2),
        "clips": len(train),
        "held_out_clips": len(held_out),
        "held_out_nll_by_codebook": [round(nats, 3) for nats in _by_codebook(model, encoded)],
        "entropy_of_codes": [round(-float((p * p.clamp_min(1e-9).log()).sum()), 3) for p in shares],
        "log_mel_error_db": round(error, 2),
        "codes_changed_by_one_sample_of_delay": [round(x, 3) for x in shift.float().mean((0, 2)).tolist()],
    }


def _count(module: nn.Module) -> str:
    """Count parameters, in thousands."""
    return f"{sum(p.numel() for p in module.parameters()) / 1e3:.0f} k"


def _say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    plugins.load("attackers", "musicgen")  # gives this folder its name as a package
    sys.exit(importlib.import_module("bench.attackers.musicgen.pretrain").main())
