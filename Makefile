# The few commands that people type; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# `debug` builds in a fraction of the time.
STACK_PROFILE ?= release
target := $(or $(CARGO_TARGET_DIR),target)
stack := $(target)/$(STACK_PROFILE)/stack
cargo_profile := $(if $(filter debug,$(STACK_PROFILE)),dev,$(STACK_PROFILE))
exporters := mysql-exporter redis-exporter haproxy-exporter nginx-exporter backup-exporter
shipped := $(exporters) medassist-api mysql-backup
# What the stack runs, and itself.
programs := stack $(shipped)

# What tests/unpack-servers.sh unpacks of Debian unstable.
newest := $(target)/unpacked/unstable/usr/bin

# What is shipped runs on every Linux, and in a container with nothing else. Packed relocations save 0.4 MB; only the C library
# within must know them, so only that of the building machine (glibc 2.36). `dist-pgo` adds flags of its own.
dist_flags = -Ctarget-feature=+crt-static -Clink-arg=-Wl,-z,pack-relative-relocs $(PGO_FLAGS)
# With --target the flags don't reach what runs while building.
host = $(shell rustc -vV | sed -n 's/^host: //p')
revision = $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: packages ## Start the local stack: install, build, run, wait until all targets are UP
	cargo build --locked --profile $(cargo_profile) $(addprefix --bin ,$(programs))
	@$(stack) up

.PHONY: status
status: built ## Print the name, state and URL of each service; fail unless all run
	@$(stack) status

.PHONY: down
down: built ## Stop the local stack; its data stays in target/stack
	@$(stack) down

.PHONY: backup
backup: built ## Run the backup job once
	@$(stack) backup

.PHONY: start stop kill pause resume logs
start: one ## Start one service: make start SERVICE=api2
stop: one ## Stop one service with SIGTERM
kill: one ## Kill one service with SIGKILL
pause: one ## Hang one service with SIGSTOP
resume: one ## End the hang with SIGCONT
logs: one ## Show the end of one service's log
start stop kill pause resume logs:
	@$(stack) $@ $(SERVICE)

.PHONY: test
test: packages unpacked ## Test everything on real servers
	cargo build --locked --workspace --bins
	cargo test --locked --workspace --doc --quiet
	if command -v cargo-nextest >/dev/null; then cargo nextest run --locked --workspace; \
	else cargo build --locked -p exporter-toolkit --examples && cargo test --locked --workspace --lib --bins --tests; fi
	PROMTOOL=$(newest)/promtool prometheus/check
	alertmanager/tests/run
	AMTOOL=$(newest)/amtool ALERTMANAGER=$(newest)/prometheus-alertmanager alertmanager/tests/run
	$(target)/debug/fire --quick
	tests/elk/run

.PHONY: fire
fire: packages ## Make every alert fire by a fault: make fire, make fire ALERT=MysqlDown, QUICK=1, DETECT=1
	cargo build --locked --workspace --bins
	$(target)/debug/fire $(if $(ALERT),--alert $(ALERT)) $(if $(QUICK),--quick) $(if $(DETECT),--detect)

.PHONY: lint
lint: packages ## Check format, lints, structure, words, rules and configuration
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo run --locked --quiet --package medassist-lint
	prometheus/check
	alertmanager/tests/run
	grafana/check
	haproxy -c -q -f compose/haproxy/haproxy.cfg
	if command -v cargo-deny >/dev/null; then cargo deny --locked check; else echo "cargo-deny is not installed: skipped"; fi

# The exporters apart: built together with the API, they would carry the features that only the API asks of libraries.
dist_build = BUILD_REVISION=$(revision) RUSTFLAGS="$(dist_flags)" cargo build --locked --profile dist --target $(host)

.PHONY: dist
dist: packages ## Build the shipped programs, static, into target/shipped
	$(dist_build) $(addprefix --bin ,$(exporters))
	$(dist_build) $(addprefix --bin ,$(filter-out $(exporters),$(shipped)))
	mkdir -p $(target)/shipped
	install -m 755 $(addprefix $(target)/$(host)/dist/,$(shipped)) $(target)/shipped/
	@ls -l $(addprefix $(target)/shipped/,$(shipped))

.PHONY: dist-pgo
dist-pgo: unpacked ## Build the same with profile-guided optimization; takes twice the time
	@tests/install-packages.sh dist-pgo
	bench/dist-pgo $(target)

.PHONY: bench
bench: dist unpacked ## Install the Go exporters and compare with them: make bench BENCH="--only redis"
	@tests/install-packages.sh bench
	cargo build --locked --release --bin bench
	$(target)/release/bench $(BENCH)

.PHONY: packages unpacked built one
packages:
	@tests/install-packages.sh
unpacked: packages
	@tests/unpack-servers.sh $(target)/unpacked
built:
	@[[ -x $(stack) ]] || { echo "$(stack) is not built yet: make up" >&2; exit 1; }
one: built
	@[[ -n "$(SERVICE)" ]] || { echo "which one? make stop SERVICE=api2; make status lists them" >&2; exit 1; }

# ---- In containers ----
.PHONY: compose-up compose-status compose-down compose-check test-compose
compose-up: ## Start everything in containers: secrets, build, run, wait until healthy
	@compose/stack.sh up

compose-status: ## Print the state, health and URL of each container; fail unless all are healthy
	@compose/stack.sh status

compose-down: ## Stop the containers; their data stays in volumes
	@compose/stack.sh down

test-compose: dist ## Start the core in containers with substitute images and check it (root, Debian)
	@tests/compose/run

compose-check: ## Check the services of the running compose project: make compose-check PARTS="grafana cadvisor"
	@compose/check $(PARTS)
