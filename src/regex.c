/* regex.c: a Kafka client's regular expression over names of topics (RE2's syntax) as one of PostgreSQL's.
 *
 * Names of topics are made of 65 characters (topic_check_name()), so every set of characters, however it is
 * written, becomes a list of some of those; what is left are groups, alternatives, repetitions and anchors,
 * in which both syntaxes agree. What says how rather than what to match (greediness, names of groups, flags
 * of lines) does not matter for whether a whole name matches, and is left out. What RE2 does not know, which
 * is all that could take exponential time (back-references, look-ahead), is refused, and so is what would
 * become a large automaton: expressions of members run at everybody's expense. */
#include "compat.h"
#include "character_set.h"

#include <ctype.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(streamhouse_regex_translate);

enum {
    REGEX_BYTES_MAX = 1024,
    REGEX_DEPTH_MAX = 50,
    REGEX_REPEATS_MAX = 255, /* PostgreSQL's; RE2's is 1000 */
    REGEX_COST_MAX = 5000,   /* atoms times loops, with repetitions written out */
    NOT_ASCII = 0xFFFF
};

/* What the automaton's size, and the time to build it, grow with. */
typedef struct RegexSize {
    int64 atoms;
    int64 loops; /* of them, may come a variable number of times */
} RegexSize;

typedef struct Regex {
    const char *whole;
    const char *at;
    const char *end;
    bool folds; /* flag i */
    int depth;
    bool repeatable; /* what was read last */
    StringInfoData out;
} Regex;

static _Noreturn void regex_refuse(const Regex *regex, const char *why)
{
    ereport(ERROR, errcode(MAKE_SQLSTATE('S', 'H', '1', '2', '8')),
            errmsg("invalid regular expression \"%s\": %s, at byte %d", regex->whole, why,
                   (int)(regex->at - regex->whole) + 1),
            errhint("The syntax is RE2's, as for Kafka; a topic's whole name has to match."));
}

static bool regex_sees(const Regex *regex, const char *text)
{
    size_t size = strlen(text);
    return (size_t)(regex->end - regex->at) >= size && memcmp(regex->at, text, size) == 0;
}

static bool regex_skip(Regex *regex, const char *text)
{
    bool seen = regex_sees(regex, text);
    regex->at += seen ? strlen(text) : 0;
    return seen;
}

/* One character as it stands; those that are none of ASCII's all count as one that no name has. */
static int regex_take_character(Regex *regex)
{
    int size = pg_mblen(regex->at);
    int character = size == 1 ? (unsigned char)*regex->at : NOT_ASCII;
    regex->at += Min(size, regex->end - regex->at);
    return character < ASCII_COUNT ? character : NOT_ASCII;
}

static int regex_take_hex(Regex *regex)
{
    bool braces = regex_skip(regex, "{");
    int number = 0;
    int digits = 0;
    for (; regex->at < regex->end && isxdigit((unsigned char)*regex->at) && digits < (braces ? 8 : 2);
         digits++) {
        char text[2] = { *regex->at++, '\0' };
        number = (int)Min((int64)number * 16 + strtol(text, NULL, 16), 0x110000);
    }
    if ((braces && !regex_skip(regex, "}")) || digits < (braces ? 1 : 2) || number > 0x10FFFF) {
        regex_refuse(regex, "bad number of a character");
    }
    return number < ASCII_COUNT ? number : NOT_ASCII;
}

static int regex_take_octal(Regex *regex, int first)
{
    int number = first - '0';
    int digits = 1;
    for (; digits < 3 && regex->at < regex->end && *regex->at >= '0' && *regex->at <= '7'; digits++) {
        number = number * 8 + (*regex->at++ - '0');
    }
    if (first != '0' && digits == 1) {
        regex_refuse(regex, "there are no back-references");
    }
    return number < ASCII_COUNT ? number : NOT_ASCII;
}

/* What a backslash and these stand for, as one character. */
static int regex_take_escaped(Regex *regex)
{
    static const char letters[] = "aftnrv";
    static const char meanings[] = "\a\f\t\n\r\v";
    int c = regex->at < regex->end ? regex_take_character(regex) : NOT_ASCII;
    const char *letter = c > 0 && c < ASCII_COUNT ? strchr(letters, c) : NULL;
    if (letter) {
        return meanings[letter - letters];
    } else if (c == 'x') {
        return regex_take_hex(regex);
    } else if (c >= '0' && c <= '7') {
        return regex_take_octal(regex, c);
    } else if (c < ASCII_COUNT && !isalnum(c)) {
        return c;
    }
    regex->at--;
    regex_refuse(regex, "unknown escape");
}

