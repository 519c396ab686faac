# Makefile: the extension, by PGXS. `make`, `make install`, `make installcheck` (against PGHOST and PGPORT).
# The agent and everything else is build.mk's.
EXTENSION   = streamhouse
RELEASE    := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" streamhouse.control)
MODULE_big  = streamhouse

# What the brain shares with the agent: batches, codecs, object stores without the agent's event loop.
COMMON      = arena batch batch_check block compression compression_gzip compression_lz4 compression_snappy compression_zstd \
              consumer_protocol crc32c lease_plan murmur2 object_format object_index record record_builder record_stream status writer \
              store/credentials store/credentials_parse store/folder store/folder_list store/ini store/profile store/s3_request \
              store/s3_response store/s3_sign store/store_key store/store_url store/xml
OBJS        = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c))) $(COMMON:%=common/%.o)
# A name of ours is ours, whatever the server exports.
SHLIB_LINK  = -Wl,-Bsymbolic -lcurl -lcrypto -ljansson -llz4 -lzstd -lsnappy -lz -lisal -lm

# The order in which the parts of the install script are concatenated.
SQL_PARTS   = schema config topic access lease agent object segment inline producer offset commit_model commit prune watch delete_records retention produce fetch \
              group group_protocol group_config group_assign group_convert group_heartbeat group_classic_member group_session group_offset \
              group_coordinator group_classic group_admin group_expire broker_config admin sample views cockpit role
SQL_FILES   = $(foreach part,$(SQL_PARTS),$(wildcard src/$(part).sql))
SQL_SCRIPT  = streamhouse--$(RELEASE).sql

DATA_built  = $(SQL_SCRIPT)
PG_CPPFLAGS = -I$(CURDIR) -I$(CURDIR)/src
PG_CFLAGS   = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
              -Wno-declaration-after-statement

REGRESS     = $(filter-out preload_%,$(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql))))
REGRESS_OPTS = --encoding=UTF8 --no-locale --load-extension=streamhouse
ISOLATION   = $(patsubst specs/%.spec,%,$(sort $(wildcard specs/*.spec)))
ISOLATION_OPTS = --load-extension=streamhouse
EXTRA_CLEAN = $(SQL_SCRIPT) results output_iso regression.diffs regression.out

# Nothing here gains from being compiled while a query runs.
override with_llvm = no
PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h common/*.h common/store/*.h)

$(SQL_SCRIPT): $(SQL_FILES) Makefile streamhouse.control
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION streamhouse" to load this file. \quit'; cat $(SQL_FILES); } > $@

# What differs with shared memory: against a server with shared_preload_libraries = 'streamhouse'.
.PHONY: installcheck-preload
installcheck-preload:
	$(MAKE) installcheck REGRESS="$(patsubst sql/%.sql,%,$(sort $(wildcard sql/preload_*.sql)))" ISOLATION=
