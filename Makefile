# Everything from a fresh clone. One cargo profile, release, serves play, tests, benchmarks and CI,
# so that RocksDB (about 12 minutes on two cores) is compiled once.

CARGO ?= cargo
# Outside of the clone, and the same for every clone: that is where RocksDB is found compiled.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/kontiki/target
# Where scripts/setup.sh unpacks etcd and promtool, behind whatever is installed.
export PATH := $(PATH):$(HOME)/.cache/kontiki/etcd/usr/bin
# What `make play` and `make bench` pass on, for example: make play PLAY="--nodes 1 --port 4000"
PLAY ?=
BENCH ?=
# And: make sim SIM="--seeds 10000"
SIM ?=

.PHONY: help play sim test console bench rules audit setup

help:
	@echo "make play    build, and start three stores in one process; PLAY=\"...\" adds flags"
	@echo "make sim     simulated clusters under faults, fresh seeds each time; SIM=\"...\" adds flags"
	@echo "make test    every test of the workspace"
	@echo "make console the console in a browser (installs Chromium when root)"
	@echo "make bench   the load test beside etcd; BENCH=\"...\" adds flags"
	@echo "make rules   checks the alert rules with promtool (unpacked, not installed)"
	@echo "make audit   licences, advisories and banned versions (needs cargo-deny)"
	@echo "make setup   only check for the system packages, and install them when root"

setup:
	@./scripts/setup.sh

play: setup
	$(CARGO) run --release --locked -p kontiki -- playground $(PLAY)

sim: setup
	$(CARGO) run --release --locked -p kontiki -- sim $(SIM)

test: setup
	$(CARGO) test --release --locked --workspace

console:
	@./scripts/setup.sh console
	$(CARGO) test --release --locked -p e2e -p kontiki --test console

bench:
	@./scripts/setup.sh bench
	$(CARGO) build --release --locked -p kontiki
	cd compat/go && go build -o "$(CARGO_TARGET_DIR)/go-load" ./load
	$(CARGO) run --release --locked -p bench --bin compare -- \
		--etcd "$$(command -v etcd)" --go-load "$(CARGO_TARGET_DIR)/go-load" $(BENCH)

rules:
	@./scripts/setup.sh rules
	promtool check rules etc/prometheus/*.rules.yml

audit:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo "audit: cargo-deny is missing. Run:  cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check
