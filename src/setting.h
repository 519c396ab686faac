/* setting.h: the brain's settings (GUCs), read where they are used. Their table is in streamhouse.c. */
#ifndef STREAMHOUSE_SETTING_H
#define STREAMHOUSE_SETTING_H

extern int setting_object_grace_s;   /* streamhouse.object_grace */
extern int setting_intent_ttl_s;     /* streamhouse.intent_ttl */
extern int setting_reap_retry_s;     /* streamhouse.reap_retry */
extern int setting_redelete_after_s; /* streamhouse.redelete_after */
extern int setting_reap_rows_max;    /* streamhouse.reap_rows_max */
extern int setting_answer_ttl_s;     /* streamhouse.answer_ttl */
extern int setting_producer_ttl_s;   /* streamhouse.producer_ttl */
extern int setting_lease_moves_max;  /* streamhouse.lease_moves_max */
extern int setting_watch_ring_size;  /* streamhouse.watch_ring_size */

extern int setting_inline_bytes_max_mb;  /* streamhouse.inline_bytes_max */
extern int setting_inline_slot_bytes_mb; /* streamhouse.inline_slot_bytes */
extern int setting_inline_slot_age_s;    /* streamhouse.inline_slot_age */
extern int setting_inline_grace_s;       /* streamhouse.inline_grace */
extern int setting_inline_move_bytes_mb; /* streamhouse.inline_move_bytes */
extern int setting_inline_move_age_s;    /* streamhouse.inline_move_age */

extern int setting_slow_commit_min_ms; /* streamhouse.slow_commit_min_ms */

#endif
