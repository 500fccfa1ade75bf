# One entry point for everything. Each target sets up what it needs; a second run finds it done.
#
#   make demo    the main job, from a SoftHSM token to a policy decision, printed command by command
#   make test    every test
#   make test-kryoptic  the PKCS#11 backend on another token, which is built first (a quarter of an hour, once)
#   make test-real-ockam  a script with the real `ockam` beside ours; OCKAM=PATH says where it is
#   make torture 1,000 kills of the authority, 200 deaths within a signature, 2,000 slow connections, 10,000 members
#   make constant-time  signing, agreeing, unsealing and comparing in release code, under valgrind
#   make check   formatting, lints, documentation, licences
#   make release         the release program, with flags that keep paths and time out of it
#   make reproduce       builds it twice elsewhere and compares (an hour)
#   make sbom            the bill of materials of the release program, CycloneDX
#   make mutants         mutation testing of what verifies, admits and decides (hours); MUTANTS="--shard 1/20" for a part of it
#   make fuzz            ten million executions of each decoder (hours; fuzz/run has the settings); FUZZ_SECONDS=3 for a smoke test
#   make policy-soak     a million random policies for each question of policy-lang
#   make bench   our crates, the server, channels and devices beside their peers, with ratios; make bench-devices for the last alone
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-kryoptic test-real-ockam torture constant-time check bench bench-devices interop release reproduce sbom mutants policy-soak fuzz

# Where cargo puts what it builds: `target` unless the environment says otherwise. tests/interop, bench, bench/devices and fuzz are
# workspaces of their own, with heavy dependencies of their own, so each has a directory of its own in it; tests/ockam-api shares
# what tests/interop builds.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
INTEROP_TARGET := $(TARGET)/interop
BENCH_TARGET := $(TARGET)/bench
BENCH_DEVICES_TARGET := $(TARGET)/bench-devices
CONSTANT_TIME_TARGET := $(TARGET)/constant-time
FUZZ_TARGET := $(TARGET)/fuzz
KRYOPTIC_TARGET := $(TARGET)/kryoptic
export CARGO_TERM_COLOR ?= auto

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@scripts/setup

demo:
	@scripts/setup
	cargo build --locked --bin ockam-kms
	@OCKAM_KMS="$(TARGET)/debug/ockam-kms" OCKAM_JUDGE="$(INTEROP_TARGET)/debug/ockam-judge" scripts/demo

# The published Ockam crates, built as a judge that the tests ask.
interop:
	cd tests/interop && CARGO_TARGET_DIR="$(INTEROP_TARGET)" cargo build --locked --bins --tests
	cd tests/ockam-api && CARGO_TARGET_DIR="$(INTEROP_TARGET)" cargo build --locked --tests

test: setup interop
	cargo build --locked --workspace --bins
	cargo build --locked -p ockam-kms-chaos-module
	OCKAM_JUDGE="$(INTEROP_TARGET)/debug/ockam-judge" cargo nextest run --locked --workspace
	cargo test --locked --workspace --doc
	cd tests/interop && CARGO_TARGET_DIR="$(INTEROP_TARGET)" cargo nextest run --locked
	cd tests/ockam-api && OCKAM_KMS="$(TARGET)/debug/ockam-kms" CARGO_TARGET_DIR="$(INTEROP_TARGET)" cargo nextest run --locked
	$(MAKE) constant-time
	$(MAKE) fuzz FUZZ_SECONDS=3

# Another PKCS#11 module than SoftHSM, with quirks of its own.
test-kryoptic:
	@scripts/setup --kryoptic
	cd tests/kryoptic && CARGO_TARGET_DIR="$(KRYOPTIC_TARGET)" cargo build --locked --release
	OCKAM_KMS_KRYOPTIC="$(KRYOPTIC_TARGET)/release/libkryoptic_pkcs11.so" cargo nextest run --locked -p ockam-kms-tests --features kryoptic --test kryoptic

# The record of what the real `ockam` 0.150 prints, compared with it; `UPDATE_GOLDEN=1` writes it anew.
test-real-ockam:
	@test -x "$(OCKAM)" || { echo "say where the real ockam is: make test-real-ockam OCKAM=PATH" >&2; exit 64; }
	cargo build --locked --bin ockam-kms
	OCKAM_KMS_REAL_OCKAM="$(abspath $(OCKAM))" cargo nextest run --locked --workspace --test same_script

# What is done with secrets, in its release code under valgrind: no jump and no address depends on them.
constant-time: setup
	cd tests/constant-time && CARGO_TARGET_DIR="$(CONSTANT_TIME_TARGET)" cargo test --locked --release
	cd tests/constant-time && CARGO_TARGET_DIR="$(CONSTANT_TIME_TARGET)" cargo run --locked --release

# The kills that `make test` does 300 of, and the bound on the time of a start; crowds and members that it has fewer of, and the
# bound on how long others wait in a crowd.
torture: setup
	cargo build --locked --workspace --bins
	OCKAM_KMS_KILLS=1000 cargo nextest run --locked -p ockam-kms-tests --test-threads 1 --success-output immediate -E 'binary(crash)'
	ulimit -n 8192; OCKAM_KMS_SLOW=2000 OCKAM_KMS_RESTRICTIONS=10000 cargo nextest run --locked -p ockam-kms-authority --test-threads 1 \
		--success-output immediate -E 'test(load::slow) or test(restrictions::)'

check:
	@scripts/setup --check
	cargo fmt --all --check
	cd tests/interop && cargo fmt --check
	cd tests/ockam-api && cargo fmt --check
	cd bench && cargo fmt --check
	cd bench/devices && cargo fmt --check
	cd tests/constant-time && cargo fmt --check
	cd fuzz && cargo fmt --check
	cd tests/kryoptic && cargo fmt --check
	cargo clippy --locked --workspace --all-targets --features ockam-kms-tests/kryoptic -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	cargo deny --locked check bans licenses sources

bench:
	@scripts/setup --bench
	cd bench && CARGO_TARGET_DIR="$(BENCH_TARGET)" cargo run --locked --release --bin bench
	cd bench && CARGO_TARGET_DIR="$(BENCH_TARGET)" cargo run --locked --release --bin channels
	cd bench && CARGO_TARGET_DIR="$(BENCH_TARGET)" cargo run --locked --release -p ockam-kms-bench-server
	$(MAKE) bench-devices

bench-devices:
	@scripts/setup --bench
	cd bench/devices && CARGO_TARGET_DIR="$(BENCH_DEVICES_TARGET)" cargo build --locked --release \
		-p ockam-kms-bench-devices -p ockam-kms-tests --bin bench-devices --bin virtual-piv-card
	"$(BENCH_DEVICES_TARGET)/release/bench-devices"

release:
	@scripts/setup --release
	@scripts/release

reproduce:
	@scripts/setup --release
	@scripts/reproduce

sbom:
	@scripts/setup --sbom
	@scripts/sbom

# What survives, and what was caught, is in $(TARGET)/mutants.out. MUTANTS is for arguments of cargo-mutants.
mutants:
	@scripts/setup --mutants
	cargo mutants --workspace --cargo-arg=--locked --jobs 1 --output "$(TARGET)" $(MUTANTS)

# Crashes and what was learned stay in $(FUZZ_TARGET)/kept.
fuzz:
	@scripts/setup
	CARGO_TARGET_DIR="$(FUZZ_TARGET)" fuzz/run

policy-soak:
	@scripts/setup
	POLICY_ROUNDS=10 cargo nextest run --locked -p ockam-kms-policy-lang --test naive --no-capture many::
