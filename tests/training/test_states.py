"""A long training is taken up as if it had never stopped."""

from pathlib import Path

import torch
from torch import nn

from bench.training import states


class Training:
    """A small model with tied weights, and its optimiser."""

    def __init__(self) -> None:
        self.model = nn.ModuleDict({"table": nn.Embedding(5, 3), "layer": nn.Linear(3, 3), "head": nn.Linear(3, 5)})
        self.model["head"].weight = self.model["table"].weight
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)

    def step(self, number: int) -> None:
        entry = torch.tensor([number])
        scores = self.model["head"](self.model["layer"](self.model["table"](entry)))
        self.optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(scores, entry).backward()
        self.optimizer.step()


def test_a_training_is_taken_up_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, file = Training(), tmp_path / "state.safetensors"
    for number in (1, 2):
        whole.step(number)
    states.keep(file, whole.model, whole.optimizer, 2, 1.5)
    whole.step(3)
    taken_up = Training()
    assert states.take_up(tmp_path / "missing.safetensors", taken_up.model, taken_up.optimizer) == (0, 0.0)
    assert states.take_up(file, taken_up.model, taken_up.optimizer) == (2, 1.5)
    taken_up.step(3)
    expected, found = whole.model.state_dict(), taken_up.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert taken_up.model["head"].weight is taken_up.model["table"].weight
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
