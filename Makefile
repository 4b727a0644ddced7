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
# And: make sim SIM="--seeds 10000", make chaos CHAOS="--engine rocksdb --kills 20"
SIM ?=
CHAOS ?=
# How long `make fuzz` feeds each target, and how often `make rot` damages the files of each engine.
FUZZ_SECONDS ?= 60
ROT_CASES ?= 2000

.PHONY: help play sim chaos test fuzz rot console bench rules audit setup

help:
	@echo "make play    build, and start three stores in one process; PLAY=\"...\" adds flags"
	@echo "make sim     simulated clusters under faults, fresh seeds each time; SIM=\"...\" adds flags"
	@echo "make chaos   kills, pauses and partitions of real processes; CHAOS=\"...\" adds flags"
	@echo "make test    every test of the workspace"
	@echo "make console the console in a browser (installs Chromium when root)"
	@echo "make fuzz    damaged bytes for every decoder, FUZZ_SECONDS each (60)"
	@echo "make rot     damaged files for every engine, ROT_CASES each (2000)"
	@echo "make bench   the load test beside etcd; BENCH=\"...\" adds flags"
	@echo "make rules   checks the alert rules with promtool (unpacked, not installed), and the dashboard"
	@echo "make audit   licences, advisories and banned versions (needs cargo-deny)"
	@echo "make setup   only check for the system packages, and install them when root"

setup:
	@./scripts/setup.sh

play: setup
	$(CARGO) run --release --locked -p kontiki -- playground $(PLAY)

sim: setup
	$(CARGO) run --release --locked -p kontiki -- sim $(SIM)

chaos: setup
	$(CARGO) build --release --locked --workspace --bin kontiki --bin chaos
	"$(CARGO_TARGET_DIR)/release/chaos" --dir "$(CARGO_TARGET_DIR)/chaos" $(CHAOS)

test: setup
	$(CARGO) test --release --locked --workspace
	$(CARGO) test --release --locked -p failpoint

# Two at a time, so that their seconds are processor time on two cores.
fuzz: setup
	$(CARGO) build --release --locked -p kontiki
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --release --locked --workspace fuzz_ -- \
		--nocapture --test-threads 2

rot: setup
	ROT_CASES=$(ROT_CASES) $(CARGO) test --release --locked --workspace --test rot -- --nocapture

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
	cd compat/grafana && go run . ../../etc/grafana/*.json

audit:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo "audit: cargo-deny is missing. Run:  cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check
