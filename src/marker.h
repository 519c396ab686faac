/* marker.h: whether this server may give offsets: it does unless the store's owner marker says that another
 * one does, or may. See marker.sql. */
#ifndef STREAMHOUSE_MARKER_H
#define STREAMHOUSE_MARKER_H

#include "postgres.h"

/* ERROR, with a hint that says what to do, while this database is not known to be the store's owner. Reads
 * one row, which changes seldom, through a snapshot of its own. */
extern void marker_require(void);

/* ERROR likewise where a reader would be told that the log ends before what it has read: a restored backup
 * that was not adopted does not know. Standbys are behind by nature, and may say so. */
extern void marker_require_history(void);

/* Whether this database was the owner when it last proved itself, on another server than this one, and nobody
 * has taken note of that yet: as the active snapshot sees it. See streamhouse.marker_notice(). */
extern bool marker_is_elsewhere(void);

#endif
