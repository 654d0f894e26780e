# Each target installs what it needs on its first run: a virtual environment in .venv, Debian packages by apt.
# Demo and bench are silent but for their own output, so that ARGS='--format json' prints JSON only.
PYTHON ?=
ARGS ?=
PY := .venv/bin/python

.PHONY: demo test check bench search mutation fuzz soak faults interop compiled deb images audit setup clean

demo: .venv/product
	@$(PY) -m examples.demo $(ARGS)

test: .venv/installed
	@sh tools/setup.sh programs
	@sh tools/setup.sh peers
	$(PY) -m pytest -W error -n auto --dist loadscope $(ARGS) tests

check: .venv/installed
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy --strict
	$(PY) -m pytest -q -W error tests/test_layers.py

bench: .venv/installed
	@sh tools/setup.sh programs
	@$(PY) -m tests.bench.bench $(ARGS)

# Machines cut off, stopped, restarted, with full disks and wrong clocks under calls; as root. ARGS='--rate 20 --seconds 60'.
faults: .venv/installed
	@sh tools/setup.sh peers
	@$(PY) -m tests.interop.faults $(ARGS)

# All that is tried with programs of others (docs/interop.md); as root. ARGS='-k Asterisk' for a part, '--write' for the page.
interop: .venv/installed
	@sh tools/setup.sh programs
	@sh tools/setup.sh peers
	@$(PY) -m tests.interop.table $(ARGS)

# An hour of strain on a healthy site: nobody may take over. ARGS='--minutes 10 --rate 50' for less.
soak: .venv/installed
	@sh tools/setup.sh programs
	@$(PY) -m tests.bench.soak $(ARGS)

# Every schedule of a small site, with at most so many misfortunes (docs/heartbeat.md).
search: .venv/installed
	@$(PY) -m tests.search $(ARGS)

# Safety modules changed at one place after the other: do their tests notice? ARGS='--target lease' for one of them.
mutation: .venv/installed
	@$(PY) -m tests.mutation $(ARGS)

# What strangers and peers may send, found by coverage (atheris). ARGS='message --seconds 600' for one target.
fuzz: .venv/installed
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	@$(PY) -m tests.fuzz $(ARGS)

# The product with its hot modules compiled (docs/performance.md), in build/compiled, and tests of them run there.
compiled: .venv/installed
	$(PY) -m tools.compiled $(ARGS)

# A package for Debian with all that it needs but Python. ARGS='station' to pack an extra besides.
deb: .venv/installed
	@sh tools/debian/build.sh $(ARGS)

# The images of docker/ built with buildah, then the site of the compose file run from them (docs/containers.md); as root.
images: .venv/installed
	@sh tools/setup.sh images
	@tools/images.sh
	@$(PY) -m tests.interop.images

# What the product is made of: licences, known weaknesses, a bill of materials (docs/dependencies.md).
audit: .venv/installed
	@tools/audit.sh

setup: .venv/installed

.venv/installed: pyproject.toml tools/setup.sh
	@sh tools/setup.sh python $(PYTHON)

.venv/product: pyproject.toml tools/setup.sh
	@sh tools/setup.sh product $(PYTHON)

clean:
	rm -rf .venv build *.egg-info
