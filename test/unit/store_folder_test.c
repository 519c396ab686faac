/* store_folder_test.c: the folder store on a real file system: nothing overwritten, nothing half written,
 * everything durable. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/store/folder.h"
#include "test/unit/store_wait.h"
#include "test/unit/test.h"

typedef struct Fixture {
    uv_loop_t loop;
    char path[64];
    char url[80];
    Store *store;
} Fixture;

static Status fixture_open_with(Fixture *fixture, StoreOptions options)
{
    uv_loop_init(&fixture->loop);
    snprintf(fixture->path, sizeof(fixture->path), "/tmp/store-folder-test-XXXXXX");
    if (!mkdtemp(fixture->path)) {
        return status_error(STATUS_INTERNAL, "no folder for the test");
    }
    snprintf(fixture->url, sizeof(fixture->url), "file://%s/a/b", fixture->path);
    options.url = fixture->url;
    return store_open(&options, &fixture->loop, &fixture->store);
}

static Status fixture_open(Fixture *fixture)
{
    return fixture_open_with(fixture, (StoreOptions){ 0 });
}

static int entry_remove(const char *path, const struct stat *found, int flag, struct FTW *walk)
{
    (void)found, (void)flag, (void)walk;
    return remove(path);
}

static bool fixture_close(Fixture *fixture)
{
    bool closed = store_and_loop_close(fixture->store, &fixture->loop);
    nftw(fixture->path, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
    return closed;
}

static int leftovers(const Fixture *fixture)
{
    char path[128];
    int count = 0;
    snprintf(path, sizeof(path), "%s/a/b/.part", fixture->path);
    DIR *stream = opendir(path);
    for (struct dirent *entry = stream ? readdir(stream) : NULL; entry; entry = readdir(stream)) {
        count += entry->d_name[0] != '.';
    }
    if (!stream) {
        return -1;
    }
    closedir(stream);
    return count;
}

TEST(an_object_is_read_back_whole_and_by_range)
{
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    Slice parts[] = { SLICE_LITERAL("hello "), SLICE_LITERAL(""), SLICE_LITERAL("world") };
    Answer put = put_slices(f.store, &f.loop, "o/3f/x.sho", parts, 3, true);
    CHECK_STR(put.status.message, "");
    CHECK(!put.was_there);
    Answer whole = get_range(f.store, &f.loop, "o/3f/x.sho", 0, 0);
    CHECK_BYTES(slice_of(whole.bytes, whole.size), SLICE_LITERAL("hello world"));
    CHECK_INT(whole.object_bytes, 11);
    Answer part = get_range(f.store, &f.loop, "o/3f/x.sho", 4, 3);
    CHECK_BYTES(slice_of(part.bytes, part.size), SLICE_LITERAL("o w"));
    Answer end = get_range(f.store, &f.loop, "o/3f/x.sho", 6, 100);
    CHECK_BYTES(slice_of(end.bytes, end.size), SLICE_LITERAL("world"));
    CHECK_INT(get_range(f.store, &f.loop, "o/3f/x.sho", 11, 1).status.code, STATUS_INVALID);
    CHECK_INT(get_range(f.store, &f.loop, "o/3f/y.sho", 0, 1).status.code, STATUS_NOT_FOUND);
    CHECK_INT(get_range(f.store, &f.loop, "o/3f", 0, 1).status.code, STATUS_NOT_FOUND);
    CHECK_INT(head_key(f.store, &f.loop, "o/3f/x.sho").object_bytes, 11);
    CHECK_INT(leftovers(&f), 0);
    answer_free(&whole);
    answer_free(&part);
    answer_free(&end);
    CHECK(fixture_close(&f));
}

TEST(an_object_is_never_overwritten_but_may_be_written_twice)
{
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    CHECK_INT(put_text(f.store, &f.loop, "k", "first").status.code, STATUS_OK);
    Answer again = put_text(f.store, &f.loop, "k", "first");
    CHECK_INT(again.status.code, STATUS_OK);
    CHECK(again.was_there);
    CHECK_INT(put_text(f.store, &f.loop, "k", "other").status.code, STATUS_EXISTS);
    CHECK_INT(put_text(f.store, &f.loop, "k", "first, and longer").status.code, STATUS_EXISTS);
    CHECK_INT(put_text(f.store, &f.loop, "k", "").status.code, STATUS_EXISTS);
    Answer read = get_range(f.store, &f.loop, "k", 0, 0);
    CHECK_BYTES(slice_of(read.bytes, read.size), SLICE_LITERAL("first"));
    CHECK_INT(leftovers(&f), 0);
    CHECK_INT(store_metrics(f.store)->lost_replies, 1);
    CHECK_INT(store_metrics(f.store)->requests[STORE_PUT][STATUS_EXISTS], 3);
    answer_free(&read);
    CHECK(fixture_close(&f));
}

TEST(an_object_is_replaced_when_that_is_asked_for)
{
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    Slice one = SLICE_LITERAL("one");
    Slice two = SLICE_LITERAL("two");
    CHECK_INT(put_slices(f.store, &f.loop, "owner", &one, 1, false).status.code, STATUS_OK);
    CHECK_INT(put_slices(f.store, &f.loop, "owner", &two, 1, false).status.code, STATUS_OK);
    Answer read = get_range(f.store, &f.loop, "owner", 0, 0);
    CHECK_BYTES(slice_of(read.bytes, read.size), two);
    CHECK_INT(leftovers(&f), 0);
    answer_free(&read);
    CHECK(fixture_close(&f));
}

TEST(objects_of_every_size_around_a_block_are_kept_byte_for_byte)
{
    static const size_t sizes[] = { 0,
                                    1,
                                    4095,
                                    4096,
                                    4097,
                                    FOLDER_DIRECT_MIN - 1,
                                    FOLDER_DIRECT_MIN,
                                    FOLDER_DIRECT_MIN + 1,
                                    FOLDER_BUFFER_BYTES,
                                    FOLDER_BUFFER_BYTES + 1,
                                    3 * FOLDER_BUFFER_BYTES - 4095 };
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    uint8_t *bytes = malloc(3 * FOLDER_BUFFER_BYTES);
    for (size_t i = 0; i < 3 * FOLDER_BUFFER_BYTES; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char key[32];
        size_t cut = sizes[i] / 3;
        Slice parts[] = { slice_of(bytes, cut), slice_of(bytes + cut, sizes[i] - cut) };
        snprintf(key, sizeof(key), "size/%zu", sizes[i]);
        CHECK_INT(put_slices(f.store, &f.loop, key, parts, 2, true).status.code, STATUS_OK);
        CHECK(put_slices(f.store, &f.loop, key, parts, 2, true).was_there);
        Answer read = get_range(f.store, &f.loop, key, 0, 0);
        CHECK_INT(read.object_bytes, sizes[i]);
        CHECK_BYTES(slice_of(read.bytes, read.size), slice_of(bytes, sizes[i]));
        answer_free(&read);
    }
    free(bytes);
    CHECK(fixture_close(&f));
}

TEST(many_small_slices_are_written_in_order)
{
    enum { COUNT = 500 };
    Fixture f;
    Slice slices[COUNT];
    uint8_t bytes[COUNT];
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    for (int i = 0; i < COUNT; i++) {
        bytes[i] = (uint8_t)i;
        slices[i] = slice_of(&bytes[i], 1);
    }
    CHECK_INT(put_slices(f.store, &f.loop, "k", slices, COUNT, true).status.code, STATUS_OK);
    Answer read = get_range(f.store, &f.loop, "k", 0, 0);
    CHECK_BYTES(slice_of(read.bytes, read.size), slice_of(bytes, COUNT));
    answer_free(&read);
    CHECK(fixture_close(&f));
}

TEST(a_list_is_in_byte_order_and_goes_on_where_it_ended)
{
    static const char *const keys[] = { "b/z", "a/x", "a-b", "a/b/c", "a.b", "c", "b/y", "a0" };
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        CHECK_INT(put_text(f.store, &f.loop, keys[i], "12").status.code, STATUS_OK);
    }
    Answer all = list_keys(f.store, &f.loop, NULL, NULL, 0);
    CHECK_STR(all.keys, "a-b:2 a.b:2 a/b/c:2 a/x:2 a0:2 b/y:2 b/z:2 c:2");
    CHECK(!all.more);
    Answer page = list_keys(f.store, &f.loop, NULL, "a/b/c", 3);
    CHECK_STR(page.keys, "a/x:2 a0:2 b/y:2");
    CHECK(page.more);
    CHECK_STR(list_keys(f.store, &f.loop, "a/", NULL, 0).keys, "a/b/c:2 a/x:2");
    CHECK_STR(list_keys(f.store, &f.loop, "a", "a.b", 0).keys, "a/b/c:2 a/x:2 a0:2");
    CHECK_STR(list_keys(f.store, &f.loop, "b/y", NULL, 0).keys, "b/y:2");
    CHECK_STR(list_keys(f.store, &f.loop, "nothing/", NULL, 0).keys, "");
    CHECK(fixture_close(&f));
}

TEST(a_deleted_object_is_gone_and_may_be_deleted_again)
{
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    CHECK_INT(put_text(f.store, &f.loop, "o/k", "x").status.code, STATUS_OK);
    CHECK_INT(delete_key(f.store, &f.loop, "o/k").status.code, STATUS_OK);
    CHECK_INT(delete_key(f.store, &f.loop, "o/k").status.code, STATUS_OK);
    CHECK_INT(delete_key(f.store, &f.loop, "never/was").status.code, STATUS_OK);
    CHECK_INT(head_key(f.store, &f.loop, "o/k").status.code, STATUS_NOT_FOUND);
    CHECK(fixture_close(&f));
}

static void leftover_make(const Fixture *fixture, const char *name, time_t age_s)
{
    char path[128];
    struct timeval times[2] = { { .tv_sec = time(NULL) - age_s }, { .tv_sec = time(NULL) - age_s } };
    snprintf(path, sizeof(path), "%s/a/b/.part/%s", fixture->path, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || write(fd, "half", 4) != 4 || close(fd) != 0 || utimes(path, times) != 0) {
        test_fail(__FILE__, __LINE__, "cannot make %s", path);
    }
}

TEST(what_a_crash_left_is_no_object_and_is_cleared_away_at_the_next_start)
{
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    /* Let the clearing of this start end first. */
    uv_run(&f.loop, UV_RUN_DEFAULT);
    leftover_make(&f, "old", 7200);
    leftover_make(&f, "of-a-put-under-way", 10);
    CHECK_STR(list_keys(f.store, &f.loop, NULL, NULL, 0).keys, "");
    CHECK_INT(leftovers(&f), 2);
    CHECK(store_and_loop_close(f.store, &f.loop));
    uv_loop_init(&f.loop);
    status = store_open(&(StoreOptions){ .url = f.url }, &f.loop, &f.store);
    CHECK(status_is_ok(&status));
    uv_run(&f.loop, UV_RUN_DEFAULT);
    CHECK_INT(leftovers(&f), 1);
    CHECK(fixture_close(&f));
}

