/* jsonb_text.h: jsonb as text, as PostgreSQL writes it, but faster. */
#ifndef STREAMHOUSE_JSONB_TEXT_H
#define STREAMHOUSE_JSONB_TEXT_H

#include "postgres.h"

#include "common/slice.h"
#include "utils/jsonb.h"

/* The same bytes as json::text, in the current memory context. */
extern Slice slice_of_jsonb(Jsonb *json);

#endif
