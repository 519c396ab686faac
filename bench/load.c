/* load.c: puts load on anything that speaks Kafka, through librdkafka, and prints what it measured as one
 * line of JSON. `load create` and `load delete` make and remove a topic; `load produce` sends as fast as it
 * can for
 * --seconds and then waits for the last acknowledgement; `load consume` reads what the topic holds when it
 * starts, for --seconds at most; `load pace` sends --rate records a second and times each until it is
 * acknowledged. Records are the same bytes in every run: half of each is words, half noise, so that they
 * compress about as much as real ones do. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <librdkafka/rdkafka.h>

#define POOL_BYTES     (16 << 20) /* beyond any codec's window: a record's twin is never near it */
#define PARTITIONS_MAX 1000
#define SETTINGS_MAX   32
#define CONSUME_BATCH  2000
#define PRODUCE_BURST  200
#define WARM_UP_S      1.0 /* of a paced run, not counted */
#define TIMEOUT_MS     30000

typedef struct {
    const char *name;
    const char *value;
} Setting;

typedef struct {
    const char *brokers;
    const char *topic;
    int partitions;
    int record_bytes;
    int rate;
    double seconds;
    Setting client[SETTINGS_MAX]; /* librdkafka's, from -X name=value */
    int client_count;
    Setting config[SETTINGS_MAX]; /* the topic's, from --config name=value */
    int config_count;
} Options;

typedef struct {
    char *bytes;
    int record_bytes;
    int count;
    int next;
} Pool;

/* What delivery reports add up to. One thread writes it: whoever calls rd_kafka_poll(). */
typedef struct {
    int64_t acknowledged;
    int64_t failed;
    rd_kafka_resp_err_t failure; /* the first one */
    int64_t *latency_ns;         /* by record, of a paced run; NULL otherwise */
    volatile bool over;          /* tells the polling thread of a paced run to end */
} Deliveries;

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double seconds_since(int64_t start_ns)
{
    return (double)(now_ns() - start_ns) / 1e9;
}

/* CPU time of this process, librdkafka's threads included: the same cores serve the broker. */
static double own_cpu_s(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Vigna's splitmix64: good enough noise, the same on every run. */
static uint64_t noise_next(uint64_t *state)
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15;

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

static void fill_words(char *out, int size, uint64_t *noise)
{
    static const char *const words[] = {
        "order",    "customer", "amount",  "currency", "shipped", "warehouse", "pending", "invoice",
        "region",   "quantity", "product", "price",    "status",  "created",   "updated", "account",
        "delivery", "address",  "country", "payment",  "method",  "discount",  "total",   "reference",
        "tracking", "carrier",  "event",   "source",   "session", "device",    "browser", "campaign",
    };
    int used = 0;

    while (used < size) {
        const char *word = words[noise_next(noise) % (sizeof words / sizeof *words)];
        int left = size - used;

        used += snprintf(out + used, (size_t)left, "%s ", word) < left ? (int)strlen(word) + 1 : left;
    }
    out[size - 1] = ' ';
}

static void fill_noise(char *out, int size, uint64_t *noise)
{
    for (int i = 0; i < size; i++)
        out[i] = (char)noise_next(noise);
}

static Pool pool_make(int record_bytes)
{
    Pool pool = { .record_bytes = record_bytes, .count = POOL_BYTES / record_bytes };
    uint64_t noise = 1;

    pool.bytes = malloc((size_t)pool.count * (size_t)record_bytes);
    if (pool.bytes == NULL)
        die("no memory for the records");
    for (int i = 0; i < pool.count; i++) {
        char *record = pool.bytes + (size_t)i * (size_t)record_bytes;

        fill_words(record, record_bytes / 2, &noise);
        fill_noise(record + record_bytes / 2, record_bytes - record_bytes / 2, &noise);
    }
    return pool;
}

static void *pool_next(Pool *pool)
{
    char *record = pool->bytes + (size_t)pool->next * (size_t)pool->record_bytes;

    pool->next = pool->next + 1 < pool->count ? pool->next + 1 : 0;
    return record;
}

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    Deliveries *deliveries = opaque;

    (void)client;
    if (message->err != 0) {
        if (deliveries->failed++ == 0)
            deliveries->failure = message->err;
        return;
    }
    deliveries->acknowledged++;
    if (deliveries->latency_ns != NULL) {
        int64_t *latency = message->_private;

        *latency = now_ns() - *latency;
    }
}