/* \pL, \p{Lu}, \P{^Lu}: after the backslash. */
static bool regex_take_unicode_class(Regex *regex, CharacterSet *set)
{
    bool negated = regex_sees(regex, "P");
    if (!negated && !regex_sees(regex, "p")) {
        return false;
    }
    regex->at++;
    bool braces = regex_skip(regex, "{");
    if (braces && regex_skip(regex, "^")) {
        negated = !negated;
    }
    const char *name = regex->at;
    const char *end = braces ? memchr(name, '}', regex->end - name) : Min(name + 1, regex->end);
    const CharacterClass *class = end ? class_find(unicode_classes, name, end - name) : NULL;
    if (!class) {
        regex_refuse(regex, "names have no characters of such a class");
    }
    regex->at = end + (braces ? 1 : 0);
    set_add_class(set, class, negated, regex->folds);
    return true;
}

/* \d, \D, \pN and the like: after the backslash. */
static bool regex_take_class(Regex *regex, CharacterSet *set)
{
    if (regex->at == regex->end) {
        return false;
    }
    char letter = (char)(in_upper(*regex->at) ? *regex->at - 'A' + 'a' : *regex->at);
    const CharacterClass *class = class_find(perl_classes, &letter, 1);
    if (class) {
        set_add_class(set, class, in_upper(*regex->at), regex->folds);
        regex->at++;
        return true;
    }
    return regex_take_unicode_class(regex, set);
}

static bool regex_take_posix_class(Regex *regex, CharacterSet *set)
{
    if (!regex_skip(regex, "[:")) {
        return false;
    }
    bool negated = regex_skip(regex, "^");
    const char *name = regex->at;
    while (regex->at < regex->end && in_lower(*regex->at)) {
        regex->at++;
    }
    const CharacterClass *class = class_find(posix_classes, name, regex->at - name);
    if (!class || !regex_skip(regex, ":]")) {
        regex_refuse(regex, "unknown class of characters");
    }
    set_add_class(set, class, negated, regex->folds);
    return true;
}

static int regex_take_bound(Regex *regex)
{
    if (regex->at == regex->end) {
        regex_refuse(regex, "a ] is missing");
    }
    return regex_skip(regex, "\\") ? regex_take_escaped(regex) : regex_take_character(regex);
}

static void regex_take_range(Regex *regex, CharacterSet *set)
{
    int first = regex_take_bound(regex);
    int last = first;
    if (regex_sees(regex, "-") && !regex_sees(regex, "-]")) {
        regex->at++;
        last = regex_take_bound(regex);
    }
    if (last < first) {
        regex_refuse(regex, "a range that ends before it begins");
    }
    set_add(set, first, last, regex->folds);
}

static void regex_write_set(Regex *regex, const CharacterSet *set)
{
    set_write(set, &regex->out);
    regex->repeatable = true;
}

/* After the bracket. */
static void regex_take_set(Regex *regex)
{
    CharacterSet set = { 0 };
    bool negated = regex_skip(regex, "^");
    for (bool first = true; first || !regex_skip(regex, "]"); first = false) {
        const char *start = regex->at;
        if (regex_take_posix_class(regex, &set)) {
            continue;
        }
        if (regex_skip(regex, "\\") && regex_take_class(regex, &set)) {
            continue;
        }
        regex->at = start;
        regex_take_range(regex, &set);
    }
    for (int c = 0; negated && c < ASCII_COUNT; c++) {
        set.has[c] = !set.has[c];
    }
    regex_write_set(regex, &set);
}

static void regex_write_character(Regex *regex, int character)
{
    CharacterSet set = { 0 };
    set_add(&set, character, character, regex->folds);
    regex_write_set(regex, &set);
}

/* \Q…\E: after the Q. Gives the number of characters. */
static int regex_take_quoted(Regex *regex)
{
    int count = 0;
    regex->repeatable = false;
    while (regex->at < regex->end && !regex_skip(regex, "\\E")) {
        regex_write_character(regex, regex_take_character(regex));
        count++;
    }
    return count;
}

static void regex_write_assertion(Regex *regex, const char *text)
{
    appendStringInfoString(&regex->out, text);
    regex->repeatable = false;
}

