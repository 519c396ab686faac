/* test.h: tests are sentences. TEST(name) registers itself; main() runs them all and prints TAP. Usage:
 *   TEST(a_closed_door_stays_closed) { CHECK(door_is_closed()); CHECK_INT(knocks(), 2); }
 * A program takes words as filters: only tests whose name contains one of them run. */
#ifndef STREAMHOUSE_TEST_H
#define STREAMHOUSE_TEST_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/slice.h"

/* Whether a sanitizer looks on, and all takes several times as long. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) ||     \
    __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#else
#define TEST_SANITIZED 0
#endif

typedef struct Test {
    const char *name;
    void (*run)(void);
    struct Test *next;
} Test;

void test_register(Test *test);
/* Records a failure of the running test and prints where and why. */
void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool test_check_bytes(const char *file, int line, Slice actual, Slice expected);

#define TEST(sentence)                                                                                       \
    static void sentence(void);                                                                              \
    __attribute__((constructor)) static void register_##sentence(void)                                       \
    {                                                                                                        \
        static Test test = { #sentence, sentence, NULL };                                                    \
        test_register(&test);                                                                                \
    }                                                                                                        \
    static void sentence(void)

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            test_fail(__FILE__, __LINE__, "%s is false", #condition);                                        \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

#define CHECK_INT(actual, expected)                                                                          \
    do {                                                                                                     \
        int64_t actual_ = (int64_t)(actual);                                                                 \
        int64_t expected_ = (int64_t)(expected);                                                             \
        if (actual_ != expected_) {                                                                          \
            test_fail(__FILE__, __LINE__, "%s is %" PRId64 ", expected %" PRId64, #actual, actual_,          \
                      expected_);                                                                            \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

#define CHECK_STR(actual, expected)                                                                          \
    do {                                                                                                     \
        const char *actual_ = (actual);                                                                      \
        const char *expected_ = (expected);                                                                  \
        if (strcmp(actual_, expected_) != 0) {                                                               \
            test_fail(__FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", #actual, actual_, expected_);     \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

#define CHECK_BYTES(actual, expected)                                                                        \
    do {                                                                                                     \
        if (!test_check_bytes(__FILE__, __LINE__, (actual), (expected))) {                                   \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

#endif