static void client_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[256];

    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        die("%s", error);
}

static rd_kafka_t *client_open(const Options *options, rd_kafka_type_t type, Deliveries *deliveries)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *client;
    char error[256];

    client_set(conf, "bootstrap.servers", options->brokers);
    for (int i = 0; i < options->client_count; i++)
        client_set(conf, options->client[i].name, options->client[i].value);
    if (deliveries != NULL) {
        rd_kafka_conf_set_opaque(conf, deliveries);
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    }
    client = rd_kafka_new(type, conf, error, sizeof error);
    if (client == NULL)
        die("%s", error);
    return client;
}

static void sleep_until_ns(int64_t when_ns)
{
    struct timespec when = { .tv_sec = when_ns / 1000000000, .tv_nsec = when_ns % 1000000000 };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        ;
}

/* A topic that was just created may take a moment to be known. */
static void query_range(rd_kafka_t *client, const Options *options, int partition, int64_t *low,
                        int64_t *high)
{
    int64_t start_ns = now_ns();
    rd_kafka_resp_err_t error;

    for (;;) {
        error = rd_kafka_query_watermark_offsets(client, options->topic, partition, low, high, TIMEOUT_MS);
        if (error == 0)
            return;
        if (seconds_since(start_ns) * 1000 > TIMEOUT_MS)
            die("%s [%d]: %s", options->topic, partition, rd_kafka_err2str(error));
        sleep_until_ns(now_ns() + 50000000);
    }
}

/* Opens the topic and connects to its leader, so that neither is timed. */
static rd_kafka_topic_t *topic_open(rd_kafka_t *client, const Options *options)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, options->topic, NULL);
    int64_t low, high;

    if (topic == NULL)
        die("cannot open topic %s", options->topic);
    for (int partition = 0; partition < options->partitions; partition++)
        query_range(client, options, partition, &low, &high);
    return topic;
}

static void produce_one(rd_kafka_t *client, rd_kafka_topic_t *topic, Pool *pool, void *opaque)
{
    while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, 0, pool_next(pool), (size_t)pool->record_bytes,
                            NULL, 0, opaque) != 0) {
        rd_kafka_resp_err_t error = rd_kafka_last_error();

        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("cannot produce: %s", rd_kafka_err2str(error));
        rd_kafka_poll(client, 10);
    }
}

static void require_delivered(const Deliveries *deliveries, int still_waiting)
{
    if (deliveries->failed > 0 || still_waiting > 0)
        die("%" PRId64 " records failed (%s), %d were never answered", deliveries->failed,
            rd_kafka_err2str(deliveries->failure), still_waiting);
}

static int command_produce(const Options *options)
{
    Deliveries deliveries = { 0 };
    rd_kafka_t *client = client_open(options, RD_KAFKA_PRODUCER, &deliveries);
    rd_kafka_topic_t *topic = topic_open(client, options);
    Pool pool = pool_make(options->record_bytes);
    double cpu_s = own_cpu_s();
    int64_t start_ns = now_ns();
    double elapsed_s;

    while (seconds_since(start_ns) < options->seconds) {
        for (int i = 0; i < PRODUCE_BURST; i++)
            produce_one(client, topic, &pool, NULL);
        rd_kafka_poll(client, 0);
    }
    rd_kafka_flush(client, TIMEOUT_MS);
    elapsed_s = seconds_since(start_ns);
    require_delivered(&deliveries, rd_kafka_outq_len(client));
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.6f, \"client_cpu_s\": %.3f}\n",
           deliveries.acknowledged, deliveries.acknowledged * options->record_bytes, elapsed_s,
           own_cpu_s() - cpu_s);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    free(pool.bytes);
    return 0;
}

typedef struct {
    int64_t next[PARTITIONS_MAX];
    int64_t end[PARTITIONS_MAX];
    int64_t records;
    int64_t bytes;
    int64_t missing; /* records still to come */
} Progress;

static Progress *consume_start(rd_kafka_t *client, rd_kafka_topic_t *topic, rd_kafka_queue_t *queue,
                               const Options *options)
{
    Progress *progress = calloc(1, sizeof *progress);

    if (progress == NULL)
        die("no memory");
    for (int partition = 0; partition < options->partitions; partition++) {
        query_range(client, options, partition, &progress->next[partition], &progress->end[partition]);
        progress->missing += progress->end[partition] - progress->next[partition];
    }
    for (int partition = 0; partition < options->partitions; partition++)
        if (rd_kafka_consume_start_queue(topic, partition, progress->next[partition], queue) != 0)
            die("cannot consume: %s", rd_kafka_err2str(rd_kafka_last_error()));
    return progress;
}

