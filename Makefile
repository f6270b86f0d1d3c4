# Everything a person types in this repository. Each target sets up what it needs and ends by itself.

.DEFAULT_GOAL := help
.PHONY: help build demo test test-moby test-kubernetes test-packaging lint check-windows bless bench chaos chaos-swarm

help: ## List these targets
	@printf 'make TARGET\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build target/release/docker-scheduler
	@bash tests/setup.sh build
	cargo build --release --locked

demo: ## See it work: a minute, on a running engine or one of its own; leaves nothing behind
	@bash tests/demo.sh

test: ## Run all tests; those that need an engine start their own (root)
	@bash tests/setup.sh build engine
	cargo test --locked

# What never meets an engine is left out, and so is what is written down of an older one's requests.
test-moby: ## Run the tests that meet an engine again, on a current Docker engine, built once from source (Go)
	@bash tests/setup.sh build engine moby
	cargo test --locked --test it --no-run
	PATH="$$(bash tests/moby/build.sh --where):$$PATH" cargo test --locked --test it -- \
		--skip scenario:: --skip simulated:: --skip crash:: --skip help:: --skip hostile:: --skip words:: --skip tidy:: \
		--skip reference:: --skip reliability:: --skip judge:: --skip requests:: --skip messages:: --skip beside::

test-kubernetes: ## Test against a real API server, built once from source (Go), or the cluster of KUBECONFIG
	@bash tests/setup.sh build kubernetes
	cargo test --locked --features kubernetes --test it --no-run
	bash tests/kubernetes/cluster.sh cargo test --locked --features kubernetes --test it kubernetes:: -- --ignored

lint: ## Check formatting, run clippy, and shellcheck where it is installed
	@bash tests/setup.sh lint
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x .ci/run tests/*.sh tests/kubernetes/*.sh tests/moby/*.sh packaging/*.sh examples/dind/start.sh; \
		else echo 'note: shellcheck is not installed; the shell scripts were not checked'; fi

check-windows: ## Compile for Windows, tests included, and run clippy; nothing is run
	@bash tests/setup.sh lint windows
	cargo clippy --locked --target x86_64-pc-windows-gnu --lib --bins -- -D warnings
	cargo clippy --locked --target x86_64-pc-windows-gnu --lib --profile test -- -D warnings

test-packaging: ## Install and run it in every way, for real: package, systemd, image, Compose, cron (root, Debian)
	@bash tests/setup.sh build engine packaging
	cargo test --locked --test it packaging:: -- --ignored --test-threads=2

bless: ## Accept what the scenarios and snapshots print now; read the diff before you commit it
	@bash tests/setup.sh build engine
	BLESS=1 INSTA_UPDATE=always cargo test --locked

bench: ## Measure
	@bash tests/setup.sh build
	cargo bench --locked --bench '*'

chaos: ## Kill engines and schedulers at random for CHAOS_SECONDS (default 600), then again among people on a bad network
	@bash tests/setup.sh build engine
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} cargo test --locked --release --test it chaos -- --ignored --nocapture --test-threads=1

chaos-swarm: ## Two schedulers on three managers of a Swarm, whose leader, quorum and nodes are lost at random, for CHAOS_SECONDS
	@bash tests/setup.sh build engine
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} cargo test --locked --release --test it swarm_faults -- --ignored --nocapture
