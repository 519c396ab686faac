/* character_set.c: sets of the 65 characters that names of topics are made of (topic_check_name()), and the
 * classes by which regular expressions name some of them. */
#include "compat.h"
#include "character_set.h"

static const char name_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
/* No name has any of these. */
static const char no_character[] = "[^A-Za-z0-9._-]";

bool in_digit(int c)
{
    return c >= '0' && c <= '9';
}

bool in_lower(int c)
{
    return c >= 'a' && c <= 'z';
}

bool in_upper(int c)
{
    return c >= 'A' && c <= 'Z';
}

static bool in_alpha(int c)
{
    return in_lower(c) || in_upper(c);
}

static bool in_alnum(int c)
{
    return in_alpha(c) || in_digit(c);
}

bool in_word(int c)
{
    return in_alnum(c) || c == '_';
}

static bool in_hex(int c)
{
    return in_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool in_punct(int c)
{
    return c == '.' || c == '_' || c == '-';
}

static bool in_connector(int c)
{
    return c == '_';
}

static bool in_dash(int c)
{
    return c == '-';
}

static bool in_point(int c)
{
    return c == '.';
}

static bool in_all(int c)
{
    (void)c;
    return true;
}

static bool in_none(int c)
{
    (void)c;
    return false;
}

const CharacterClass posix_classes[] = {
    { "alnum", in_alnum }, { "alpha", in_alpha }, { "ascii", in_all },  { "blank", in_none },
    { "cntrl", in_none },  { "digit", in_digit }, { "graph", in_all },  { "lower", in_lower },
    { "print", in_all },   { "punct", in_punct }, { "space", in_none }, { "upper", in_upper },
    { "word", in_word },   { "xdigit", in_hex },  { NULL, NULL },
};

/* Categories and scripts of Unicode that have characters of names; others would be mistakes. */
const CharacterClass unicode_classes[] = {
    { "Any", in_all }, { "L", in_alpha },  { "Lu", in_upper },    { "Ll", in_lower },
    { "N", in_digit }, { "Nd", in_digit }, { "P", in_punct },     { "Pc", in_connector },
    { "Pd", in_dash }, { "Po", in_point }, { "Latin", in_alpha }, { NULL, NULL },
};

const CharacterClass perl_classes[] = {
    { "d", in_digit },
    { "w", in_word },
    { "s", in_none },
    { NULL, NULL },
};

const CharacterClass *class_find(const CharacterClass *classes, const char *name, size_t size)
{
    for (; classes->name; classes++) {
        if (strlen(classes->name) == size && memcmp(classes->name, name, size) == 0) {
            return classes;
        }
    }
    return NULL;
}

static int other_case(int c)
{
    return in_lower(c) ? c - 'a' + 'A' : in_upper(c) ? c - 'A' + 'a' : c;
}

void set_add(CharacterSet *set, int first, int last, bool folds)
{
    for (int c = first; c <= last && c < ASCII_COUNT; c++) {
        set->has[c] = true;
        if (folds) {
            set->has[other_case(c)] = true;
        }
    }
}

void set_add_class(CharacterSet *set, const CharacterClass *class, bool negated, bool folds)
{
    CharacterSet members = { 0 };
    for (const char *c = name_characters; *c; c++) {
        if (class->has(*c)) {
            set_add(&members, *c, *c, folds);
        }
    }
    for (int c = 0; c < ASCII_COUNT; c++) {
        set->has[c] = set->has[c] || members.has[c] != negated;
    }
}

void set_write(const CharacterSet *set, StringInfo out)
{
    char members[sizeof(name_characters)];
    int count = 0;
    for (const char *c = name_characters; *c; c++) {
        if (set->has[(int)*c]) {
            members[count++] = *c;
        }
    }
    members[count] = '\0';
    if (count == 0) {
        appendStringInfoString(out, no_character);
    } else if (count == (int)sizeof(name_characters) - 1) {
        appendStringInfoChar(out, '.');
    } else if (count == 1 && members[0] != '.') {
        appendStringInfoChar(out, members[0]);
    } else {
        appendStringInfo(out, "[%s]", members); /* a hyphen is the last one */
    }
}
