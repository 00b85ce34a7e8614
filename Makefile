# Two environments: .venv trains, exports and tests; .venv-serve has what a serving machine has, and no TensorFlow.
# A third, .venv-peers, asks other databases and runs other servers, and is made where that is timed.
PYTHON ?= python3
VENV := .venv
SERVE_VENV := .venv-serve
PEERS_VENV := .venv-peers
BIN := $(VENV)/bin
SHARED := $(or $(SEGSEARCH_SHARED),../shared)
# Tests run in as many processes at once as CI has cores, a file's tests in one of them: what a module's tests share is
# made once. Files keep their order, which ends with quick ones.
WORKERS ?= 2
TESTS = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Runs that docs/performance.md shows.
RESULTS := docs/performance
export TF_CPP_MIN_LOG_LEVEL ?= 2

# $(call install,environment,extras): uv where it is there, else pip; both take the pins of constraints.txt.
define install
	if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(1) && \
		uv pip install --quiet --python $(1)/bin/python -c constraints.txt -e '.[$(2)]'; \
	else \
		$(PYTHON) -m venv $(1) && \
		$(1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(2)]'; \
	fi
	@touch $(1)/.installed
endef

.PHONY: help demo serve test test-slow soak check protos lint types contracts format bench bench-report bench-scaling bench-peers bench-check runs-data ablation student constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing the training and test environment into $(VENV) (some minutes the first time)"
	@$(call install,$(VENV),cpu$(comma)train$(comma)plot$(comma)dev)

$(SERVE_VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing the serving environment into $(SERVE_VENV)"
	@$(call install,$(SERVE_VENV),cpu)

$(PEERS_VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing clients of other databases, and other servers, into $(PEERS_VENV)"
	@$(call install,$(PEERS_VENV),cpu$(comma)peers)

comma := ,

demo: $(VENV)/.installed $(SERVE_VENV)/.installed ## sample data to served answers; DATA=folder (FEATURES=streams) for your own shards
	@$(BIN)/python demo/demo.py --serve-bin $(SERVE_VENV)/bin $(if $(DATA),--data "$(DATA)") \
		$(if $(FEATURES),--features "$(FEATURES)")

serve: $(SERVE_VENV)/.installed ## serve what the last `make demo` built
	@$(SERVE_VENV)/bin/segsearch serve --index build/demo/index --bundle build/demo/bundles/demo

test: $(VENV)/.installed $(SERVE_VENV)/.installed ## every test but the slow ones; WORKERS=2 at once
	@$(TESTS) -m "not slow and not gpu"

test-slow: $(VENV)/.installed $(SERVE_VENV)/.installed ## the slow tests
	@$(BIN)/python -m pytest -m slow

soak: $(VENV)/.installed $(SERVE_VENV)/.installed ## about an hour: 200,000 random operations on a library, and the slow tests of what must not be lost
	@SEGSEARCH_OPERATIONS=200000 $(BIN)/python -m pytest tests/integration/test_live_model.py
	@$(BIN)/python -m pytest -m slow -k "live or kill or reindex or soak or workers or drain or overload or fuzz or conformance"

check: lint types contracts ## everything a change must pass
	@$(TESTS) -m "not slow and not gpu" --deselect tests/unit/test_house.py

protos: $(VENV)/.installed ## generate Python from proto/
	@$(BIN)/python -m grpc_tools.protoc -I proto --python_out=proto --pyi_out=proto --grpc_python_out=proto \
		proto/segsearch/*/*.proto

lint: $(VENV)/.installed ## formatting and lint
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

types: $(VENV)/.installed ## mypy --strict on core, service and client
	@$(BIN)/mypy

contracts: $(VENV)/.installed ## who may import whom
	@$(BIN)/lint-imports

format: $(VENV)/.installed ## rewrite files in the house format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench: $(VENV)/.installed ## every benchmark, in half an hour; each prints `measure | value | target | holds`
	@$(BIN)/python benchmarks/everything.py

bench-report: $(VENV)/.installed ## the headline, and docs/performance.md with all its pictures; SCALE=1 for the whole library, GO_ON=1 after a kill
	@$(BIN)/python benchmarks/headline.py --scale $(or $(SCALE),0.05) --starter-videos 96 $(if $(GO_ON),--go-on) \
		--json $(RESULTS)/headline.json
	@$(BIN)/python benchmarks/performance_page.py

bench-scaling: $(VENV)/.installed ## the same for segments, classes and workers; SCALE, GO_ON (also behind bench-report of that SCALE)
	@$(BIN)/python benchmarks/scaling.py --scale $(or $(SCALE),0.05) $(if $(GO_ON),--go-on) --json $(RESULTS)/scaling.json
	@$(BIN)/python benchmarks/performance_page.py

bench-peers: $(VENV)/.installed $(PEERS_VENV)/.installed ## the same beside databases (install Debian's postgresql-15 and redis-server first) and servers
	@$(PEERS_VENV)/bin/python benchmarks/peers.py --json $(RESULTS)/peers.json
	@$(PEERS_VENV)/bin/python benchmarks/serving_peers.py --json $(RESULTS)/serving_peers.json
	@$(BIN)/python benchmarks/performance_page.py

bench-check: $(VENV)/.installed ## ratios of CPU time against benchmarks/ratios.json, in ten minutes; KEEP=1 writes them there
	@$(BIN)/python benchmarks/everything.py --check $(if $(KEEP),--keep)

runs-data: $(VENV)/.installed $(SERVE_VENV)/.installed ## the recorded run on AudioSet-Segments (docs/runs.md)
	$(BIN)/segsearch train dbof_audioset --data $(SHARED)/data --out build/runs/data --fold all
	$(BIN)/segsearch train dbof_audioset --data $(SHARED)/data --out build/runs/data --fold none
	$(BIN)/segsearch export build/runs/data/final --out build/runs/data/bundles --name dbof-audioset \
		--data '$(SHARED)/data/validate*.tfrecord'
	$(SERVE_VENV)/bin/segsearch reindex --bundle build/runs/data/bundles/dbof-audioset \
		--data '$(SHARED)/data/test*.tfrecord' --index build/runs/data/index
	$(SERVE_VENV)/bin/segsearch submit --index build/runs/data/index --out build/runs/data/submission.csv

ablation: $(VENV)/.installed ## the paper's tables on AudioSet-Segments (docs/results.md); goes on where it was stopped
	@$(BIN)/python -m segsearch.training.ablation --data $(SHARED)/data --out build/ablation --report docs/results.md

student: $(VENV)/.installed $(SERVE_VENV)/.installed ## base models to one small network, its bundle and submissions (docs/student.md), and what they are compared with (SEEDS=1 COMPARE= leaves that out); goes on where it was stopped
	@$(BIN)/python -m segsearch.training.student --data $(SHARED)/data --out build/student --report docs/results.md \
		--serve $(SERVE_VENV)/bin/segsearch $(if $(wildcard build/ablation),--trained build/ablation) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(filter undefined,$(origin COMPARE)),,--compare $(COMPARE))

constraints: $(VENV)/.installed ## write down the versions that are installed now
	@(echo "# The exact versions that tests ran with; \`make constraints\` writes this file anew."; \
		$(BIN)/python -m pip freeze --exclude-editable) > constraints.txt

clean: ## everything that was built or installed
	rm -rf build $(VENV) $(SERVE_VENV) $(PEERS_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