typedef struct Count {
    int ok;
    int exists;
    int other;
} Count;

static void count_keep(const StoreResult *result, void *arg)
{
    Count *count = arg;
    count->ok += status_is_ok(&result->status);
    count->exists += result->status.code == STATUS_EXISTS;
    count->other += !status_is_ok(&result->status) && result->status.code != STATUS_EXISTS;
}

TEST(of_many_that_write_one_key_at_once_one_wins)
{
    enum { WRITERS = 24 };
    Fixture f;
    Count count = { 0 };
    Slice slices[WRITERS];
    char bodies[WRITERS][32];
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    for (int i = 0; i < WRITERS; i++) {
        snprintf(bodies[i], sizeof(bodies[i]), "writer %d", i);
        slices[i] = slice_of_text(bodies[i]);
        StorePut put = { .key = "race/one", .slices = &slices[i], .slice_count = 1, .if_absent = true };
        CHECK(store_put(f.store, &put, count_keep, &count));
    }
    uv_run(&f.loop, UV_RUN_DEFAULT);
    CHECK_INT(count.ok, 1);
    CHECK_INT(count.exists, WRITERS - 1);
    CHECK_INT(leftovers(&f), 0);
    CHECK(fixture_close(&f));
}

TEST(a_full_queue_turns_away_and_says_so)
{
    enum { CALLS = 10 };
    Fixture f;
    Count count = { 0 };
    int taken = 0;
    Status status = fixture_open_with(&f, (StoreOptions){ .queue_max = 2, .get_parallel_max = 1 });
    CHECK(status_is_ok(&status));
    for (int i = 0; i < CALLS; i++) {
        taken += store_head(f.store, &(StoreHead){ .key = "k" }, count_keep, &count) != NULL;
    }
    CHECK_INT(taken, 3);
    CHECK_INT(store_refusal(f.store)->code, STATUS_LIMIT);
    CHECK_INT(store_metrics(f.store)->refused, CALLS - 3);
    CHECK_INT(store_metrics(f.store)->queued[STORE_HEAD], 2);
    CHECK_INT(store_metrics(f.store)->running[STORE_HEAD], 1);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    CHECK_INT(count.other, 3);
    CHECK_INT(store_metrics(f.store)->requests[STORE_HEAD][STATUS_NOT_FOUND], 3);
    CHECK_INT(store_metrics(f.store)->latency[STORE_HEAD].count, 3);
    CHECK_INT(store_metrics(f.store)->queued[STORE_HEAD] + store_metrics(f.store)->running[STORE_HEAD], 0);
    CHECK(fixture_close(&f));
}

