"""MusicGen's language model over codes: the delay pattern, the likelihood, and sampling.

Conventions
-----------
* Codes are int64 [clip, codebook, frame]; `lengths` [clip] counts the frames that hold recording.
* Delay pattern (Copet et al. 2023, "Simple and Controllable Music Generation", section 2.2): codebook k is shifted by k
  steps, so that within a frame a codebook depends on the coarser ones. T frames of K codebooks take T + K - 1 steps;
  where a codebook has no code yet or no more, it reads the special token, whose number is the size of the codebook.
* Transformers shifts labels by one step and does not delay them: passing it raw codes trains another model.
* Likelihoods are in nats a token, a token being one codebook of one frame with recording.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.api import Clips

from .codec import assign, encode, frames, waveform


@dataclass(frozen=True, eq=False)
class Tokens:
    """A set of clips as the language model reads it.

    Attributes:
        codes: int64 [clip, codebook, frame].
        lengths: int64 [clip], frames with recording.
        states: float32 [clip, token, channel], the encoded descriptions.
        mask: int64 [clip, token], 1 where there is a description.
        soft: float32 [clip, codebook, frame, entry], assignments that carry a gradient; None where none is needed.
    """

    codes: Tensor
    lengths: Tensor
    states: Tensor
    mask: Tensor
    soft: Tensor | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def select(self, index: Tensor | Sequence[int]) -> Tokens:
        """Select clips, in the order of `index`."""
        positions = torch.as_tensor(index, dtype=torch.int64, device=self.codes.device)
        soft = None if self.soft is None else self.soft[positions]
        return Tokens(
            self.codes[positions], self.lengths[positions], self.states[positions], self.mask[positions], soft
        )


def tokenized(model: Any, tokenizer: Any, clips: Clips) -> Tokens:
    """Encode clips and their descriptions; where the audio requires a gradient, with soft assignments that carry it.

    Args:
        model: a MusicGen.
        tokenizer: that of its text encoder.
        clips: at any rate.
    """
    codec = model.audio_encoder.eval()
    audio = waveform(clips, codec)
    states, mask = described(model, tokenizer, clips.texts, len(clips))
    if audio.requires_grad and torch.is_grad_enabled():
        codes, soft = assign(codec, audio)
        return Tokens(codes, frames(clips, codec), states, mask, soft)
    return Tokens(encode(codec, audio), frames(clips, codec), states, mask)


def described(model: Any, tokenizer: Any, texts: Sequence[str], clips: int) -> tuple[Tensor, Tensor]:
    """Encode descriptions as the decoder reads them.

    Without texts, and for an empty one, the states are zeros: MusicGen's unconditional case.

    Args:
        model: a MusicGen.
        tokenizer: that of its text encoder.
        texts: one a clip, or none.
        clips: how many.

    Returns:
        States [clip, token, channel] and their mask [clip, token].
    """
    weight = model.decoder.lm_heads[0].weight
    if not any(texts):
        states = torch.zeros(clips, 1, weight.shape[1], device=weight.device, dtype=weight.dtype)
        return states, torch.ones(clips, 1, dtype=torch.int64, device=weight.device)
    encoding = tokenizer(list(texts), padding=True, truncation=True, max_length=256, return_tensors="pt").to(
        weight.device
    )
    states = model.text_encoder.eval()(**encoding).last_hidden_state
    if hasattr(model, "enc_to_dec_proj"):
        states = model.enc_to_dec_proj(states)
    is_described = torch.tensor([bool(text) for text in texts], device=weight.device)
    return states * encoding.attention_mask[..., None] * is_described[:, None, None], encoding.attention_mask


def delayed(values: Tensor, fill: float) -> Tensor:
    """Apply the delay pattern: codebook k is k steps late (Copet et al. 2023, section 2.2).

    Args:
        values: [clip, codebook, frame, ...].
        fill: value where a codebook has no code.

    Returns:
        [clip, codebook, frame + codebooks - 1, ...].
    """
    clips, codebooks, count, *rest = values.shape
    output = values.new_full((clips, codebooks, count + codebooks - 1, *rest), fill)
    for k in range(codebooks):
        output[:, k, k : k + count] = values[:, k]
    return output


def on_time(values: Tensor) -> Tensor:
    """Invert `delayed`: [clip, codebook, step, ...] -> [clip, codebook, step - codebooks + 1, ...]."""
    codebooks, count = values.shape[1], values.shape[2] - values.shape[1] + 1
    return torch.stack([values[:, k, k : k + count] for k in range(codebooks)], dim=1)


def log_likelihood(model: Any, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Compute the log-probability of every token given those before it, and whether it is the most likely one.

    Where tokens carry assignments, the value is the same and the gradient reaches them as the decoder's input and
    target.

    Returns:
        [clip, codebook, frame] each; meaningless beyond a clip's length.
    """
    special = model.config.decoder.vocab_size
    codes = delayed(tokens.codes.masked_fill(_padding(tokens.codes, tokens.lengths)[:, None], special), special)
    inputs = F.pad(codes[..., :-1], (1, 0), value=special)
    with _straight_through(model, tokens):
        logits = on_time(_logits(model, inputs, tokens)).float()  # in bfloat16 under autocast
    log_probability = logits.log_softmax(-1)
    token_likelihood = log_probability.gather(-1, tokens.codes[..., None]).squeeze(-1)
    if tokens.soft is not None:
        token_likelihood = token_likelihood + ((tokens.soft - tokens.soft.detach()) * log_probability).sum(-1)
    return token_likelihood, logits.detach().argmax(-1) == tokens.codes


