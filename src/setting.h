/* setting.h: the brain's settings (GUCs), read where they are used. Their table is in streamhouse.c. */
#ifndef STREAMHOUSE_SETTING_H
#define STREAMHOUSE_SETTING_H

extern int setting_object_grace_s;      /* streamhouse.object_grace */
extern int setting_intent_ttl_s;        /* streamhouse.intent_ttl */
extern int setting_reap_retry_s;        /* streamhouse.reap_retry */
extern int setting_redelete_after_s;    /* streamhouse.redelete_after */
extern int setting_reap_rows_max;       /* streamhouse.reap_rows_max */
extern int setting_answer_ttl_s;        /* streamhouse.answer_ttl */
extern int setting_producer_ttl_s;      /* streamhouse.producer_ttl */
extern int setting_offsets_retention_s; /* streamhouse.offsets_retention */
extern int setting_lease_moves_max;     /* streamhouse.lease_moves_max */
extern int setting_marker_interval_s;   /* streamhouse.marker_interval */
extern int setting_watch_ring_size;     /* streamhouse.watch_ring_size */

extern int setting_inline_bytes_max_mb;  /* streamhouse.inline_bytes_max */
extern int setting_inline_slot_bytes_mb; /* streamhouse.inline_slot_bytes */
extern int setting_inline_slot_age_s;    /* streamhouse.inline_slot_age */
extern int setting_inline_grace_s;       /* streamhouse.inline_grace */
extern int setting_inline_move_bytes_mb; /* streamhouse.inline_move_bytes */
extern int setting_inline_move_age_s;    /* streamhouse.inline_move_age */

extern int setting_slow_commit_min_ms;     /* streamhouse.slow_commit_min_ms */
extern int setting_outbox_memory_kb;       /* streamhouse.outbox_memory */
extern int setting_append_lock_timeout_ms; /* streamhouse.append_lock_timeout */

/* What group configs default to, and their bounds. */
extern int setting_consumer_session_timeout_ms;        /* streamhouse.consumer_session_timeout */
extern int setting_consumer_session_timeout_min_ms;    /* streamhouse.consumer_session_timeout_min */
extern int setting_consumer_session_timeout_max_ms;    /* streamhouse.consumer_session_timeout_max */
extern int setting_consumer_heartbeat_interval_ms;     /* streamhouse.consumer_heartbeat_interval */
extern int setting_consumer_heartbeat_interval_min_ms; /* streamhouse.consumer_heartbeat_interval_min */
extern int setting_consumer_heartbeat_interval_max_ms; /* streamhouse.consumer_heartbeat_interval_max */

/* How the bucket is named in a request: auto is path with an endpoint of one's own or a dot in the bucket's
 * name. */
enum { SETTING_ADDRESSING_AUTO, SETTING_ADDRESSING_PATH, SETTING_ADDRESSING_VIRTUAL };

extern char *setting_store;              /* streamhouse.store */
extern char *setting_s3_endpoint;        /* streamhouse.s3_endpoint */
extern char *setting_s3_region;          /* streamhouse.s3_region */
extern char *setting_s3_profile;         /* streamhouse.s3_profile */
extern char *setting_s3_ca_file;         /* streamhouse.s3_ca_file */
extern int setting_s3_addressing;        /* streamhouse.s3_addressing, a StoreAddressing */
extern int setting_fetch_cache_bytes;    /* streamhouse.fetch_cache_bytes */
extern int setting_fetch_timeout_ms;     /* streamhouse.fetch_timeout */
extern int setting_progress_interval_ms; /* streamhouse.progress_interval */

#endif
