/* readiness.c: named conditions, each logged when it changes. */
#include "agent/readiness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/journal.h"

Condition *readiness_add(Readiness *readiness, const char *name, const char *reason)
{
    for (size_t i = 0; i < readiness->count; i++) {
        if (strcmp(readiness->conditions[i].name, name) == 0) {
            return &readiness->conditions[i];
        }
    }
    if (readiness->count == READINESS_CONDITIONS_MAX) {
        abort();
    }
    Condition *condition = &readiness->conditions[readiness->count++];
    condition->name = name;
    condition->holds = false;
    snprintf(condition->reason, sizeof(condition->reason), "%s", reason);
    return condition;
}

bool readiness_holds(const Readiness *readiness)
{
    for (size_t i = 0; i < readiness->count; i++) {
        if (!readiness->conditions[i].holds) {
            return false;
        }
    }
    return true;
}

bool readiness_is_degraded(const Readiness *readiness)
{
    for (size_t i = 0; i < readiness->count; i++) {
        if (readiness->conditions[i].degraded) {
            return true;
        }
    }
    return false;
}

void condition_hold(Condition *condition)
{
    if (condition->holds && !condition->degraded) {
        return;
    }
    condition->holds = true;
    condition->degraded = false;
    condition->reason[0] = '\0';
    journal_with(JOURNAL_INFO, "agent", JOURNAL_FIELDS(FIELD_TEXT("condition", condition->name)), "ready");
}

void condition_degrade(Condition *condition, const char *format, ...)
{
    bool degraded = condition->degraded;
    va_list arguments;
    condition->holds = true;
    condition->degraded = true;
    va_start(arguments, format);
    vsnprintf(condition->reason, sizeof(condition->reason), format, arguments);
    va_end(arguments);
    if (!degraded) {
        journal_with(JOURNAL_WARN, "agent", JOURNAL_FIELDS(FIELD_TEXT("condition", condition->name)),
                     "ready, but: %s", condition->reason);
    }
}

void condition_break(Condition *condition, const char *format, ...)
{
    bool held = condition->holds;
    va_list arguments;
    condition->holds = false;
    condition->degraded = false;
    va_start(arguments, format);
    vsnprintf(condition->reason, sizeof(condition->reason), format, arguments);
    va_end(arguments);
    if (held) {
        journal_with(JOURNAL_WARN, "agent", JOURNAL_FIELDS(FIELD_TEXT("condition", condition->name)),
                     "not ready: %s", condition->reason);
    }
}
