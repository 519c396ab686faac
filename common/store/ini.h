/* ini.h: one section of a file like ~/.aws/credentials. */
#ifndef STREAMHOUSE_INI_H
#define STREAMHOUSE_INI_H

#include "common/slice.h"

/* Called with each setting of the section, in order; both are views of the text, trimmed. */
typedef void IniSetting(Slice name, Slice value, void *arg);

/* Walks the settings of [section]. Lines that begin with a space belong to the setting above (nested ones of
 * "s3 =") and are passed over, as are comments (# or ;). False when there is no such section. */
bool ini_section_walk(Slice text, const char *section, IniSetting *setting, void *arg);

#endif
