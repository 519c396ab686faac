/* character_set.h: sets of the characters that names of topics are made of. */
#ifndef STREAMHOUSE_CHARACTER_SET_H
#define STREAMHOUSE_CHARACTER_SET_H

#include "postgres.h"

#include "lib/stringinfo.h"

enum { ASCII_COUNT = 128 };

typedef struct CharacterSet {
    bool has[ASCII_COUNT];
} CharacterSet;

typedef struct CharacterClass {
    const char *name;
    bool (*has)(int character); /* of those that names are made of */
} CharacterClass;

/* Classes of regular expressions: [[:alpha:]], \pL and \d. */
extern const CharacterClass posix_classes[];
extern const CharacterClass unicode_classes[];
extern const CharacterClass perl_classes[];

/* NULL: not in the table. */
extern const CharacterClass *class_find(const CharacterClass *classes, const char *name, size_t size);

extern bool in_digit(int character);
extern bool in_lower(int character);
extern bool in_upper(int character);
extern bool in_word(int character);

/* folds: with the other case of each letter. What is not ASCII is left out. */
extern void set_add(CharacterSet *set, int first, int last, bool folds);
extern void set_add_class(CharacterSet *set, const CharacterClass *class, bool negated, bool folds);

/* Appends it as an element of a regular expression of PostgreSQL's. */
extern void set_write(const CharacterSet *set, StringInfo out);

#endif
