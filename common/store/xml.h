/* xml.h: a pull parser for the XML that S3 and STS answer with: elements and text, no attributes wanted, no
 * namespaces, no entities but the five of XML and character numbers. Not a validating parser; whatever it is
 * given, it stays within the bytes and ends. */
#ifndef STREAMHOUSE_XML_H
#define STREAMHOUSE_XML_H

#include "common/arena.h"
#include "common/reader.h"
#include "common/slice.h"

enum { XML_DEPTH_MAX = 16 };

typedef enum XmlEvent {
    XML_END,   /* no more */
    XML_OPEN,  /* an element began: its name is on top of the path */
    XML_CLOSE, /* the element on top of the path ends with this event; its text, if it held nothing else, is
                  in text */
    XML_BROKEN
} XmlEvent;

typedef struct Xml {
    Reader in;
    Slice path[XML_DEPTH_MAX]; /* names from the root to the element at hand */
    int depth;
    Slice text;   /* raw, of the element at hand; xml_text() decodes it */
    bool closing; /* the last event was XML_CLOSE: its name leaves the path with the next */
    bool is_empty_element;
} Xml;

void xml_begin(Xml *xml, Slice document);
XmlEvent xml_next(Xml *xml);

/* Whether the element at hand has this name, inside a parent of that one (NULL: any). */
bool xml_is(const Xml *xml, const char *parent, const char *name);

/* The text decoded, in the arena; NULL when the arena is full or an entity is broken. */
char *xml_text(const Xml *xml, Arena *arena);

/* The first element with this name anywhere: its decoded text, or NULL. */
char *xml_find(Slice document, const char *name, Arena *arena);

#endif
