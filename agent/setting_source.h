/* setting_source.h: the places settings are read from: a file's text, the environment, the command line. Each
 * overwrites what was there. */
#ifndef STREAMHOUSE_AGENT_SETTING_SOURCE_H
#define STREAMHOUSE_AGENT_SETTING_SOURCE_H

#include "agent/settings.h"
#include "common/slice.h"

enum { SETTING_FILE_MAX = 1024 * 1024 };

/* The values of a file, whose name is settings->file. */
MUST_CHECK Status settings_take_text(Settings *settings, Slice text);
/* Opens settings->file. */
MUST_CHECK Status settings_take_file(Settings *settings);
MUST_CHECK Status settings_take_environment(Settings *settings, char **environment);
/* Argument 0 is skipped. */
MUST_CHECK Status settings_take_flags(Settings *settings, int count, char **arguments);

/* What the command line asks for, and the file that it or the environment names (NULL: none). */
MUST_CHECK Status settings_find_action(int count, char **arguments, char **environment,
                                       SettingsAction *action, const char **file);

#endif