/* After the backslash. */
static int regex_take_escape(Regex *regex)
{
    static const char *const assertions[][2] = { { "A", "^" }, { "z", "$" }, { "b", "\\y" }, { "B", "\\Y" } };
    CharacterSet set = { 0 };
    for (size_t i = 0; i < lengthof(assertions); i++) {
        if (regex_skip(regex, assertions[i][0])) {
            regex_write_assertion(regex, assertions[i][1]);
            return 1;
        }
    }
    if (regex_skip(regex, "Q")) {
        return regex_take_quoted(regex);
    }
    if (regex_take_class(regex, &set)) {
        regex_write_set(regex, &set);
    } else {
        regex_write_character(regex, regex_take_escaped(regex));
    }
    return 1;
}

static RegexSize regex_take_alternatives(Regex *regex);

static RegexSize regex_take_group(Regex *regex, bool folds)
{
    bool outer = regex->folds;
    if (++regex->depth > REGEX_DEPTH_MAX) {
        regex_refuse(regex, "groups within too many groups");
    }
    regex->folds = folds;
    appendStringInfoString(&regex->out, "(?:");
    RegexSize size = regex_take_alternatives(regex);
    if (!regex_skip(regex, ")")) {
        regex_refuse(regex, "a ) is missing");
    }
    appendStringInfoChar(&regex->out, ')');
    regex->folds = outer;
    regex->depth--;
    regex->repeatable = true;
    return size;
}

/* (?i) and (?i:…): after the question mark. Those but i are of no consequence for a name. */
static RegexSize regex_take_flags(Regex *regex)
{
    bool folds = regex->folds;
    bool clears = false;
    int flags = 0;
    for (; regex->at < regex->end && strchr("imsU-", *regex->at); regex->at++) {
        if (*regex->at == '-' && clears) {
            break;
        }
        if (*regex->at == '-') {
            clears = true;
            flags = 0;
            continue;
        }
        flags++;
        folds = *regex->at == 'i' ? !clears : folds;
    }
    if (clears && flags == 0) {
        regex_refuse(regex, "flags are missing");
    }
    if (regex_skip(regex, ":")) {
        return regex_take_group(regex, folds);
    }
    if (flags == 0 || !regex_skip(regex, ")")) {
        regex_refuse(regex, "unknown kind of group");
    }
    regex->folds = folds;
    regex->repeatable = false;
    return (RegexSize){ 0 };
}

/* After the parenthesis. */
static RegexSize regex_take_parenthesis(Regex *regex)
{
    if (!regex_skip(regex, "?")) {
        return regex_take_group(regex, regex->folds);
    }
    if (!regex_skip(regex, "P<") && !regex_skip(regex, "<")) {
        return regex_take_flags(regex);
    }
    const char *name = regex->at;
    while (regex->at < regex->end && in_word(*regex->at)) {
        regex->at++;
    }
    if (regex->at == name || !regex_skip(regex, ">")) {
        regex_refuse(regex, "bad name of a group");
    }
    return regex_take_group(regex, regex->folds);
}

static RegexSize regex_take_atom(Regex *regex)
{
    if (regex_skip(regex, "(")) {
        return regex_take_parenthesis(regex);
    } else if (regex_skip(regex, "[")) {
        regex_take_set(regex);
    } else if (regex_skip(regex, "\\")) {
        return (RegexSize){ .atoms = regex_take_escape(regex) };
    } else if (regex_skip(regex, "^")) {
        regex_write_assertion(regex, "^");
    } else if (regex_skip(regex, "$")) {
        regex_write_assertion(regex, "$");
    } else if (regex_skip(regex, ".")) {
        appendStringInfoChar(&regex->out, '.');
        regex->repeatable = true;
    } else {
        regex_write_character(regex, regex_take_character(regex));
    }
    return (RegexSize){ .atoms = 1 };
}

/* Up to five digits; -1: none. */
static int digits_read(const char **at, const char *end)
{
    int number = -1;
    for (int i = 0; i < 5 && *at < end && in_digit(**at); i++) {
        number = Max(number, 0) * 10 + (*(*at)++ - '0');
    }
    return number;
}

