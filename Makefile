# `make` alone lists the targets. Every target can be run on a new clone.

GO            ?= go
GOBIN_DIR     := $(CURDIR)/bin
FERRY         := $(GOBIN_DIR)/ferry
MINIO         := $(GOBIN_DIR)/minio
VERSION       ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS       := -s -w -X main.version=$(VERSION)

# A pseudo-version, because MinIO's RELEASE tags are not versions that Go
# accepts. This is RELEASE.2025-09-07: the newest server whose bucket
# notifications arrive at once.
MINIO_VERSION := v0.0.0-20250907161309-07c3a429bfed

TOOL          := $(GO) tool -modfile=tools.mod
FUZZTIME      ?= 30s
STORE         ?= embedded
TEST_TIMEOUT  ?= 20m
CRASH_RUN     ?= Crash|Kill|Power
CRASH_TIMEOUT ?= 60m
BENCH_FLAGS   ?=

# What the tests need. FERRY_REQUIRE_MOUNT makes a machine that cannot mount
# fail the suite instead of skipping half of it.
TEST_ENV      := FERRY_TEST_MINIO=$(MINIO) FERRY_TEST_BIN=$(FERRY) FERRY_REQUIRE_MOUNT=1

.PHONY: help deps build minio demo play test check fmt lint crash fuzz golden bench dist clean tidy

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that tests and demo need, if any is missing
	@.ci/deps

build: ## bin/ferry, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(FERRY) ./cmd/ferry

minio: $(MINIO) ## bin/minio, the pinned reference server (built once)

$(MINIO):
	GOBIN=$(GOBIN_DIR) $(GO) install github.com/minio/minio@$(MINIO_VERSION)

bin/ferrybench: FORCE
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/ferrybench ./cmd/ferrybench

FORCE:

demo: deps build bin/ferrybench ## show what happens to your bytes, with checks (STORE=minio: on MinIO)
	@if [ '$(STORE)' = minio ]; then $(MAKE) --no-print-directory minio; fi
	@STORE='$(STORE)' testdata/demo/run.sh

play: build bin/ferrybench minio ## MinIO and a mount in a temporary folder, log on the screen; Ctrl-C ends it
	@testdata/demo/play.sh

test: deps minio build ## everything but nightly targets: real mounts, real MinIO, -race, nothing skipped
	$(GO) vet ./...
	$(TEST_ENV) $(GO) test -race -count=1 -timeout $(TEST_TIMEOUT) ./...

check: ## before every commit: format, vet, lint, file lengths, short tests
	@.ci/check-format
	@.ci/check-length
	$(GO) vet ./...
	$(TOOL) golangci-lint run ./...
	$(GO) test -race -short -timeout 2m ./...

fmt: ## format all Go files
	$(TOOL) golangci-lint fmt ./...

lint: ## the linters alone
	$(TOOL) golangci-lint run ./...

crash: deps minio build ## kills and power cuts only, the long form
	FERRY_LONG=1 $(TEST_ENV) $(GO) test -race -count=1 -timeout $(CRASH_TIMEOUT) -run '$(CRASH_RUN)' ./...

fuzz: ## every fuzz target for FUZZTIME (30s) each
	@GO='$(GO)' .ci/fuzz $(FUZZTIME)

golden: ## rewrite golden files; read the git diff afterwards
	@GO='$(GO)' .ci/golden

bench: deps minio build bin/ferrybench ## ferry against raw and null floors on this machine (BENCH_FLAGS='--size 256MiB')
	@bin/ferrybench $(BENCH_FLAGS)

dist: ## static Linux tarballs with checksums in dist/
	@GO='$(GO)' VERSION='$(VERSION)' .ci/dist

tidy: ## go.mod and tools.mod to what is imported
	$(GO) mod tidy
	$(GO) mod tidy -modfile=tools.mod

clean: ## remove bin/ and dist/
	rm -rf bin dist