TEST(closing_calls_everyone_back_and_leaves_nothing_in_the_loop)
{
    enum { CALLS = 20 };
    Fixture f;
    Count count = { 0 };
    Slice body = SLICE_LITERAL("x");
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    for (int i = 0; i < CALLS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        StorePut put = { .key = key, .slices = &body, .slice_count = 1, .if_absent = true };
        CHECK(store_put(f.store, &put, count_keep, &count));
    }
    CHECK_INT(count.ok + count.other, 0);
    CHECK(fixture_close(&f));
    CHECK_INT(count.ok + count.other, CALLS);
    CHECK(count.other > 0);
}

TEST(a_cancelled_call_that_waits_is_called_back_soon)
{
    Fixture f;
    Answer first = { 0 };
    Answer second = { 0 };
    Status status = fixture_open_with(&f, (StoreOptions){ .get_parallel_max = 1 });
    CHECK(status_is_ok(&status));
    store_head(f.store, &(StoreHead){ .key = "k" }, answer_keep, &first);
    StoreCall *call = store_head(f.store, &(StoreHead){ .key = "k" }, answer_keep, &second);
    CHECK(call);
    store_cancel(call);
    store_cancel(call);
    CHECK(!second.done);
    answer_await(&f.loop, &second);
    CHECK_INT(second.status.code, STATUS_CANCELLED);
    answer_await(&f.loop, &first);
    CHECK_INT(first.status.code, STATUS_NOT_FOUND);
    CHECK(fixture_close(&f));
}