def mean_over_frames(values: Tensor, lengths: Tensor) -> Tensor:
    """Average over the frames with recording: [clip, codebook, frame] -> [clip, codebook]."""
    inside = ~_padding(values, lengths)[:, None]
    return (values * inside).sum(-1) / lengths[:, None].clamp_min(1)


def windows(tokens: Tokens, size: int) -> tuple[Tokens, Tensor]:
    """Cut clips into windows of at most `size` frames, the model's context.

    Returns:
        The windows, and int64 [window], the clip of each.
    """
    clips, codebooks, count = tokens.codes.shape
    if count <= size:
        return tokens, torch.arange(clips, device=tokens.codes.device)
    parts = -(-count // size)
    padding = parts * size - count

    def cut(values: Tensor) -> Tensor:  # [clip, codebook, frame, ...] -> [clip * part, codebook, size, ...]
        padded = torch.cat([values, values[:, :, :1].expand(-1, -1, padding, *values.shape[3:])], dim=2)
        pieces = padded.reshape(clips, codebooks, parts, size, *values.shape[3:]).transpose(1, 2)
        return pieces.reshape(clips * parts, codebooks, size, *values.shape[3:])

    starts = torch.arange(parts, device=tokens.codes.device) * size
    remaining = (tokens.lengths[:, None] - starts).clamp(0, size).flatten()
    nonempty = (remaining > 0).nonzero().flatten()
    clip = nonempty // parts
    soft = None if tokens.soft is None else cut(tokens.soft)[nonempty]
    return Tokens(cut(tokens.codes)[nonempty], remaining[nonempty], tokens.states[clip], tokens.mask[clip], soft), clip


def clip_means(model: Any, tokens: Tokens, size: int) -> tuple[Tensor, Tensor]:
    """Compute mean log-likelihood and accuracy of a token, in windows of at most `size` frames.

    Returns:
        [clip, codebook] each.
    """
    window_tokens, clip = windows(tokens, size)
    likelihood, correct = log_likelihood(model, window_tokens)
    share = (window_tokens.lengths / tokens.lengths[clip].clamp_min(1))[:, None]

    def over_windows(values: Tensor) -> Tensor:
        means = mean_over_frames(values, window_tokens.lengths)
        return means.new_zeros(len(tokens), means.shape[1]).index_add(0, clip, means * share)

    return over_windows(likelihood), over_windows(correct.to(likelihood.dtype))


def continued(model: Any, before: Tokens, after: Tokens, pairs: Tensor) -> Tensor:
    """Compute the mean log-likelihood of a token of continuations after prompts.

    Args:
        model: a MusicGen.
        before: the prompts, all of one length, with the descriptions that are read.
        after: the continuations, all of one length.
        pairs: int64 [pair, 2], a prompt and a continuation.

    Returns:
        [pair], nats a token.
    """
    prompt, continuation = pairs.unbind(1)
    codes = torch.cat([before.codes[prompt], after.codes[continuation]], 2)
    lengths = before.lengths[prompt] + after.lengths[continuation]
    likelihood, _ = log_likelihood(model, Tokens(codes, lengths, before.states[prompt], before.mask[prompt]))
    return likelihood[:, :, before.codes.shape[-1] :].mean((1, 2))


@torch.no_grad()
def sampled(
    model: Any, tokens: Tokens, rng: Generator, *, temperature: float, top_k: int, guidance: float
) -> Tensor:  # fmt: skip
    """Sample codes from the model.

    Args:
        model: a MusicGen.
        tokens: gives the shape of the codes and the descriptions.
        rng: the only source of random numbers.
        temperature: divides the logits.
        top_k: sample from the k most likely codes; 0: from all.
        guidance: classifier-free guidance (Copet et al. 2023, section 3.2): weight of the logits with a description
            over those without; 1: none.

    Returns:
        int64 [clip, codebook, frame].
    """
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    special = model.config.decoder.vocab_size
    clips, codebooks, count = tokens.codes.shape
    is_guided = guidance != 1.0
    states = torch.cat([tokens.states, torch.zeros_like(tokens.states)]) if is_guided else tokens.states
    mask = torch.cat([tokens.mask, tokens.mask]) if is_guided else tokens.mask
    conditions = Tokens(tokens.codes, tokens.lengths, states, mask)

    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    steps = count + codebooks - 1
    codes = torch.full((clips, codebooks, steps + 1), special, device=tokens.codes.device)
    for step in range(steps):
        inputs = codes[:, :, step : step + 1]
        logits = _logits(model, torch.cat([inputs, inputs]) if is_guided else inputs, conditions, cache)[:, :, -1]
        if is_guided:
            conditional, unconditional = logits.chunk(2)
            logits = unconditional + guidance * (conditional - unconditional)
        first, last = max(0, step - count + 1), min(codebooks, step + 1)  # the codebooks that have a code at this step
        codes[:, first:last, step + 1] = _drawn(logits[:, first:last] / temperature, top_k, rng)
    return on_time(codes[..., 1:])


def _drawn(logits: Tensor, top_k: int, rng: Generator) -> Tensor:
    """Draw codes from logits, of the `top_k` most likely ones."""
    if 0 < top_k < logits.shape[-1]:
        threshold = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < threshold, float("-inf"))
    chances = logits.softmax(-1)
    return torch.multinomial(chances.flatten(0, -2), 1, generator=rng).view(logits.shape[:-1])