/* Offsets must come in order and without gaps: whoever skips records is not fast. */
static void consume_one(Progress *progress, const rd_kafka_message_t *message)
{
    if (message->err != 0)
        die("[%d]: %s", message->partition, rd_kafka_message_errstr(message));
    if (message->offset != progress->next[message->partition])
        die("[%d]: offset %" PRId64 " came instead of %" PRId64, message->partition, message->offset,
            progress->next[message->partition]);
    progress->next[message->partition]++;
    progress->records++;
    progress->bytes += (int64_t)message->len;
    progress->missing--;
}

static int command_consume(const Options *options)
{
    static rd_kafka_message_t *messages[CONSUME_BATCH];
    rd_kafka_t *client = client_open(options, RD_KAFKA_CONSUMER, NULL);
    rd_kafka_topic_t *topic = topic_open(client, options);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    double cpu_s = own_cpu_s();
    int64_t start_ns = now_ns();
    Progress *progress = consume_start(client, topic, queue, options);

    while (progress->missing > 0 && seconds_since(start_ns) < options->seconds) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 100, messages, CONSUME_BATCH);

        for (ssize_t i = 0; i < count; i++) {
            consume_one(progress, messages[i]);
            rd_kafka_message_destroy(messages[i]);
        }
    }
    printf("{\"records\": %" PRId64 ", \"bytes\": %" PRId64 ", \"seconds\": %.6f, \"client_cpu_s\": %.3f, "
           "\"missing\": %" PRId64 "}\n",
           progress->records, progress->bytes, seconds_since(start_ns), own_cpu_s() - cpu_s,
           progress->missing);
    fflush(stdout);
    _exit(0); /* tearing a consumer down that still has records queued takes longer than it is worth */
}

