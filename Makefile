# make demo and make test are all that a newcomer needs: each sets everything up first.

PYTHON ?= python3
BIN := .venv/bin
DEMO_MINUTES ?= 3
SHIPPED := synthnet/shipped/trumpet.safetensors
PRELUDE := data/scores/bwv1007_1_prelude
TEACHER := data/corpora/trumpet/audio/bwv1007_1_prelude.flac

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
	$(BIN)/synthnet render $(PRELUDE).mid --duration 20 --checkpoint $(SHIPPED) -o demo/shipped.wav
	$(BIN)/synthnet compare $(TEACHER) demo/shipped.wav --plot demo/shipped.png
	@printf '%s\n' '' 'Listen to demo/shipped.wav, look at demo/shipped.png. Now $(DEMO_MINUTES) minutes of training:' ''
	rm -rf demo/run
	$(BIN)/synthnet train --instrument trumpet --minutes $(DEMO_MINUTES) --evaluate-every 2min --out demo/run
	$(BIN)/synthnet render $(PRELUDE).mid --duration 8 --checkpoint demo/run/last.safetensors -o demo/trained.wav
	$(BIN)/synthnet compare $(TEACHER) demo/trained.wav --plot demo/trained.png
	@cp demo/run/curves.png demo/curves.png
	@printf '%s\n' '' \
	  'Listen to  demo/shipped.wav       the shipped trumpet, 20 s of the Prelude, which it never heard' \
	  '           demo/trained.wav       what $(DEMO_MINUTES) minutes of training gave' \
	  '           $(TEACHER)      their teacher, the whole piece' \
	  'Look at    demo/shipped.png       teacher, network, and where they differ; demo/trained.png likewise' \
	  '           demo/curves.png        how the training went' \
	  '' \
	  'Play your own music: $(BIN)/synthnet render SONG.mid'

test: setup
	$(BIN)/python -m pytest -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/harmonic.py

clean:
	rm -rf .venv demo
