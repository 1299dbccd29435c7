"""The checks behind `bench.check`: a function's name is the check's name, its docstring the check's meaning."""
