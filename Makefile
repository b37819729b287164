# Makes .venv from requirements.txt and runs the plain tools in it. In an environment that already
# has requirements.txt, `jupyter-book build .` and `pytest` do the same without make.

# the first Python that is new enough and can make an environment, else python3 and a sentence why
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$p && exit; done; echo python3)
RUN := .venv/bin/python -m

# an environment that was moved, or whose Python is gone, does not count as made
$(shell .venv/bin/python -c 'import pip' 2>/dev/null || rm -f .venv/ready)

.PHONY: book test notebooks serve bench compat seeds mutants clients browsers clean

book: .venv/ready
	.venv/bin/python .venv/bin/jupyter-book build .
	@echo "The book: $(CURDIR)/_build/html/index.html"

test: .venv/ready
	$(RUN) pytest --numprocesses auto --maxprocesses 4 --dist loadfile

notebooks: book
	$(RUN) book.notebooks

serve: book
	$(RUN) http.server --bind 127.0.0.1 --directory _build/html 8000

bench: .venv/ready
	$(RUN) pip install --disable-pip-version-check -r requirements.txt -r benchmarks/requirements.txt
	$(RUN) benchmarks

compat:
	$(PYTHON) .ci/compat.py

seeds: .venv/ready
	$(RUN) book.seeds

mutants: .venv/ready
	$(RUN) tests.mutants

# every chapter in a real JupyterLab and a real Notebook: a minute each
clients: book
	$(RUN) tests.clients

# every page in Firefox and in WebKit: half an hour
browsers: book
	$(RUN) pip install --disable-pip-version-check -r tests/requirements.txt
	$(RUN) tests.browsers

clean:
	rm -rf _build .pytest_cache .ruff_cache

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "This book needs Python 3.11 or newer: install one, or name it as in make PYTHON=/usr/bin/python3.12." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make an environment: install its venv module (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@# one that was never finished is begun again
	@if test -f $@; then rm $@; else $(PYTHON) -m venv --clear .venv; fi
	$(RUN) pip install --disable-pip-version-check --requirement requirements.txt
	@touch $@
