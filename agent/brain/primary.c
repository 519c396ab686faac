/* primary.c: libpq tries hosts in the order of the string, and a host that swallows packets costs its whole
 * timeout each time. So attempts begin where the primary was last found, and elsewhere after a failure.
 *
 * A promotion begins a timeline. Who has seen it never goes back: an old primary that was cut off, and does
 * not know yet that it is none any more, still says that it can be written to. Where somebody has put an
 * older history in its place, what the agent remembers is of another one, and it has to be started again. */
#include "agent/brain/primary.h"

#include <stdlib.h>
#include <string.h>

static const char *const list_keywords[HOST_LISTS] = { "host", "hostaddr", "port" };

static int list_count(const char *list)
{
    int count = 1;
    for (const char *next = list; *next; next++) {
        count += *next == ',';
    }
    return count;
}

/* The rest of the list from its element of that number on. */
static const char *list_from(const char *list, int index)
{
    while (index-- > 0) {
        list = strchr(list, ',') + 1;
    }
    return list;
}

static bool primary_take(Primary *primary, const PQconninfoOption *option)
{
    for (HostList which = 0; which < HOST_LISTS; which++) {
        if (strcmp(option->keyword, list_keywords[which]) == 0) {
            primary->lists[which] = strdup(option->val);
            return primary->lists[which] != NULL;
        }
    }
    return true;
}

bool primary_init(Primary *primary, const PQconninfoOption *options)
{
    *primary = (Primary){ .count = 1 };
    for (const PQconninfoOption *option = options; option->keyword; option++) {
        if (option->val && !primary_take(primary, option)) {
            primary_free(primary);
            return false;
        }
    }
    for (HostList which = HOST_NAMES; which <= HOST_ADDRESSES; which++) {
        if (primary->lists[which] && list_count(primary->lists[which]) > primary->count) {
            primary->count = list_count(primary->lists[which]);
        }
    }
    return true;
}

void primary_free(Primary *primary)
{
    for (HostList which = 0; which < HOST_LISTS; which++) {
        free(primary->lists[which]);
        primary->lists[which] = NULL;
    }
}

/* One port may stand for all hosts; a list of another length is libpq's to complain about. */
static bool primary_turns(const Primary *primary, HostList which)
{
    return primary->count > 1 && primary->lists[which] && list_count(primary->lists[which]) == primary->count;
}

char *primary_turned(const Primary *primary, HostList which)
{
    if (!primary_turns(primary, which)) {
        return NULL;
    }
    const char *list = primary->lists[which];
    size_t length = strlen(list);
    char *turned = malloc(length + 2);
    if (!turned) {
        return NULL;
    }
    const char *front = list_from(list, primary->first);
    size_t front_length = length - (size_t)(front - list);
    memcpy(turned, front, front_length);
    if (front == list) {
        turned[length] = '\0';
        return turned;
    }
    /* What stood before it follows, without the comma that parted the two. */
    turned[front_length] = ',';
    memcpy(turned + front_length + 1, list, (size_t)(front - list));
    turned[length] = '\0';
    return turned;
}

void primary_blame(Primary *primary, int first)
{
    if (primary->first == first) {
        primary->first = (first + 1) % primary->count;
    }
}

static bool element_is(const Primary *primary, HostList which, int index, const char *value)
{
    if (!value || !primary_turns(primary, which)) {
        return true;
    }
    const char *element = list_from(primary->lists[which], index);
    size_t length = strcspn(element, ",");
    return length == 0 || (strlen(value) == length && strncmp(element, value, length) == 0);
}

int primary_found(Primary *primary, const char *host, const char *port)
{
    HostList named = primary->lists[HOST_NAMES] ? HOST_NAMES : HOST_ADDRESSES;
    for (int i = 0; i < primary->count; i++) {
        if (element_is(primary, named, i, host) && element_is(primary, HOST_PORTS, i, port)) {
            primary->first = i;
            break;
        }
    }
    return primary->first;
}

PrimaryVerdict primary_meet(Primary *primary, int32_t timeline)
{
    int32_t before = primary->timeline;
    if (timeline == 0) {
        return PRIMARY_AS_BEFORE;
    }
    if (timeline < before) {
        return PRIMARY_OUTDATED;
    }
    primary->timeline = timeline;
    return before != 0 && timeline > before ? PRIMARY_PROMOTED : PRIMARY_AS_BEFORE;
}
