"""MusicGen, a language model over EnCodec tokens, fine-tuned on a musician's recordings.

The recordings are encoded once, the language model is fine-tuned on their codes with the codec and the text encoder
frozen, and the checkpoint with the highest likelihood on clean validation music is kept. The score is the likelihood of
held-out clean music in nats per token. Copet et al. 2023, "Simple and Controllable Music Generation".

`size="tiny"` ships with bench (its `tiny/MODEL_CARD.md` says what it is and is not); the others are Meta's checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Augment, Clips, Log, Needs, ValidityCheck, check_range, silent_log
from bench.seeds import name_orders
from bench.training import checkpoints
from bench.training.acceleration import Precision, recompute_layers
from bench.training.learning import Budget, fit, seeded

from . import codec, tokens, weights

LEAST_BY_ORDER = 0.5  # nats a token
_TOGETHER = 32  # pairs of a prompt and a continuation that are read at once


@dataclass(frozen=True)
class MusicGen(Attacker[Clips]):
    """Fine-tuning of a pretrained MusicGen.

    Attributes:
        size: "tiny", which is shipped, or one of Meta's checkpoints.
        path: a local folder with a checkpoint, in place of `size`.
        download: fetch `size` from the Hugging Face hub if it is not in the cache.
        method: train all weights ("full"), or low-rank adapters ("lora") that are merged into them afterwards.
        rank: rank of the adapters.
        steps: optimiser steps.
        batch: clips a step.
        lr: peak learning rate; Meta's checkpoints need about 1e-4.
        evaluations: how often the model is scored on the validation set.
        seconds: the context; longer clips are cut into windows.
        generated: the most clips that `generate` returns; 0: as many as are asked for.
        temperature: of sampling.
        top_k: sample from the k most likely codes; 0: from all.
        guidance: weight of classifier-free guidance in sampling; 1: none; Meta's setting is 3.
        precision: of the training loss: "float32", "bfloat16", or "auto", which is bfloat16 on an accelerator.
        checkpointing: recompute layers for the gradient: less memory, a third more time.
    """

    size: Literal["tiny", "small", "medium", "melody"] = "tiny"
    path: str = ""
    download: bool = False
    method: Literal["full", "lora"] = "full"
    rank: int = 16
    steps: int = 48
    batch: int = 4
    lr: float = 3e-4
    evaluations: int = 4
    seconds: float = 10.0
    generated: int = 12
    temperature: float = 1.0
    top_k: int = 0
    guidance: float = 1.0
    precision: Precision = "float32"
    checkpointing: bool = False

    domains = ("audio",)
    needs = Needs(cpus=1, memory_gb=3.0)
    presets = {
        # Fewer steps learn the timbres before the music, and the cell is void.
        "smoke": {"steps": 50, "batch": 2, "evaluations": 2},
        "full": {"size": "small", "generated": 0, "steps": 500, "batch": 8, "lr": 1e-4, "evaluations": 10,
                 "seconds": 30.0, "top_k": 250, "guidance": 3.0, "precision": "auto", "checkpointing": True},
    }  # fmt: skip
    dataset = "composers"
    paper = "Copet et al. 2023, arXiv:2306.05284"

    def __post_init__(self) -> None:
        check_range(self, "rank", "steps", "batch", "evaluations", least=1)
        check_range(self, "lr", "seconds", "temperature", above=0)
        check_range(self, "generated", "top_k", "guidance", least=0)

    def resources(self) -> Needs:
        """Return what a stage needs.

        Weights, gradients and two moments of Adam in float32 take 16 bytes a parameter; activations about as much.
        """
        memory = {"tiny": 2.0, "small": 16.0, "medium": 56.0, "melody": 56.0}[self.size]
        host = self.needs.memory_gb if self.size == "tiny" else memory / 2 + self.needs.memory_gb
        return replace(self.needs, memory_gb=host, accelerator_gb=memory)

    def fingerprint(self) -> str:
        """Digest a checkpoint's folder name (on the hub: revision), file names and sizes; "" for the shipped one."""
        return "" if self.size == "tiny" and not self.path else checkpoints.fingerprint(self._folder())

    def inventory(self) -> dict[str, str]:
        """Name each of Meta's checkpoints, with what is disabled where the Hugging Face cache lacks it."""
        return weights.inventory()

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        """Load the pretrained model.

        Raises:
            DataError: its weights are missing or cannot be read.
        """
        network: Any = weights.load(self._folder(), rng)
        if self.checkpointing:
            recompute_layers(network.decoder)
        moved: nn.Module = network.to(like.device)
        return moved

    def loss(self, model: nn.Module, batch: Clips) -> Tensor:
        """Compute the negative log-likelihood; where the audio requires a gradient, it is straight-through.

        Returns:
            float [clip], nats a token.
        """
        return self._loss(model, self._tokenized(model, batch))

    def learn(
        self, train: Clips, validation: Clips, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        """Fine-tune the language model. Sets are encoded once, unless batches are augmented.

        Returns:
            The state of the highest likelihood on `validation`.
        """
        model: Any = self.model(train, rng)
        adapter = _lora(model.decoder, self.rank, rng) if self.method == "lora" else None
        encode_once = augment is None
        fit(
            model,
            self._loss if encode_once else self.loss,
            self._tokenized(model, train) if encode_once else train,
            self._tokenized(model, validation),
            rng,
            Budget(self.steps, self.batch, self.lr, max(1, self.steps // self.evaluations), precision=self.precision),
            lambda model, held_out: -float(self._loss(model, held_out).mean()),
            augment=augment,
            log=log,
        )
        if adapter is not None:
            model.decoder = adapter.merge_and_unload()
        trained: nn.Module = model
        return trained

    def quality(self, model: nn.Module, test: Clips) -> Mapping[str, Tensor]:
        """Measure log-likelihoods in nats a token, and top-1 accuracy.

        Returns:
            float [clip] each: "nll", over all codebooks (scored); "nll_codebook_K", of one; "nll_shuffled", of the
            codes with their frames shuffled, as high for a model that knows timbres but no order; "accuracy".
        """
        encoded = self._tokenized(model, test)
        log_likelihood, accuracy = self._over_frames(model, encoded)
        shuffled_likelihood, _ = self._over_frames(model, _shuffled(encoded, test.ids))
        by_codebook = {f"nll_codebook_{k}": log_likelihood[:, k] for k in range(log_likelihood.shape[1])}
        return {
            "nll": log_likelihood.mean(1),
            **by_codebook,
            "nll_shuffled": shuffled_likelihood.mean(1),
            "accuracy": accuracy.mean(1),
        }

    def generate(self, model: nn.Module, like: Clips, rng: Generator) -> Clips:
        """Generate music under the descriptions of the first `generated` clips of `like`, of their lengths."""
        like = like.select(range(min(len(like), self.generated or len(like))))
        network: Any = model
        state, mask = tokens.described(network, weights.tokenizer(self._folder()), like.texts, len(like))
        lengths = codec.frames(like, network.audio_encoder)
        shape = (len(like), network.config.decoder.num_codebooks, int(lengths.max()))
        conditions = tokens.Tokens(torch.zeros(shape, dtype=torch.int64, device=like.device), lengths, state, mask)
        codes = tokens.sampled(
            model, conditions, rng, temperature=self.temperature, top_k=self.top_k, guidance=self.guidance
        )  # fmt: skip
        return codec.rendered(network.audio_encoder, codes, like)

    def continuation(self, model: nn.Module, prompts: Clips, continuations: Clips, pairs: Tensor) -> Tensor:
        """Compute the log-likelihood of continuations after prompts, under the prompts' descriptions.

        Returns:
            float [pair], nats a token of the continuation.
        """
        before, after = self._tokenized(model, prompts), self._tokenized(model, replace(continuations, texts=()))
        return torch.cat([tokens.continued(model, before, after, part) for part in pairs.split(_TOGETHER)])

    def validity(self, clean: Mapping[str, float], untrained: Mapping[str, float]) -> Sequence[ValidityCheck]:
        """Check that the base model predicts, that the clean arm learns, and that it predicts from order in time.

        Whether timbre alone is what it learns, the control `scramble` tells: its gain on shuffled test codes does not,
        since those are unlike anything that a converged base model was trained on, and any change of it moves them.
        """
        entries = weights.config(self._folder())["decoder"]["vocab_size"]
        uniform = math.log(entries)
        worst_codebook = max(-value for name, value in untrained.items() if name.startswith("nll_codebook_"))
        gain = clean["nll"] - untrained["nll"]
        by_order = clean["nll"] - clean["nll_shuffled"]
        return [
            ValidityCheck("base predicts", -untrained["nll"] < 0.75 * uniform, -untrained["nll"], 0.75 * uniform,
                 f"Before fine-tuning, the model needs well below ln {entries} = {uniform:.2f} nats a token."),
            ValidityCheck("every codebook", worst_codebook < uniform, worst_codebook, uniform,
                 "No codebook is predicted worse than by chance: the codes are delayed as in pretraining."),
            ValidityCheck("clean beats base", gain > 0, gain, 0.0,
                 "Fine-tuning on clean music lowers the nats a token of held-out music."),
            ValidityCheck("order in time", by_order > LEAST_BY_ORDER, by_order, LEAST_BY_ORDER,
                 "Shuffling the test codes in time costs the clean arm nats a token: it predicts from their order."),
        ]  # fmt: skip

    def _folder(self) -> Any:
        """Find the checkpoint's folder. Raises `DataError` where there is none."""
        return weights.folder(self.size, self.path, self.download)

    def _tokenized(self, model: Any, clips: Clips) -> tokens.Tokens:
        """Encode clips and their descriptions."""
        return tokens.tokenized(model, weights.tokenizer(self._folder()), clips)

    def _loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Compute the negative log-likelihood of encoded clips: [clip], nats a token."""
        return -self._over_frames(model, batch)[0].mean(1)

    def _over_frames(self, model: Any, encoded: tokens.Tokens) -> tuple[Tensor, Tensor]:
        """Compute mean log-likelihood and top-1 accuracy of a token: [clip, codebook] each."""
        size = round(self.seconds * model.config.audio_encoder.frame_rate)
        return tokens.clip_means(model, encoded, size)


def _shuffled(encoded: tokens.Tokens, ids: Sequence[str]) -> tokens.Tokens:
    """Shuffle each clip's frames in an order seeded by its id; the codebooks of a frame stay together."""
    codes = encoded.codes.clone()
    for i, order in enumerate(name_orders(ids, encoded.lengths.tolist())):
        codes[i, :, : len(order)] = codes[i, :, order.to(codes.device)]
    return tokens.Tokens(codes, encoded.lengths, encoded.states, encoded.mask)


def _lora(decoder: nn.Module, rank: int, rng: Generator) -> Any:
    """Add low-rank adapters to all projections and heads of the decoder."""
    from peft import LoraConfig, get_peft_model

    target_modules = r".*(q_proj|k_proj|v_proj|out_proj|fc1|fc2|lm_heads\.\d+)"
    with seeded(rng):  # PEFT initialises from the global generator
        return get_peft_model(decoder, LoraConfig(r=rank, lora_alpha=rank, target_modules=target_modules))
