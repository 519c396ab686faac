/* promotion.c: when this server became a primary: a promotion begins a timeline and writes that timeline's
 * history file, which stays. A copy of it is younger, which is harmless: what counts from here only waits
 * longer. */
#include "compat.h"
#include "promotion.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "fmgr.h"
#include "utils/timestamp.h"

enum { TIMELINE_FIRST = 1 };

TimestampTz promotion_time(void)
{
    char path[MAXPGPATH];
    struct stat history;
    if (RecoveryInProgress()) {
        return DT_NOBEGIN;
    }
    TimeLineID timeline = compat_timeline();
    if (timeline <= TIMELINE_FIRST) {
        return DT_NOBEGIN;
    }
    TLHistoryFilePath(path, timeline);
    /* A file's time is given in whole seconds, rounded down. */
    return stat(path, &history) == 0 ? time_t_to_timestamptz(history.st_mtime + 1) : DT_NOBEGIN;
}

PG_FUNCTION_INFO_V1(streamhouse_server_timeline);

Datum streamhouse_server_timeline(PG_FUNCTION_ARGS)
{
    PG_RETURN_INT32(RecoveryInProgress() ? 0 : (int32)compat_timeline());
}