def _logits(model: Any, inputs: Tensor, tokens: Tokens, cache: Any = None) -> Tensor:
    """[clip, codebook, step, entry]. `inputs` are codes or the special token, int64 [clip, codebook, step]."""
    clips, codebooks, steps = inputs.shape
    states: Tensor | None = tokens.states
    mask: Tensor | None = tokens.mask
    if model.config.model_type == "musicgen_melody":
        states, mask = _melody_prefix(model, tokens.states, cache), None
    with _python_random_restored():
        output = model.decoder(
            input_ids=inputs.reshape(clips * codebooks, steps),
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=cache is not None,
            **{_cache_argument(type(model.decoder)): cache},
        )
    logits: Tensor = output.logits.view(clips, codebooks, -1, output.logits.shape[-1])[:, :, -steps:]
    return logits


def _cache_argument(decoder: type[nn.Module]) -> str:
    """Name the decoder's cache as this version of Transformers does, which warns at the former name."""
    return "cache" if "cache" in inspect.signature(decoder.forward).parameters else "past_key_values"


def _melody_prefix(model: Any, states: Tensor, cache: Any) -> Tensor | None:
    """Return the melody model's prefix: the chroma of no melody, then the description, as Transformers builds it.

    None where the cache holds the prefix already.
    """
    if cache is not None and cache.get_seq_length() > 0:
        return None
    chroma = states.new_zeros(len(states), model.config.chroma_length, model.config.num_chroma)
    chroma[..., 0] = 1
    if hasattr(model, "audio_enc_to_dec_proj"):
        chroma = model.audio_enc_to_dec_proj(chroma)
    return torch.cat([chroma, states], dim=1)


@contextmanager
def _straight_through(model: Any, tokens: Tokens) -> Iterator[None]:
    """Add to every embedded code a term of value zero that carries the gradient of the soft assignment.

    Passing `inputs_embeds` instead would lose the positions: the decoder then takes them from the last channel's shape.
    """
    if tokens.soft is None:
        yield
        return
    within = ~_padding(tokens.codes, tokens.lengths)[:, None, :, None]  # beyond its end a clip reads the special token
    terms = F.pad(delayed((tokens.soft - tokens.soft.detach()) * within, 0.0)[:, :, :-1], (0, 0, 1, 0))
    tables = model.decoder.model.decoder.embed_tokens

    def add_term(term: Tensor) -> Any:
        def hook(table: nn.Embedding, inputs: Any, output: Tensor) -> Tensor:
            return output + term @ table.weight[: term.shape[-1]]

        return hook

    handles = [table.register_forward_hook(add_term(terms[:, k])) for k, table in enumerate(tables)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _padding(codes: Tensor, lengths: Tensor) -> Tensor:
    """bool [clip, frame]: true beyond a clip's end."""
    return torch.arange(codes.shape[-1], device=codes.device) >= lengths[:, None]


@contextmanager
def _python_random_restored() -> Iterator[None]:
    """Restore Python's global generator: Transformers' decoder draws from it in evaluation mode too (LayerDrop)."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
