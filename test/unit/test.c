/* test.c: the runner behind test.h. */
#include "test/unit/test.h"

#include <stdarg.h>
#include <stdlib.h>

static Test *first_test;
static Test **last_link = &first_test;
static bool running_failed;

void test_register(Test *test)
{
    *last_link = test;
    last_link = &test->next;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    running_failed = true;
    printf("# %s:%d: ", file, line);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

bool test_check_bytes(const char *file, int line, Slice actual, Slice expected)
{
    if (slice_equals(actual, expected)) {
        return true;
    }
    size_t at = 0;
    while (at < actual.size && at < expected.size && actual.data[at] == expected.data[at]) {
        at++;
    }
    test_fail(file, line, "%zu bytes, expected %zu; they differ at byte %zu", actual.size, expected.size, at);
    return false;
}

static bool test_is_wanted(const Test *test, int count, char **words)
{
    for (int i = 1; i < count; i++) {
        if (strstr(test->name, words[i])) {
            return true;
        }
    }
    return count == 1;
}

int main(int argument_count, char **arguments)
{
    int ran = 0;
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (Test *test = first_test; test; test = test->next) {
        if (!test_is_wanted(test, argument_count, arguments)) {
            continue;
        }
        running_failed = false;
        test->run();
        failed += running_failed;
        printf("%s %d - %s\n", running_failed ? "not ok" : "ok", ++ran, test->name);
    }
    printf("1..%d\n", ran);
    return failed > 0 || ran == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
