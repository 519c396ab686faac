# generate.mk: kafka_messages.[ch] from the schema text. Included by build.mk.

.DEFAULT_GOAL := all

KAFKA_SCHEMA      := $(sort $(wildcard agent/kafka/schema/*.schema))
KAFKA_CODEGEN     := tools/kafka-codegen tools/kafka_schema.py
GENERATED_SOURCES := $(BUILD)/generated/kafka_messages.c
GENERATED_HEADERS := $(BUILD)/generated/kafka_messages.h

# One run writes both files.
$(GENERATED_SOURCES) $(GENERATED_HEADERS) &: $(KAFKA_SCHEMA) $(KAFKA_CODEGEN)
	$(PYTHON) -B tools/kafka-codegen $(BUILD)/generated $(KAFKA_SCHEMA)