TEST(all_that_wait_beyond_their_deadlines_are_called_back_together)
{
    enum { CALLS = 400, WAIT_MS = 5 };
    Fixture f;
    Answer answers[CALLS] = { 0 };
    Status status = fixture_open_with(&f, (StoreOptions){ .put_parallel_max = 1 });
    CHECK(status_is_ok(&status));
    Slice body = SLICE_LITERAL("x");
    for (int i = 0; i < CALLS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        StorePut put = { .key = key, .slices = &body, .slice_count = 1, .deadline_ms = WAIT_MS };
        CHECK(store_put(f.store, &put, answer_keep, &answers[i]));
    }
    uint64_t slowest_us = 0;
    int late = 0;
    for (int i = 0; i < CALLS; i++) {
        answer_await(&f.loop, &answers[i]);
        late += answers[i].status.code == STATUS_TIMEOUT;
        slowest_us = answers[i].elapsed_us > slowest_us ? answers[i].elapsed_us : slowest_us;
    }
    CHECK(late > 0);
    /* One a tick would take eight seconds. */
    CHECK(slowest_us < 3000000);
    CHECK(fixture_close(&f));
}

TEST(malformed_keys_never_reach_the_file_system)
{
    Fixture f;
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    CHECK_INT(put_text(f.store, &f.loop, "../escaped", "x").status.code, STATUS_INVALID);
    CHECK_INT(get_range(f.store, &f.loop, "/etc/passwd", 0, 1).status.code, STATUS_INVALID);
    CHECK_INT(delete_key(f.store, &f.loop, ".part").status.code, STATUS_INVALID);
    CHECK_INT(list_keys(f.store, &f.loop, "../", NULL, 0).status.code, STATUS_INVALID);
    CHECK(fixture_close(&f));
}

TEST(a_folder_that_cannot_be_made_is_said_at_once)
{
    uv_loop_t loop;
    Store *store = NULL;
    uv_loop_init(&loop);
    Status status = store_open(&(StoreOptions){ .url = "file:///proc/no/such" }, &loop, &store);
    CHECK(!status_is_ok(&status));
    CHECK(strstr(status.message, "/proc/no"));
    CHECK_INT(uv_loop_close(&loop), 0);
}

TEST(a_probe_finds_a_folder_in_order_and_leaves_nothing)
{
    Fixture f;
    Answer answer = { 0 };
    Status status = fixture_open(&f);
    CHECK(status_is_ok(&status));
    CHECK(store_probe(f.store, 5000, answer_keep, &answer));
    answer_await(&f.loop, &answer);
    CHECK_STR(answer.status.message, "");
    CHECK(store_is_conditional(f.store));
    CHECK_STR(list_keys(f.store, &f.loop, NULL, NULL, 0).keys, "");
    CHECK(fixture_close(&f));
}
