"""A causal transformer with linear attention over compound tokens: embeddings summed, a head a field.

Katharopoulos et al., "Transformers are RNNs", ICML 2020: attention by the feature map elu(x) + 1, so that a sequence
costs time and memory in proportion to its length, and generating a token costs the same however long the past is.
Chunks of the sequence are worked on at once: quadratic within a chunk, a running sum of what came before it. There is
no softmax attention to fall back on: torch's own (`scaled_dot_product_attention`, causal) takes 1.6 times the
processor time at 256 tokens and 6 times at 4096, and less memory (12 MB for 29 at 4096; 4 heads of 24, forward and
back, one core).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .encoding import Tokens

_CHUNK = 64
_TINY = 1e-6
_ORDERS = 16  # notes of one track and position that are told apart
_MEASURES = 64  # numbers of measures, which then begin anew


class State(NamedTuple):
    """What a layer keeps of the past when generating.

    Attributes:
        values: [sequence, head, key, value], the sum of keys times values.
        keys: [sequence, head, key], the sum of keys.
    """

    values: Tensor  # [sequence, head, key, value]
    keys: Tensor  # [sequence, head, key]


class Network(nn.Module):
    """Predicts every token from those before it, and the first one from nothing."""

    merges: Tensor
    read: Any
    positions: Any
    layers: Any
    heads: Any

    def __init__(
        self,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        *,
        bar: int,
        merges: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        bins: int,
        checkpointing: bool = False,
    ) -> None:
        """Build the network.

        Args:
            inputs: field -> how many values it has, of the fields that are embedded.
            outputs: the same of the fields that are predicted.
            bar: steps of a measure.
            merges: rows of the table of merges, which is stored with the weights.
            width: of the hidden states.
            layers: how many.
            heads: attention heads of a layer.
            dropout: rate.
            bins: values of a velocity; 0: velocities are neither read nor predicted.
            checkpointing: recompute layers for the gradient in training.
        """
        super().__init__()
        self.bar, self.bins, self.checkpointing = bar, bins, checkpointing
        self.register_buffer("merges", torch.full((merges, 2), -1, dtype=torch.int64))
        self.read = nn.ModuleDict({name: nn.Embedding(size, width) for name, size in inputs.items()})
        position_sizes = {"order": _ORDERS, "position": bar, "measure": _MEASURES}
        self.positions = nn.ModuleDict({name: nn.Embedding(size, width) for name, size in position_sizes.items()})
        self.loud = nn.Embedding(bins, width) if bins else None
        self.start = nn.Parameter(torch.empty(width))
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in outputs.items()})
        if bins:
            self.heads["velocity"] = nn.Linear(width, bins)
        for table in (*self.read.values(), *self.positions.values(), *([self.loud] if self.loud else [])):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.normal_(self.start, std=0.1)
        for head in self.heads.values():
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Compute the log probabilities of every token's fields from the tokens before it.

        Returns:
            Field -> float [sequence, token, value].
        """
        past = self.embedded(tokens)[:, :-1]
        start = self.start.expand(len(past), 1, -1)
        hidden: Tensor = self.dropout(torch.cat([start, past], 1))
        for layer in self.layers:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, use_reentrant=False)
            else:
                hidden = layer(hidden)
        return self.log_probabilities(hidden)

    def step(
        self, token: Tokens | None, count: int, states: list[State | None]
    ) -> tuple[dict[str, Tensor], list[State | None]]:
        """Compute the log probabilities of the next token's fields.

        Args:
            token: the last token [sequence, 1]; None before the first.
            count: how many sequences.
            states: of each layer, None before the first token.

        Returns:
            Field -> float [sequence, 1, value], and the new states.
        """
        hidden = self.start.expand(count, 1, -1) if token is None else self.embedded(token)
        after: list[State | None] = []
        for layer, state in zip(self.layers, states, strict=True):
            hidden, state = layer.step(hidden, state)
            after.append(state)
        return self.log_probabilities(hidden), after

    def embedded(self, tokens: Tokens) -> Tensor:
        """Sum the embeddings of a token's fields and coordinates.

        Returns:
            float [sequence, token, width].
        """
        total: Tensor = self.positions["position"](tokens.position) + self.positions["measure"](
            tokens.measure % _MEASURES
        )
        total = total + self.positions["order"](tokens.order.clamp(max=_ORDERS - 1))
        for name, table in self.read.items():
            values = tokens.fields[name]
            total = total + table(values.clamp(min=0)) * (values >= 0)[..., None]
        if self.loud is not None:
            low, high, share = two_bins(tokens.velocity, self.bins)
            loudness = self.loud(low) * (1 - share)[..., None] + self.loud(high) * share[..., None]
            total = total + loudness * (tokens.notes > 0)[..., None]
        return total

    def log_probabilities(self, hidden: Tensor) -> dict[str, Tensor]:
        """Compute log probabilities from hidden states, by an independent head for each field."""
        hidden = self.norm(hidden)
        return {name: functional.log_softmax(head(hidden), -1) for name, head in self.heads.items()}


