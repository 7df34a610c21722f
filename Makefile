# haechi: make demo shows it, make test proves it.
GO      ?= go
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PKGS    ?= ./...
RUN     ?= .
export GOFLAGS := -trimpath

.PHONY: help deps build demo test unit lab vet fuzz soak bench bench-audit bench-patroni bench-return clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

deps: ## install the Debian packages that the lab needs (quick when nothing is missing)
	@scripts/deps

build: ## bin/haechi, bin/haechi-agent, bin/haechi-lab
	@mkdir -p bin
	@[ -e bin/haechi-lab ] || echo "building haechi; the first time this takes a few minutes"
	$(GO) build -ldflags '-s -w' -o bin/ ./cmd/haechi ./cmd/haechi-agent ./cmd/haechi-lab

demo: deps build ## three sites, a fire, a scoreboard (DEMO='--lose ansan --stay' passes options)
	@$(SUDO) bin/haechi lab demo $(DEMO)

test: deps vet unit lab ## every test: unit with the race detector, then the lab on real servers

vet:
	$(GO) vet -tags lab $(PKGS)

unit: ## unit tests with the race detector
	$(GO) test -race -count=1 -timeout 10m -run '$(RUN)' $(PKGS)

FUZZTIME ?= 60s

fuzz: ## every parser is fed with nonsense, FUZZTIME (60s) each
	@GO="$(GO)" FUZZTIME=$(FUZZTIME) scripts/fuzz

# What haechi does not do yet as docs/guarantees.md wants it; ROADMAP.md says why. make lab OPEN=- runs these, too.
OPEN ?= ^$$

# One package after the other: every lab test wants both cores and the namespaces to itself.
lab: build ## lab tests on real servers, as root
	$(SUDO) env "PATH=$$PATH" $(GO) test -tags lab -count=1 -p 1 -timeout 80m -run '$(RUN)' -skip '$(OPEN)' $$(scripts/lab-packages)

soak: deps build ## each row of docs/guarantees.md five times, resumable; results in out/soak
	$(SUDO) env "PATH=$$PATH" scripts/soak

bench: deps build ## 20 fires and 20 evacuations for each profile; JSON in out/
	$(SUDO) bin/haechi lab bench --out out/bench.json

bench-audit: build ## audits, simulations and plans of large estates, beside SCRAM; JSON in out/
	@mkdir -p out
	@command -v scram >/dev/null || $(SUDO) apt-get install -qq -y --no-install-recommends scram >/dev/null || echo "scram cannot be installed; cut sets are compared with nothing"
	bin/haechi lab bench-audit --out out/bench-audit.json

bench-patroni: deps build ## the same fires for Patroni beside us; JSON in out/
	$(SUDO) bin/haechi lab bench-patroni --out out/bench-patroni.json

bench-return: deps build ## a burned site comes back, measured part by part (BENCH='--only peace --gb 2' passes options); JSON in out/
	$(SUDO) bin/haechi lab bench-return --out out/bench-return.json $(BENCH)

clean: ## what was built, and whatever a lab left behind
	-[ -x bin/haechi ] && $(SUDO) bin/haechi lab down
	$(SUDO) rm -rf bin out
