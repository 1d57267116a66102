# `make` alone lists what there is to do.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# Black-box tests start several processes each; more at once would only wait for each other.
TEST_THREADS ?= 2
CARGO_DENY := 0.20.2
# Private items are documented as well, so that a link to one leads somewhere.
RUSTDOC := -D warnings -A rustdoc::private_intra_doc_links

.PHONY: help run test test-tools verify deny fix bench sim transcripts

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build, then run a cluster of three nodes on this machine
	$(CARGO) build --release
	exec ./target/release/quorate dev --nodes 3

verify: deny ## Read the code: format, lints, docs, dependencies, house rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="$(RUSTDOC)" $(CARGO) doc --workspace --no-deps --document-private-items --locked
	$(CARGO) clippy -p cluster --no-default-features --locked -- -D warnings
	$(CARGO) test --workspace --test blackbox --locked -- tidy::

deny:
	@[[ "$$($(CARGO) deny --version 2>/dev/null)" == "cargo-deny $(CARGO_DENY)" ]] \
	  || $(CARGO) install cargo-deny --version $(CARGO_DENY) --locked
	$(CARGO) deny --log-level warn check bans licenses sources

test: test-tools ## Run the code: unit tests, simulations, real processes and clients
	$(CARGO) build --workspace --bins --tests --locked
	$(CARGO) test --workspace --locked -- --test-threads=$(TEST_THREADS) --skip tidy::

test-tools:
	@tests/install

fix: ## Write what `verify` would ask for: format, simple lints
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bench: ## Measure: whole processes beside redis-server, then the store in isolation
	$(CARGO) build --release --locked -p node -p benches --bins --benches
	$(CARGO) bench --locked -p node -p benches --bench beside_redis --bench store

sim: ## Simulate a cluster under faults; SEED=n replays one run
	$(CARGO) run -p sim -- $(if $(SEED),--seed $(SEED) --trace)

transcripts: ## Record the sessions that the documentation shows; review the difference
	$(CARGO) build --workspace --bins --tests --locked
	UPDATE_TRANSCRIPTS=1 $(CARGO) test --workspace --locked --test blackbox -- documentation::
