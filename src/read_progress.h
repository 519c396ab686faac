/* read_progress.h: tells the impatient how far a long read is. See read_progress.c. */
#ifndef STREAMHOUSE_READ_PROGRESS_H
#define STREAMHOUSE_READ_PROGRESS_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef struct ReadProgress {
    int64 total; /* records to read, about: offsets may have gaps */
    int64 records;
    int64 bytes;
    TimestampTz began;
    TimestampTz told;
} ReadProgress;

extern void read_progress_begin(ReadProgress *progress, int64 total);

/* Counts a record; now and then, a NOTICE. */
extern void read_progress_add(ReadProgress *progress, int64 bytes);

#endif
