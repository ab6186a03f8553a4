# make demo and make test are all that a newcomer needs: each sets everything up first.

PYTHON ?= python3
BIN := .venv/bin
DEMO_MINUTES ?= 3
DEMO_SECONDS := 20
SONG := demo/song.mid
TEACHER := data/corpora/trumpet-44100-wide/audio/bwv1007_1_prelude.flac
BESIDE := $(BIN)/python recipes/shipped/compare.py $(TEACHER)

.PHONY: setup system demo test lint docs wheel shipped bench fuzz clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt | system
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synthnet needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The synthesizer that plays the training music, its sound font, and the compiler of the ABC scores.
system:
	@PYTHON=$(PYTHON) sh .ci/system-packages

# The Prelude with dynamics through a harmonic instrument and through the paper's network, then one trained here.
demo: setup
	rm -rf demo/run
	mkdir -p demo
	$(BIN)/python recipes/shipped/dynamics.py $(SONG)
	$(BIN)/synthnet render $(SONG) --duration $(DEMO_SECONDS) --checkpoint synthnet/shipped/trumpet.safetensors -o demo/harmonic.wav
	@printf '%s\n' '' 'Listen to demo/harmonic.wav. Next, eight seconds through the network of the paper, a sample at a time:' ''
	$(BIN)/synthnet render $(SONG) --duration 8 --instrument trumpet-synthnet --chunks 8 -o demo/synthnet.wav
	@printf '%s\n' '' 'Listen to demo/synthnet.wav. Now $(DEMO_MINUTES) minutes of training:' ''
	$(BIN)/synthnet train --instrument trumpet --model harmonic --minutes $(DEMO_MINUTES) --out demo/run
	$(BIN)/synthnet render $(SONG) --duration $(DEMO_SECONDS) --checkpoint demo/run/last.safetensors -o demo/trained.wav
	$(BESIDE) demo/harmonic.wav $(DEMO_SECONDS)
	$(BESIDE) demo/synthnet.wav 8
	$(BESIDE) demo/trained.wav $(DEMO_SECONDS)
	@cp demo/run/curves.png demo/curves.png
	@printf '%s\n' '' \
	  'Listen to  demo/harmonic_teacher_first.flac   the teacher, then the trumpet that ships, which never heard this piece' \
	  '           demo/trained_teacher_first.flac    the teacher, then what $(DEMO_MINUTES) minutes of training gave' \
	  '           demo/synthnet_teacher_first.flac   the teacher, then SynthNet L24, which plays all velocities alike' \
	  'Look at    demo/harmonic.png, trained.png, synthnet.png   teacher, network, and where they differ' \
	  '           demo/curves.png                                how the training went' \
	  '' \
	  'Play your own music: $(BIN)/synthnet render SONG.mid'

test: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# 10,000 damaged inputs over all formats; 500 of them run in the tests.
fuzz: setup
	PYTHONPATH=tests $(BIN)/python tests/fuzz.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The pages of docs/ with the Python reference, into build/docs.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/docs: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# Builds the distribution, installs it into an empty environment elsewhere and plays a song there.
wheel: setup
	$(BIN)/python tests/wheel.py

# The instruments that ship, trained anew: resumes where it was stopped, skips what is finished.
shipped: setup
	$(BIN)/synthnet recipe run shipped
	$(BIN)/python recipes/shipped/ship.py
	$(BIN)/python tests/golden/make_shipped.py

bench: setup
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/harmonic.py

clean:
	rm -rf .venv build demo
