"""Read the convolutions of a TensorFlow Lite file: a FlatBuffer of operators, tensors and buffers.

Fields are numbered as in TensorFlow's `schema.fbs`. Only what is needed is read; nothing in the file is executed.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy
import torch
from torch import Tensor

from bench.errors import DataError

_CONVOLUTION = 3  # BuiltinOperator.CONV_2D
_FLOAT = 0  # TensorType.FLOAT32


def convolutions(file: Path) -> list[tuple[Tensor, Tensor]]:
    """Read weight [output, input, height, width] and bias of every convolution, in the order of execution.

    Raises:
        DataError: The file cannot be read, or is damaged.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"frozen: {file} cannot be read: {error.strerror}") from error
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("it lacks the identifier TFL3")
        return _Buffer(content).convolutions()
    except (struct.error, ValueError, IndexError) as error:
        raise DataError(f"frozen: {file} is no TensorFlow Lite file that can be read: {error}") from error


class _Buffer:
    """A FlatBuffer; positions are offsets into it, 0 for a field that is absent."""

    def __init__(self, content: bytes):
        self.content = content

    def convolutions(self) -> list[tuple[Tensor, Tensor]]:
        """Read the convolutions of the first graph."""
        model = self._number("I", 0)
        codes = [self._code(position) for position in self._tables(model, 1)]
        buffers = self._tables(model, 4)
        graph = self._tables(model, 2)[0]
        tensors = self._tables(graph, 0)
        found = []
        for operator in self._tables(graph, 3):
            index = self._field(operator, 0)
            if codes[self._number("I", index) if index else 0] == _CONVOLUTION:
                _, weight, bias = self._numbers(operator, 1)
                kernel = self._tensor(tensors[weight], buffers).permute(0, 3, 1, 2)
                found.append((kernel, self._tensor(tensors[bias], buffers)))
        return found

    def _tensor(self, tensor: int, buffers: list[int]) -> Tensor:
        kind, buffer = self._field(tensor, 1), self._field(tensor, 2)
        if kind and self.content[kind] != _FLOAT:
            raise ValueError("a weight is not float32")
        start, count = self._vector(buffers[self._number("I", buffer) if buffer else 0], 0)
        values = numpy.frombuffer(self.content, "<f4", count // 4, start).reshape(self._numbers(tensor, 0))
        return torch.from_numpy(values.copy())

    def _code(self, position: int) -> int:
        """Return an operator's code: since 2020 in field 3, before in field 0, of one byte."""
        old, new = self._field(position, 0), self._field(position, 3)
        return max(self.content[old] if old else 0, self._number("i", new) if new else 0)

    def _number(self, kind: str, position: int) -> int:
        return int(struct.unpack_from("<" + kind, self.content, position)[0])

    def _field(self, table: int, number: int) -> int:
        """Return the position of a table's field."""
        layout = table - self._number("i", table)
        entry = 4 + 2 * number
        offset = self._number("H", layout + entry) if entry < self._number("H", layout) else 0
        return table + offset if offset else 0

    def _vector(self, table: int, number: int) -> tuple[int, int]:
        """Return where a vector's elements begin, and how many there are."""
        field = self._field(table, number)
        if not field:
            return 0, 0
        start = field + self._number("I", field)
        return start + 4, self._number("I", start)

    def _tables(self, table: int, number: int) -> list[int]:
        start, count = self._vector(table, number)
        places = range(start, start + 4 * min(count, len(self.content) // 4), 4)
        return [place + self._number("I", place) for place in places]

    def _numbers(self, table: int, number: int) -> tuple[int, ...]:
        start, count = self._vector(table, number)
        return struct.unpack_from(f"<{min(count, len(self.content) // 4)}i", self.content, start)
