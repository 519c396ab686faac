/* relation_extend.c: makes a table longer by many pages at once. From version 16 on, PostgreSQL has a
 * function for that. Before, it writes every page as zeros; here the file system is asked for the room
 * instead, which takes as long for 64 pages as writing one. Either way a full disk is noticed now, not when
 * the pages are written, and what a crash leaves are pages of zeros, which every reader of a table passes
 * over. */
#include "compat.h"
#include "relation_extend.h"

#include <fcntl.h>

#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/rel.h"

#ifdef COMPAT_SMGR_ZEROEXTEND

static BlockNumber extend_locked(Relation table, BlockNumber first, BlockNumber count)
{
    smgrzeroextend(compat_smgr(table), MAIN_FORKNUM, first, (int)count, false);
    return count;
}

#else

/* The file of 1 GiB that a block is in. */
static int segment_open(Relation table, BlockNumber block, char **path)
{
    BlockNumber number = block / RELSEG_SIZE;
    *path = relpathperm(table->rd_node, MAIN_FORKNUM);
    if (number > 0) {
        *path = psprintf("%s.%u", *path, number);
    }
    int file = OpenTransientFile(*path, O_RDWR | PG_BINARY);
    if (file < 0) {
        ereport(ERROR, errcode_for_file_access(), errmsg("could not open file \"%s\": %m", *path));
    }
    return file;
}

/* False where the file system cannot do that, and the C library does not do it in its place. */
static bool segment_allocate(Relation table, BlockNumber first, BlockNumber count)
{
    char *path;
    int failure;
    int file = segment_open(table, first, &path);
    do {
        failure = posix_fallocate(file, (off_t)(first % RELSEG_SIZE) * BLCKSZ, (off_t)count * BLCKSZ);
    } while (failure == EINTR);
    (void)CloseTransientFile(file);
    bool is_unknown = failure == EINVAL || failure == EOPNOTSUPP;
    if (failure != 0 && !is_unknown) {
        errno = failure;
        ereport(ERROR, errcode_for_file_access(),
                errmsg("could not extend file \"%s\" by %u pages: %m", path, count),
                errhint("Check free disk space."));
    }
    pfree(path);
    return !is_unknown;
}

/* A file begins with a page that PostgreSQL writes, since it makes the file. */
static BlockNumber extend_locked(Relation table, BlockNumber first, BlockNumber count)
{
    BlockNumber in_segment = first % RELSEG_SIZE;
    count = Min(count, RELSEG_SIZE - in_segment);
    if (in_segment > 0 && segment_allocate(table, first, count)) {
        return count;
    }
    PGAlignedBlock zeros = { 0 };
    smgrextend(compat_smgr(table), MAIN_FORKNUM, first, zeros.data, false);
    return 1;
}

#endif

BlockRun relation_extend(Relation table, BlockNumber count)
{
    LockRelationForExtension(table, ExclusiveLock);
    BlockNumber first = RelationGetNumberOfBlocks(table);
    count = extend_locked(table, first, count);
    UnlockRelationForExtension(table, ExclusiveLock);
    return (BlockRun){ first, first + count };
}
