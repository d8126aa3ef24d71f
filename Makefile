# The commands of this repository. `make` lists them; all but `help` and `clean` make .venv first where it is missing.

PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help .venv verify layers test lint types bench faults mutants example docs clean

help: ## list these commands
	@awk -F ':.*## ' '/^[.a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv: .venv/.installed ## make .venv with the tested set of packages (PYTHON=python3.12 chooses another interpreter)

# The stamp is written last, so an interrupted install is done again. torch is named beside parity, so that pip
# settles its pinned build together with everything else.
.venv/.installed: pyproject.toml constraints.txt
	rm -f $@
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -c constraints.txt torch -e '.[dev]'
	touch $@

verify: .venv ## check the FlowNet2-SD port, layer by layer
	.venv/bin/pytest --model flownet $(ARGS)

layers: .venv ## try every kind of layer that can be converted (ARGS="-k conv2d --parity-examples 200")
	.venv/bin/pytest -n 2 --model layers $(ARGS)

# A worker that dies ends the run: one put in its place would wait for ever for the rest of the file it died in.
test: .venv ## run the whole suite (ARGS="-x -k images" passes options on; ARGS="-n 0" in one process)
	.venv/bin/pytest -n 2 --dist loadfile --max-worker-restart 0 $(ARGS)

lint: .venv ## check style and formatting
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv ## check types
	.venv/bin/mypy

bench: .venv ## measure speed and memory
	.venv/bin/python -m benchmarks $(ARGS)

faults: .venv ## plant known faults and score what is found, named and repaired (ARGS="--seed 7")
	.venv/bin/parity faults $(ARGS)

mutants: .venv ## plant faults in the converters; each has to be found by `make layers` (ARGS="--seed 7 --count 50")
	.venv/bin/python -m benchmarks.mutants $(ARGS)

# The run diverges, which is what it is for: its exit code of 1 is the right one. The page's picture needs Chromium.
example: .venv ## make reports/example anew: a port with one kernel's height and width swapped, and its page as a picture
	rm -rf build/example && mkdir -p build
	.venv/bin/parity plant flownet conv3 --cause kernel-axes -o build/wrong.keras --size 256x128 --force
	.venv/bin/parity verify flownet --port build/wrong.keras --size 256x128 --mode eager,xla --report-dir build/example -q \
		|| test $$? -eq 1
	cp build/example/flownet/report.json build/example/flownet/report.html reports/example/
	chromium --headless --no-sandbox --log-level=3 --hide-scrollbars --force-device-scale-factor=1 --window-size=1280,800 \
		--screenshot=reports/example/report.png file://$(CURDIR)/reports/example/report.html

docs: .venv ## build the documentation into build/site (open build/site/index.html)
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict -f .ci/mkdocs.yml

clean: ## remove caches and build products; reports and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
