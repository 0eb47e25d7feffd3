# Two commands on a fresh Debian or Ubuntu with cargo: `make image` builds the golden image, `make test` tests everything.

RECIPE  ?= recipes/debian-13.toml
OUT     ?= out
# Releases that test-boot and test-reproducible are about, by their code names; each has a recipe.
RELEASES ?=
CARGO   ?= cargo
# Where `make install` puts things; DESTDIR stands before all of it, for packages.
PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
MANDIR  ?= $(DATADIR)/man
DOCDIR  ?= $(DATADIR)/doc/goldimg
BASHDIR ?= $(DATADIR)/bash-completion/completions
ZSHDIR  ?= $(DATADIR)/zsh/site-functions
FISHDIR ?= $(DATADIR)/fish/vendor_completions.d
# What the guides lead to, so that no link in them leads nowhere; in the folders that they have here.
GUIDES  := README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md GLOSSARY.md $(wildcard docs/*.md recipes/*) findings/README.md \
           packages/run.txt packages/test.txt
# `yes` installs goldimg under the name qemu-img too.
QEMU_IMG ?=
# Set to `required` where a missing peer program is a failure and not a reason to skip its tests.
GOLDIMG_PEERS ?=

TARGET  := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release/goldimg
# What is installed and packed: `make install GOLDIMG=…` takes one that was built elsewhere.
GOLDIMG := $(RELEASE)
# What the tests run.
PROGRAM := $(abspath $(TARGET))/debug/goldimg
# nextest runs every test in a process of its own, and shows slow ones.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
DENY    := $(shell $(CARGO) deny --version >/dev/null 2>&1 && echo yes)

export GOLDIMG_PEERS

.PHONY: help image build install uninstall deb test test-api test-boot test-reproducible test-recipes test-library test-customize test-existing test-filesystems test-openstack openstack-demo check bench clean
.PHONY: packages test-packages bench-packages deb-packages ready

help:
	@echo "make image      install what is missing, build $(RECIPE) into $(OUT)/"
	@echo "make install    the program, its man pages and completions into $(DESTDIR)$(PREFIX); make uninstall takes them away"
	@echo "make deb        a Debian package of them, into $(OUT)/"
	@echo "make test       install what the tests need, run all of them"
	@echo "make test-boot  boot the image in $(OUT)/ with every firmware, as a cloud would; with RELEASES=\"bookworm trixie\" build and boot those"
	@echo "make test-reproducible  build the recipes of RELEASES twice, and compare the images"
	@echo "make test-recipes  build every recipe in recipes/ into $(OUT)/recipes/, and boot it alone and as OpenStack would"
	@echo "make test-library  build, audit and boot the smallest recipe from a program of 30 lines, without goldimg"
	@echo "make test-customize  customize images of Debian 12 and 13 with a web server, and boot them; packages from the network"
	@echo "make test-existing  builds that begin with an image, a tar archive or an image of a container; packages from the network"
	@echo "make test-filesystems  every set of features of ext4, XFS, Btrfs and FAT beside the kernel's own mounts; as root, a quarter of an hour"
	@echo "make test-openstack  upload to a real Keystone and Glance, and to broken ones"
	@echo "make openstack-demo  upload the image to a real Keystone and Glance, download it, boot it as Nova would"
	@echo "make test-api   the public API of both libraries, held against tests/snapshots/api; with API_WRITE=1 it is written down"
	@echo "make check      formatting, lints, documentation, the public API, licences"
	@echo "make bench      compare with qemu-img and libguestfs, write docs/benchmarks.md and its kin"
	@echo "make clean      remove target/ and $(OUT)/"

image: packages ready build
	$(GOLDIMG) build $(RECIPE) -o $(OUT) --force

# Cargo leaves the time of a program alone that is as its sources are; make compares the times.
build: cargo
	$(CARGO) build --release --locked --package image-cli
	@touch $(RELEASE)

# `sudo make install` after `make build` needs no cargo, which root seldom has.
$(RELEASE): Cargo.toml Cargo.lock packages/run.txt $(shell find image-core image-cli -type f)
	@$(MAKE) --no-print-directory build

# Whatever the umask, what is installed is there for all.
install: $(GOLDIMG)
	@set -e; umask 022; \
	link=$(DESTDIR)$(BINDIR)/qemu-img; \
	if [ "$(QEMU_IMG)" = yes ] && [ "$$(readlink $$link || true)" != goldimg ] && [ -e $$link -o -L $$link ]; then \
	  echo "$$link is there already and not goldimg's: remove it, or choose another PREFIX" >&2; exit 1; \
	fi; \
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(MANDIR)/man1 $(BASHDIR) $(ZSHDIR) $(FISHDIR)); \
	install -m 755 $(GOLDIMG) $(DESTDIR)$(BINDIR)/goldimg; \
	$(GOLDIMG) completions man --into $(DESTDIR)$(MANDIR)/man1; \
	$(GOLDIMG) completions bash --into $(DESTDIR)$(BASHDIR); \
	$(GOLDIMG) completions zsh --into $(DESTDIR)$(ZSHDIR); \
	$(GOLDIMG) completions fish --into $(DESTDIR)$(FISHDIR); \
	for guide in $(GUIDES); do install -D -m 644 $$guide $(DESTDIR)$(DOCDIR)/$$guide; done; \
	if [ "$(QEMU_IMG)" = yes ]; then ln -sf goldimg $$link; fi

uninstall:
	@link=$(DESTDIR)$(BINDIR)/qemu-img; \
	if [ "$$(readlink $$link || true)" = goldimg ]; then rm -f $$link; fi
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/goldimg $(MANDIR)/man1/goldimg.1 $(MANDIR)/man1/goldimg-*.1)
	rm -f $(addprefix $(DESTDIR),$(BASHDIR)/goldimg $(ZSHDIR)/_goldimg $(FISHDIR)/goldimg.fish)
	rm -rf $(DESTDIR)$(DOCDIR)

# Built in a folder of its own, since its paths are left out of it; with GOLDIMG=… a program that is there is packed.
deb: deb-packages cargo
	CARGO=$(CARGO) packages/deb $(OUT) $(if $(filter command line,$(origin GOLDIMG)),$(GOLDIMG))

# The build takes the same features of all crates as the tests do, so that nothing is compiled twice.
test: packages test-packages ready cargo
	$(CARGO) build --locked --workspace --bins --tests
ifeq ($(NEXTEST),yes)
	GOLDIMG=$(PROGRAM) $(CARGO) nextest run --locked --workspace --no-fail-fast
	$(CARGO) test --locked --workspace --doc
else
	GOLDIMG=$(PROGRAM) $(CARGO) test --locked --workspace --no-fail-fast
endif

# The recipe of $$release, for the shell.
RECIPE_OF = grep -l "^release = \"$$release\"" recipes/debian-*.toml || { echo "no recipe in recipes/ is of $$release" >&2; exit 1; }
# Boots all images in a folder.
BOOT = for image in $(1)/*.qcow2; do \
	  $(GOLDIMG) test --firmware bios,uefi,secure-boot "$$image" && \
	  $(GOLDIMG) test --as openstack --matrix "$$image" || exit 1; \
	done

ifeq ($(RELEASES),)
test-boot: image
	$(call BOOT,$(OUT))
else
test-boot: packages ready build
	for release in $(RELEASES); do \
	  recipe=$$($(RECIPE_OF)) && folder=$(OUT)/releases/$$release && rm -rf "$$folder" && \
	  $(GOLDIMG) build "$$recipe" -o "$$folder" || exit 1; \
	  $(call BOOT,"$$folder"); \
	done
endif

# Of one time, into other folders, the second without layers: nothing else may differ, and it may not show.
test-reproducible: packages ready build
	for release in $(or $(RELEASES),trixie); do \
	  recipe=$$($(RECIPE_OF)) && folder=$(OUT)/reproducible/$$release && rm -rf "$$folder" || exit 1; \
	  SOURCE_DATE_EPOCH=1760000000 $(GOLDIMG) build "$$recipe" -o "$$folder/1" && \
	  SOURCE_DATE_EPOCH=1760000000 $(GOLDIMG) build --no-cache "$$recipe" -o "$$folder/2" || exit 1; \
	  cmp "$$folder"/1/*.qcow2 "$$folder"/2/*.qcow2 || exit 1; \
	done

# Every recipe passes its own trial: some minutes for each, and a quarter of an hour where there is no KVM.
test-recipes: packages ready build
	for recipe in recipes/*.toml; do \
	  folder=$(OUT)/recipes/$$(basename "$$recipe" .toml) && rm -rf "$$folder" && \
	  $(GOLDIMG) build "$$recipe" -o "$$folder" || exit 1; \
	  for image in "$$folder"/*.qcow2; do \
	    $(GOLDIMG) test "$$image" && $(GOLDIMG) test --as openstack "$$image" || exit 1; \
	  done; \
	done

# Of the compiler that this is written with: what rustdoc writes as JSON differs from release to release.
test-api: cargo
	$(CARGO) test --locked --workspace --test api -- --ignored

# Some minutes, for both boots are emulated where there is no KVM.
test-library: packages ready cargo
	rm -rf $(OUT)/library
	$(CARGO) run --release --locked --package image-cli --example minimal -- $(OUT)/library

# A quarter of an hour, for four boots are emulated where there is no KVM.
test-customize: packages test-packages cargo
	$(CARGO) build --locked --workspace --bins --tests
	GOLDIMG=$(PROGRAM) GOLDIMG_PEERS=required $(CARGO) test --locked --workspace --test suite -- --ignored golden::customized

# Some minutes: an image is built, and others upon it.
test-existing: packages test-packages cargo
	$(CARGO) build --locked --workspace --bins --tests
	GOLDIMG=$(PROGRAM) GOLDIMG_PEERS=required $(CARGO) test --locked --workspace --test suite -- --ignored golden::existing

# All about filesystems, with what takes too long for `make test`.
test-filesystems: packages test-packages cargo
	$(CARGO) build --locked --workspace --bins --tests
	GOLDIMG=$(PROGRAM) GOLDIMG_PEERS=required $(CARGO) test --locked --workspace --test suite -- --include-ignored \
	  interop::ext4 interop::fat interop::filesystems

# A part of `make test` by itself; the services are installed once, beneath $XDG_CACHE_HOME/goldimg/openstack.
test-openstack: packages test-packages cargo
	tests/openstack/services prepare
	$(CARGO) build --locked --workspace --bins --tests
	GOLDIMG=$(PROGRAM) GOLDIMG_PEERS=required $(CARGO) test --locked --workspace --test suite openstack::

# The newest image in $(OUT)/, or one that is built now.
openstack-demo: packages test-packages ready build
	@ls $(OUT)/*.qcow2 >/dev/null 2>&1 || $(GOLDIMG) build $(RECIPE) -o $(OUT) --force
	tests/openstack/demo $(GOLDIMG) "$$(ls -t $(OUT)/*.qcow2 | head -n 1)"

check: cargo
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(MAKE) --no-print-directory test-api
ifeq ($(DENY),yes)
	$(CARGO) deny --locked check licenses bans sources
else
	@echo "skipped the licences of dependencies: cargo install --locked cargo-deny"
endif

# Measured on made-up disks, and on the image of the recipe: in about twelve minutes, on a machine that does nothing else.
bench: image bench-packages
	$(GOLDIMG) convert -q --force -O raw "$$(ls -t $(OUT)/*.qcow2 | head -n 1)" $(TARGET)/bench.raw
	BENCH_WRITE=1 BENCH_DIR=$(abspath $(TARGET))/bench BENCH_IMAGE=$(abspath $(TARGET))/bench.raw \
	  $(CARGO) bench --locked --package image-cli --bench conversion
	BENCH_WRITE=1 BENCH_DIR=$(abspath $(TARGET))/bench BENCH_QCOW2="$$(ls -t $(abspath $(OUT))/*.qcow2 | head -n 1)" \
	  $(CARGO) bench --locked --package image-cli --bench audit
	BENCH_WRITE=1 BENCH_DIR=$(abspath $(TARGET))/bench \
	  $(CARGO) bench --locked --package image-cli --bench existing

clean:
	$(CARGO) clean
	rm -rf $(OUT)

packages:
	@packages/install packages/run.txt

# A test makes the Debian package.
test-packages:
	@packages/install packages/test.txt packages/deb.txt

deb-packages:
	@packages/install packages/deb.txt

bench-packages:
	@packages/install packages/bench.txt

.PHONY: cargo
cargo:
	@command -v $(CARGO) >/dev/null || { \
	  echo "cargo is missing: install Rust 1.90 or newer (https://rustup.rs), then run make again" >&2; exit 1; }

# Building without root needs user ids to give to the files of an image.
ready:
	@[ "$$(id -u)" -eq 0 ] || { grep -qs "^$$(id -un):" /etc/subuid && grep -qs "^$$(id -un):" /etc/subgid; } || { \
	  echo "$$(id -un) has no subordinate user and group ids, so images cannot be built without root. To give some:" >&2; \
	  echo "  sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $$(id -un)" >&2; exit 1; }
