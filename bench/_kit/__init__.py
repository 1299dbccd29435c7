"""The checks behind `bench.check`. A function's name is the check's name, its docstring the meaning that users read."""