static int compare_int64(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

typedef struct {
    rd_kafka_t *client;
    Deliveries *deliveries;
} Poller;

static void *poll_until_over(void *argument)
{
    Poller *poller = argument;

    while (!poller->deliveries->over)
        rd_kafka_poll(poller->client, 100);
    return NULL;
}

/* A record is timed from when it was due, so that a producer that was held up does not hide it. */
static void pace_records(rd_kafka_t *client, rd_kafka_topic_t *topic, const Options *options,
                         int64_t *latency_ns, int count)
{
    Pool pool = pool_make(options->record_bytes);
    int64_t start_ns = now_ns();

    for (int i = 0; i < count; i++) {
        latency_ns[i] = start_ns + (int64_t)i * 1000000000 / options->rate;
        sleep_until_ns(latency_ns[i]);
        produce_one(client, topic, &pool, &latency_ns[i]);
    }
    rd_kafka_flush(client, TIMEOUT_MS);
    free(pool.bytes);
}

static int command_pace(const Options *options)
{
    int count = (int)(options->rate * options->seconds), warm_up = (int)(options->rate * WARM_UP_S);
    int64_t *latency_ns = calloc((size_t)count, sizeof *latency_ns);
    Deliveries deliveries = { .latency_ns = latency_ns };
    rd_kafka_t *client = client_open(options, RD_KAFKA_PRODUCER, &deliveries);
    rd_kafka_topic_t *topic = topic_open(client, options);
    Poller poller = { client, &deliveries };
    pthread_t thread;
    int counted = count - warm_up;

    if (latency_ns == NULL || counted < 100)
        die("a paced run needs --seconds above %.0f", WARM_UP_S);
    if (pthread_create(&thread, NULL, poll_until_over, &poller) != 0)
        die("cannot start a thread");
    pace_records(client, topic, options, latency_ns, count);
    deliveries.over = true;
    pthread_join(thread, NULL);
    require_delivered(&deliveries, rd_kafka_outq_len(client));
    qsort(latency_ns + warm_up, (size_t)counted, sizeof *latency_ns, compare_int64);
    printf("{\"records\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n", count,
           (double)latency_ns[warm_up + counted / 2] / 1e6,
           (double)latency_ns[warm_up + counted * 99 / 100] / 1e6, (double)latency_ns[count - 1] / 1e6);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    free(latency_ns);
    return 0;
}

/* The error of an admin answer about one topic, or 0. */
static rd_kafka_resp_err_t topic_answer(rd_kafka_event_t *event)
{
    const rd_kafka_topic_result_t **results = NULL;
    size_t count = 0;

    if (rd_kafka_event_error(event) != 0)
        return rd_kafka_event_error(event);
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
        results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    else
        results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    return count == 1 ? rd_kafka_topic_result_error(results[0]) : RD_KAFKA_RESP_ERR_UNKNOWN;
}

static void ask_create(rd_kafka_t *client, const Options *options, rd_kafka_queue_t *queue)
{
    char error[256];
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(options->topic, options->partitions, 1, error, sizeof error);

    if (topic == NULL)
        die("%s", error);
    for (int i = 0; i < options->config_count; i++)
        rd_kafka_NewTopic_set_config(topic, options->config[i].name, options->config[i].value);
    rd_kafka_CreateTopics(client, &topic, 1, NULL, queue);
    rd_kafka_NewTopic_destroy(topic);
}

static void ask_delete(rd_kafka_t *client, const Options *options, rd_kafka_queue_t *queue)
{
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(options->topic);

    rd_kafka_DeleteTopics(client, &topic, 1, NULL, queue);
    rd_kafka_DeleteTopic_destroy(topic);
}

static int command_topic(const Options *options,
                         void (*ask)(rd_kafka_t *, const Options *, rd_kafka_queue_t *))
{
    rd_kafka_t *client = client_open(options, RD_KAFKA_PRODUCER, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_event_t *event;

    ask(client, options, queue);
    event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
    if (event == NULL)
        die("no answer in %d s", TIMEOUT_MS / 1000);
    if (topic_answer(event) != 0)
        die("%s: %s", options->topic, rd_kafka_err2str(topic_answer(event)));
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
    printf("{}\n");
    return 0;
}

static int command_create(const Options *options)
{
    return command_topic(options, ask_create);
}

static int command_delete(const Options *options)
{
    return command_topic(options, ask_delete);
}

static void setting_add(Setting *settings, int *count, char *assignment)
{
    char *equals = strchr(assignment, '=');

    if (equals == NULL || *count == SETTINGS_MAX)
        die("name=value expected, at most %d times: %s", SETTINGS_MAX, assignment);
    *equals = '\0';
    settings[(*count)++] = (Setting){ assignment, equals + 1 };
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);

    if (*end != '\0' || !(value >= least && value <= most))
        die("%s: a number from %g to %g is expected", text, least, most);
    return value;
}

static Options options_parse(int count, char **arguments)
{
    static const struct option names[] = {
        { "brokers", required_argument, NULL, 'b' },    { "topic", required_argument, NULL, 't' },
        { "partitions", required_argument, NULL, 'p' }, { "record-bytes", required_argument, NULL, 's' },
        { "seconds", required_argument, NULL, 'd' },    { "rate", required_argument, NULL, 'r' },
        { "config", required_argument, NULL, 'c' },     { NULL, 0, NULL, 0 },
    };
    Options options = { .partitions = 1, .record_bytes = 1024, .seconds = 5, .rate = 1000 };
    int option;

    while ((option = getopt_long(count, arguments, "X:", names, NULL)) != -1) {
        switch (option) {
        case 'b':
            options.brokers = optarg;
            break;
        case 't':
            options.topic = optarg;
            break;
        case 'p':
            options.partitions = (int)number(optarg, 1, PARTITIONS_MAX);
            break;
        case 's':
            options.record_bytes = (int)number(optarg, 16, 1000000);
            break;
        case 'd':
            options.seconds = number(optarg, 0.1, 3600);
            break;
        case 'r':
            options.rate = (int)number(optarg, 1, 1000000);
            break;
        case 'c':
            setting_add(options.config, &options.config_count, optarg);
            break;
        case 'X':
            setting_add(options.client, &options.client_count, optarg);
            break;
        default:
            exit(2);
        }
    }
    if (options.brokers == NULL || options.topic == NULL)
        die("--brokers and --topic are needed");
    return options;
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        int (*run)(const Options *options);
    } commands[] = {
        { "create", command_create },   { "delete", command_delete }, { "produce", command_produce },
        { "consume", command_consume }, { "pace", command_pace },
    };

    for (size_t i = 0; count > 1 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(arguments[1], commands[i].name) == 0) {
            Options options = options_parse(count - 1, arguments + 1);

            return commands[i].run(&options);
        }
    die("create, delete, produce, consume or pace is expected");
}
