# Needs Python 3.11 or newer with pip; everything else is installed into .venv, versions pinned by requirements/lock.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv does not read pip's PIP_FIND_LINKS, where a machine may keep a CPU build of torch.
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
# Two threads on a busy core are slower than one. A setting of the user's is honoured; the stages set their own.
export OMP_NUM_THREADS ?= 1

.PHONY: run test test-numeric test-slow gate pages lint weights lock clean

run: $(VENV)/ready
	$(BIN)/bench run --defense harmonycloak --attacker musicgen

# Where a user asks for more threads, those of two test processes share the cores: threads that wait must sleep. Spinning
# ones took over six times the processor time.
test test-numeric: export OMP_WAIT_POLICY ?= passive
test test-numeric: export GOMP_SPINCOUNT ?= 0
test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not slow"

# The tests whose figures move with the processor, once more as another one would have them.
test-numeric: $(VENV)/ready
	ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=2 $(BIN)/python -m pytest -n 2 --dist loadscope -m "numeric and not slow"

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

# Does any defense deny less than leaderboards/baseline.json says?
gate: $(VENV)/ready
	$(BIN)/bench gate

# The leaderboard's pages, from the records of this repository: leaderboards/*.md, and the web pages in site/.
pages: $(VENV)/ready
	$(BIN)/bench leaderboard --all --markdown
	$(BIN)/bench leaderboard --all

lint: $(VENV)/ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# The weights that the repository ships, of the tiny MusicGen and the small SymphonyNet, made again from nothing.
weights: $(VENV)/ready
	$(BIN)/python attackers/musicgen/pretrain.py --out attackers/musicgen/tiny --work build/pretrain
	$(BIN)/python attackers/symphonynet/pretrain.py --out attackers/symphonynet/songs --work build/pretrain-symphonynet

# Pins for every package but torch's own accelerator libraries, which differ from machine to machine.
lock: $(VENV)/ready
	rm -f requirements/lock.txt
	$(BIN)/uv pip compile -q -c requirements/constraints.txt --all-extras --no-emit-find-links --no-header \
	  --no-annotate --no-emit-package torch --no-emit-package cloakbench pyproject.toml requirements/nodeps.txt -o requirements/lock.txt
	cat requirements/constraints.txt >> requirements/lock.txt

$(VENV)/ready: pyproject.toml requirements/lock.txt requirements/nodeps.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bench needs Python 3.11 or newer, found " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv==0.13.9
	$(BIN)/uv pip install -q --compile-bytecode -p $(BIN)/python -c requirements/lock.txt -e '.[all,dev,espeak,embedding]' -r requirements/nodeps.txt
	@$(BIN)/uv pip install -q -p $(BIN)/python -c requirements/lock.txt -e '.[pesq]' \
	  || echo "pesq was not built (it needs a C compiler): PESQ of speech is not there, everything else is"
	touch $@

clean:
	rm -rf $(VENV)
