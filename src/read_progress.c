/* read_progress.c: a NOTICE every streamhouse.progress_interval, from the first that passes on: reads that
 * are shorter say nothing. */
#include "compat.h"
#include "read_progress.h"

#include "setting.h"
#include "utils/timestamp.h"

/* Records between two looks at the clock. */
enum { LOOK_RECORDS = 256, DIGITS_MAX = 32 };

void read_progress_begin(ReadProgress *progress, int64 total)
{
    TimestampTz now = GetCurrentTimestamp();
    *progress = (ReadProgress){ .total = total, .began = now, .told = now };
}

/* 1234567 as 1,234,567. */
static char *grouped(int64 number, char out[DIGITS_MAX])
{
    char digits[DIGITS_MAX];
    int count = snprintf(digits, sizeof(digits), INT64_FORMAT, number);
    int used = 0;
    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            out[used++] = ',';
        }
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

static void progress_tell(const ReadProgress *progress, TimestampTz now)
{
    char records[DIGITS_MAX], total[DIGITS_MAX], left[DIGITS_MAX];
    double seconds = (double)(now - progress->began) / USECS_PER_SEC;
    int64 most = Max(progress->total, progress->records);
    double left_s = seconds * (double)(most - progress->records) / (double)progress->records;
    ereport(NOTICE, errmsg("read %s of about %s records (%d %%), %.1f MB/s, about %s s left",
                           grouped(progress->records, records), grouped(most, total),
                           (int)(progress->records * 100.0 / (double)most),
                           (double)progress->bytes / 1e6 / seconds, grouped((int64)(left_s + 0.5), left)));
}

void read_progress_add(ReadProgress *progress, int64 bytes)
{
    progress->bytes += bytes;
    if (++progress->records % LOOK_RECORDS != 0 || setting_progress_interval_ms == 0) {
        return;
    }
    TimestampTz now = GetCurrentTimestamp();
    if (now >= TimestampTzPlusMilliseconds(progress->told, setting_progress_interval_ms)) {
        progress_tell(progress, now);
        progress->told = now;
    }
}
