# Everything that `make demo` and `make test` need is installed into this folder, once, by `make install`.
# PYTHON=/path/to/python3.13 names an interpreter; ARGS="..." is handed to the command.

BIN := .venv/bin
export PYTHON

.PHONY: help install demo up down status test chaos chaos-audit fuzz bench bench-audit outsiders lint format locks clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 22

install: ## install what is missing into this folder
	@scripts/bootstrap.sh

demo: install ## play a lost phone from report to verified timeline
	@$(BIN)/lostphone demo $(ARGS)

up: install ## start an installation on this machine and leave it running
	@$(BIN)/lostphone up --detach $(ARGS)

down: install ## end it; its data stays
	@$(BIN)/lostphone down $(ARGS)

status: install ## what runs, and where
	@$(BIN)/lostphone status $(ARGS)

test: install ## every test, on a real broker and database
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

fuzz: install ## many requests of every kind against every service; N=… of each
	@LOSTPHONE_FUZZ_EXAMPLES=$(or $(N),300) $(BIN)/python -m pytest tests/requests $(ARGS)

chaos: install ## kill, replay, cut off; KILLS=300 SEED=7 ARGS="--outage-seconds 60"
	@$(BIN)/python -m tests.chaos --kills $(or $(KILLS),300) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-audit: install ## kill the timeline's parts and its database, under load; KILLS=300 SEED=7
	@$(BIN)/python -m tests.chaos.audit --kills $(or $(KILLS),300) $(if $(SEED),--seed $(SEED)) $(ARGS)

outsiders: install ## tools of other makes read and cosign the log; needs Go 1.27 and its module proxy
	@$(BIN)/python -m tests.outsiders

bench: install ## how fast, against the bare path, one JSON line a figure; ARGS="--quick", "--burst 1000"
	@$(BIN)/python -m benchmarks product $(ARGS)

bench-audit: install ## the timeline alone, against PostgreSQL alone; ARGS="--quick"
	@$(BIN)/python -m benchmarks audit $(ARGS)

lint: install ## style, types, import contracts, generated files
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/mypy scripts/pictures.py
	@$(BIN)/lint-imports
	@$(BIN)/python -m shared.events.contracts --check

format: install ## put the code into its style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

locks: install ## resolve the dependencies of requirements/*.in and jgo.toml anew
	@scripts/locks.sh

clean: ## remove what install made, and the data of installations in .lostphone
	rm -rf .venv .lostphone build