class _Layer(nn.Module):
    """Pre-norm layer of linear attention and a feed-forward network."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        attention = linear_attention(*self._split(hidden))
        hidden = hidden + self.dropout(self.out(attention.transpose(1, 2).flatten(2)))
        output: Tensor = hidden + self.dropout(self.feed(hidden))
        return output

    def step(self, hidden: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Compute the layer's output for one token, and its state after it."""
        query, key, value = self._split(hidden)
        query, key = functional.elu(query) + 1, functional.elu(key) + 1
        values, keys = key.mT @ value, key[:, :, 0]
        if state is not None:
            values, keys = state.values + values, state.keys + keys
        attention = (query @ values) / ((query * keys[:, :, None]).sum(-1, keepdim=True) + _TINY)
        hidden = hidden + self.out(attention.transpose(1, 2).flatten(2))
        return hidden + self.feed(hidden), State(values, keys)

    def _split(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [sequence, head, token, part] each."""
        parts = self.project(self.before(hidden)).view(*hidden.shape[:2], 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute causal linear attention (Katharopoulos et al., ICML 2020, eq. 9).

    `sum_{j<=i} phi(q_i) phi(k_j) v_j / sum_{j<=i} phi(q_i) phi(k_j)`, phi = elu + 1. Sums run over the whole sequence
    and are therefore never computed in less than float32.

    Args:
        query, key, value: [sequence, head, token, part].

    Returns:
        The shape of `value`.
    """
    if torch.is_autocast_enabled(query.device.type):
        with torch.autocast(query.device.type, enabled=False):
            return linear_attention(query.float(), key.float(), value.float())
    query, key = functional.elu(query) + 1, functional.elu(key) + 1
    chunks: list[Tensor] = []
    values = torch.zeros((), device=query.device)
    keys = torch.zeros((), device=query.device)
    for q, k, v in zip(*(torch.split(x, _CHUNK, 2) for x in (query, key, value)), strict=True):
        scores = (q @ k.mT).tril()
        numerator, denominator = scores @ v, scores.sum(-1, keepdim=True)
        if chunks:
            numerator, denominator = numerator + q @ values, denominator + q @ keys[..., None]
        chunks.append(numerator / (denominator + _TINY))
        values, keys = values + k.mT @ v, keys + k.sum(2)
    return torch.cat(chunks, 2)


def two_bins(velocity: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split velocities between the two nearest of `bins` values; differentiable between their centres.

    Args:
        velocity: float, 0..1.
        bins: how many values.

    Returns:
        The lower and the upper bin, int64, and the share of the upper one, all in the shape of `velocity`.
    """
    position = velocity.clamp(0, 1) * (bins - 1)
    low = position.detach().floor().long().clamp(max=bins - 2)
    return low, low + 1, position - low