/* {n}, {n,} or {n,m}; anything else that begins so is text, as in RE2. */
static bool regex_take_counts(Regex *regex, int *least, int *most)
{
    const char *at = regex->at + 1;
    if (!regex_sees(regex, "{")) {
        return false;
    }
    *least = digits_read(&at, regex->end);
    *most = *least;
    if (at < regex->end && *at == ',') {
        at++;
        *most = digits_read(&at, regex->end);
    }
    if (*least < 0 || at == regex->end || *at != '}') {
        return false;
    }
    if (*least > REGEX_REPEATS_MAX || *most > REGEX_REPEATS_MAX || (*most >= 0 && *most < *least)) {
        regex_refuse(regex, "bad number of repetitions (at most 255)");
    }
    regex->at = at + 1;
    return true;
}

/* The operator behind what was read, if there is one. least and most: how often that is written out, at least
 * and at most. */
static bool regex_take_repetition(Regex *regex, int *least, int *most)
{
    static const char *const operators[] = { "*", "+", "?" };
    for (size_t i = 0; i < lengthof(operators); i++) {
        if (regex_skip(regex, operators[i])) {
            appendStringInfoString(&regex->out, operators[i]);
            *least = 0;
            *most = 1;
            return true;
        }
    }
    if (!regex_take_counts(regex, least, most)) {
        return false;
    }
    if (*most < 0) {
        appendStringInfo(&regex->out, "{%d,}", *least);
        *most = *least + 1;
    } else {
        appendStringInfo(&regex->out, "{%d,%d}", *least, *most);
    }
    return true;
}

static RegexSize size_repeat(RegexSize size, int least, int most)
{
    return (RegexSize){ .atoms = size.atoms * Max(most, 1),
                        .loops = size.loops * Max(most, 1) + most - least };
}

static RegexSize size_add(const Regex *regex, RegexSize a, RegexSize b)
{
    RegexSize sum = { .atoms = a.atoms + b.atoms, .loops = a.loops + b.loops };
    if (sum.atoms * (1 + sum.loops) > REGEX_COST_MAX) {
        regex_refuse(regex, "too large, or too many repetitions");
    }
    return sum;
}

static bool regex_at_end_of_sequence(Regex *regex)
{
    const char *start = regex->at;
    int least;
    int most;
    if (regex_take_repetition(regex, &least, &most)) {
        regex->at = start;
        regex_refuse(regex, "nothing that could be repeated");
    }
    return regex->at == regex->end || *regex->at == '|' || *regex->at == ')';
}

static RegexSize regex_take_sequence(Regex *regex)
{
    RegexSize size = { 0 };
    regex->repeatable = false;
    while (!regex_at_end_of_sequence(regex)) {
        int least = 1;
        int most = 1;
        RegexSize atom = regex_take_atom(regex);
        if (regex->repeatable && regex_take_repetition(regex, &least, &most)) {
            (void)regex_skip(regex, "?"); /* greediness */
        }
        size = size_add(regex, size, size_repeat(atom, least, most));
    }
    size.atoms = Max(size.atoms, 1); /* nothing, repeated, makes states, too */
    return size;
}

static RegexSize regex_take_alternatives(Regex *regex)
{
    RegexSize size = regex_take_sequence(regex);
    while (regex_skip(regex, "|")) {
        appendStringInfoChar(&regex->out, '|');
        size = size_add(regex, size, regex_take_sequence(regex));
    }
    return size;
}

Datum streamhouse_regex_translate(PG_FUNCTION_ARGS)
{
    text *argument = PG_GETARG_TEXT_PP(0);
    Regex regex = { .whole = "" };
    if (VARSIZE_ANY_EXHDR(argument) > REGEX_BYTES_MAX) {
        ereport(ERROR, errcode(MAKE_SQLSTATE('S', 'H', '1', '2', '8')),
                errmsg("a regular expression of %d bytes is too long", (int)VARSIZE_ANY_EXHDR(argument)),
                errhint("It may have %d bytes.", REGEX_BYTES_MAX));
    }
    regex.whole = regex.at = text_to_cstring(argument);
    regex.end = regex.at + strlen(regex.at);
    initStringInfo(&regex.out);
    appendStringInfoString(&regex.out, "^(?:");
    (void)regex_take_alternatives(&regex);
    if (regex.at < regex.end) {
        regex_refuse(&regex, "a ) without its (");
    }
    appendStringInfoString(&regex.out, ")$");
    PG_RETURN_TEXT_P(cstring_to_text_with_len(regex.out.data, regex.out.len));
}
