# build.mk: builds what is not the extension: the agent, unit tests, fuzzers. The extension is the Makefile's.
#   make -f build.mk [FLAVOUR=release|asan|tsan] agent | unit | fuzzers | clean
#   make -f build.mk install [DESTDIR=/staging] [PREFIX=/usr/local]: the agent, its systemd units, its manual
# Objects and programs go to build/$(FLAVOUR)/.

FLAVOUR ?= release
BUILD   := build/$(FLAVOUR)
PYTHON  ?= python3

PACKAGES := libuv libcurl libpq openssl liblz4 libzstd zlib libmicrohttpd jansson
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-missing-field-initializers
CPPFLAGS += -I. -I$(BUILD)/generated -D_GNU_SOURCE -DSTREAMHOUSE_VERSION='"$(shell sed -n "s/^default_version = '\(.*\)'/\1/p" streamhouse.control)"' $(shell pkg-config --cflags $(PACKAGES))
CFLAGS   += -std=gnu17 -g -fno-omit-frame-pointer $(WARNINGS) -MMD -MP
LDLIBS   += $(shell pkg-config --libs $(PACKAGES)) -lsnappy -lisal -lm -lpthread

CFLAGS_release := -O2
CFLAGS_asan    := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
CFLAGS_tsan    := -O1 -fsanitize=thread
# Fuzzers are made of the objects that the unit tests run under the sanitizers, hence by the compiler that knows how to fuzz.
ifeq ($(FLAVOUR),asan)
CC := clang
endif
CFLAGS  += $(CFLAGS_$(FLAVOUR))
LDFLAGS += $(CFLAGS_$(FLAVOUR))
# Many programs of much debug information: gold links them in a third of the time.
ifneq ($(FLAVOUR),release)
LDFLAGS += $(if $(shell command -v ld.gold),-fuse-ld=gold)
endif

SOURCES   := $(filter-out agent/main.c,$(wildcard common/*.c common/*/*.c agent/*.c agent/*/*.c))
-include agent/kafka/generate.mk

OBJECTS   := $(SOURCES:%.c=$(BUILD)/%.o) $(GENERATED_SOURCES:%.c=%.o)
ARCHIVE   := $(BUILD)/libagent.a
AGENT     := $(BUILD)/streamhouse-agent
UNIT      := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/*_test.c))
SIM       := $(BUILD)/libsim.a
SIM_PARTS := $(filter-out %/simulate.o,$(patsubst %.c,$(BUILD)/%.o,$(wildcard test/sim/*.c))) $(BUILD)/src/commit_decide.o
FUZZERS   := $(patsubst %.c,$(BUILD)/%,$(wildcard test/fuzz/*_fuzz.c))

.PHONY: all agent simulate unit fuzzers install uninstall clean
.SECONDARY:
all: agent
agent: $(AGENT)
fuzzers: $(FUZZERS)
simulate: $(BUILD)/test/sim/simulate

$(ARCHIVE): $(OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(AGENT): $(BUILD)/agent/main.o $(ARCHIVE)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The simulation of agents, clients, PostgreSQL and store: test/sim/run.
$(SIM): $(SIM_PARTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/test/sim/simulate: $(BUILD)/test/sim/simulate.o $(SIM) $(ARCHIVE)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The same with one file changed for the worse: test/sim/mutants.
$(BUILD)/mutants/%/simulate: $(BUILD)/mutants/%/mutant.c $(BUILD)/test/sim/simulate.o $(SIM) $(ARCHIVE)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Isrc $(MUTANT) -c -o $(@D)/mutant.o $<
	$(CC) $(LDFLAGS) -o $@ $(@D)/mutant.o $(BUILD)/test/sim/simulate.o $(SIM) $(ARCHIVE) $(LDLIBS)

$(BUILD)/test/unit/simulation_test: $(BUILD)/test/unit/simulation_test.o $(BUILD)/test/unit/test.o $(SIM) $(ARCHIVE)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/test/unit/%_test: $(BUILD)/test/unit/%_test.o $(BUILD)/test/unit/test.o $(ARCHIVE)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/test/fuzz/%_fuzz: $(BUILD)/test/fuzz/%_fuzz.o $(ARCHIVE)
	$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# The load on consumer groups, of bench/groups.
$(BUILD)/bench/groups_load: $(BUILD)/bench/groups_load.o $(BUILD)/bench/groups_client.o $(BUILD)/bench/samples.o $(ARCHIVE)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Simulated agents, of bench/scale.
$(BUILD)/bench/scale_load: $(BUILD)/bench/scale_load.o $(BUILD)/bench/scale_agent.o $(BUILD)/bench/scale_line.o $(BUILD)/bench/samples.o
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c $(GENERATED_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/generated/%.o: $(BUILD)/generated/%.c $(GENERATED_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# Runs every unit test program; each prints TAP.
unit: $(UNIT)
	@status=0; for program in $(UNIT); do echo "# $$program"; $$program || status=1; done; exit $$status

PREFIX  ?= /usr/local
LIBDIR   = $(DESTDIR)$(PREFIX)/lib
DOCDIR   = $(DESTDIR)$(PREFIX)/share/doc/streamhouse
UNITS    = streamhouse-agent.service streamhouse-agent@.service
MANUAL   = configuration.md operations.md write-path.md
INSTALLED = $(DESTDIR)$(PREFIX)/bin/streamhouse-agent $(UNITS:%=$(LIBDIR)/systemd/system/%) $(LIBDIR)/sysusers.d/streamhouse.conf \
            $(LIBDIR)/tmpfiles.d/streamhouse.conf $(DOCDIR)/agent.conf $(DOCDIR)/alerts.yaml $(MANUAL:%=$(DOCDIR)/%)

# Nothing that is there is started or stopped, and no settings are written: agent.conf is an example to copy. PREFIX=/usr is for packages.
install: $(AGENT)
	install -D -m 0755 $(AGENT) $(DESTDIR)$(PREFIX)/bin/streamhouse-agent
	install -d $(LIBDIR)/systemd/system $(DOCDIR)
	for unit in $(UNITS); do sed 's|/usr/bin/|$(PREFIX)/bin/|; s|/usr/share/|$(PREFIX)/share/|' deploy/systemd/$$unit >$(LIBDIR)/systemd/system/$$unit || exit 1; done
	install -D -m 0644 deploy/systemd/sysusers.conf $(LIBDIR)/sysusers.d/streamhouse.conf
	install -D -m 0644 deploy/systemd/tmpfiles.conf $(LIBDIR)/tmpfiles.d/streamhouse.conf
	install -m 0644 deploy/systemd/agent.conf deploy/prometheus/alerts.yaml $(MANUAL:%=docs/%) $(DOCDIR)/

uninstall:
	rm -f $(INSTALLED)

clean:
	rm -rf $(BUILD)

-include $(OBJECTS:.o=.d) $(SIM_PARTS:.o=.d) $(UNIT:%=%.d) $(FUZZERS:%=%.d) $(BUILD)/agent/main.d $(wildcard $(BUILD)/test/sim/*.d $(BUILD)/test/system/*.d $(BUILD)/bench/*.d)
