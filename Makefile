# make demo and make test are all that a newcomer needs: each sets everything up first.

PYTHON ?= python3
BIN := .venv/bin
DEMO_MINUTES ?= 4
PRELUDE := data/scores/bwv1007_1_prelude

.PHONY: setup system demo test lint bench clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt | system
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synthnet needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The synthesizer that plays the training music, its sound font, and the compiler of the ABC scores.
system:
	@PYTHON=$(PYTHON) sh .ci/system-packages

demo: setup
	$(BIN)/synthnet corpus build --instrument trumpet
	rm -rf runs/demo
	$(BIN)/synthnet train --instrument trumpet --minutes $(DEMO_MINUTES) --evaluate-every 2min --out runs/demo
	$(BIN)/synthnet render $(PRELUDE).mid --duration 8 --output expectation --checkpoint runs/demo/last.safetensors -o demo/prelude.wav
	$(BIN)/synthnet compare data/corpora/trumpet/audio/bwv1007_1_prelude.flac demo/prelude.wav --plot demo/prelude.png
	@cp runs/demo/curves.png demo/curves.png
	@printf '%s\n' '' \
	  'Listen to  demo/prelude.wav                       the network, 8 s of the Prelude, which it never heard' \
	  '           data/corpora/trumpet/audio/bwv1007_1_prelude.flac      its teacher, the whole piece' \
	  'Look at    demo/prelude.png                       both, and where they differ' \
	  '           demo/curves.png                        how the training went' \
	  '' \
	  'This was $(DEMO_MINUTES) minutes of training: expect the right notes in a good deal of noise.' \
	  'Half an hour is much better (README has the figures): $(BIN)/synthnet train --instrument trumpet'

test: setup
	$(BIN)/python -m pytest -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/generation.py

clean:
	rm -rf .venv demo
