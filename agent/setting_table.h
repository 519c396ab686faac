/* setting_table.h: every setting, one row each; included several times with SECTION and SETTING defined
 * (settings.h).
 *
 *   SETTING(name, TYPE, default, minimum, maximum, choices, flags, help)
 *
 * TYPE       field of struct Settings   written as
 * TEXT       char *, never NULL         anything
 * CHOICE     int, index in choices      one of choices, "a|b|c"
 * BOOL       bool                       yes no on off true false 1 0
 * COUNT      int                        12
 * PORT       int                        9092; minimum 0 where the system may choose one
 * BYTES      int64_t                    512, 64KiB, 8MiB, 1GiB
 * DURATION   int64_t, in ms             250 (ms), 250ms, 5s, 10min, 1h; the name ends in _ms
 *
 * flags      SECRET (never shown), CONNINFO (a libpq string, shown without its secret parts), RELOADABLE
 * (SIGHUP), AUTOMATIC ("auto" is allowed; settings_load() resolves it, as the help says; PORT auto stays 0)
 */
/* clang-format off */
SECTION("Agent")
SETTING(agent_name, TEXT, "auto", 1, 249, "", AUTOMATIC,
        "Name of this agent, the same after a restart and unlike any other agent's. auto: the host's name and the Kafka port, like host-9092.")
SETTING(zone, TEXT, "", 0, 249, "", 0,
        "Availability zone, told to clients as the broker's rack. Empty: none.")
SETTING(agent_group, TEXT, "", 0, 249, "", 0,
        "Group of agents this one belongs to. A topic with streamhouse.agent.group is led by agents of that group, as long as one is alive. Empty: none.")
SETTING(lease_weight, COUNT, "100", 1, 10000, "", RELOADABLE,
        "Share of the partitions that this agent leads, compared with the other agents'.")
SETTING(worker_threads, COUNT, "4", 1, 128, "", 0,
        "Threads for reading and writing a folder store, and for checksums of objects. More than put_parallel, so that reads go on.")
SETTING(drain_timeout_ms, DURATION, "30s", 0, 3600000, "", RELOADABLE,
        "After SIGTERM, how long accepted requests may take to be finished before the agent exits anyway.")
SETTING(core_dumps, BOOL, "no", 0, 0, "", 0,
        "Whether a crash may write a core file. It holds records and passwords.")
SETTING(log_level, CHOICE, "info", 0, 0, "debug|info|warn|error", RELOADABLE,
        "The least important lines that are logged.")
SETTING(log_format, CHOICE, "text", 0, 0, "text|json", RELOADABLE,
        "How log lines on standard error look: for people or for machines.")

SECTION("Kafka listener")
SETTING(kafka_host, TEXT, "127.0.0.1", 1, 255, "", 0,
        "Address Kafka clients connect to. 0.0.0.0 or :: for every interface; there is no authentication yet, so mind the network.")
SETTING(kafka_port, PORT, "9092", 0, 65535, "", 0,
        "Port Kafka clients connect to; 0 lets the system choose.")
SETTING(advertised_host, TEXT, "auto", 1, 255, "", AUTOMATIC,
        "Host name that clients and other agents are told. auto: kafka_host, or the host's name when that is every interface.")
SETTING(advertised_port, PORT, "auto", 0, 65535, "", AUTOMATIC,
        "Port that clients are told. auto: the one listened on.")
SETTING(connections_max, COUNT, "10000", 1, 1000000, "", RELOADABLE,
        "Most Kafka connections at a time. For a further one makes way who has connected and never asked for anything, else who has been idle the longest; it is closed when all are busy.")
SETTING(connection_idle_ms, DURATION, "10min", 1000, 86400000, "", RELOADABLE,
        "A Kafka connection without a request for this long is closed.")
SETTING(connection_requests_max, COUNT, "64", 1, 10000, "", RELOADABLE,
        "Requests of one connection that are worked on at a time; more wait in its socket.")
SETTING(frame_bytes_max, BYTES, "100MiB", 1024, 1073741824, "", RELOADABLE,
        "Largest Kafka request; a connection that announces a larger one is closed.")
SETTING(unsent_bytes_max, BYTES, "256MiB", 1048576, 1099511627776, "", 0,
        "Most bytes of replies that clients have not taken yet. Beyond it, clients that take nothing for two seconds are cut off; a reply that would make it twice as much is not sent, and its connection is closed.")
SETTING(auto_create_topics, BOOL, "yes", 0, 0, "", RELOADABLE,
        "Whether a client that asks for an unknown topic gets it created.")
SETTING(default_partitions, COUNT, "1", 1, 10000, "", RELOADABLE,
        "Partitions of topics that are created without a number.")

SETTING(group_members_bytes_max, BYTES, "16MiB", 0, 1099511627776, "", RELOADABLE,
        "Memory for members of consumer groups (group.protocol=consumer), about 300 bytes each, whose heartbeats are answered without asking PostgreSQL; those of more members are asked.")

SECTION("HTTP listener")
SETTING(http_host, TEXT, "127.0.0.1", 1, 255, "", 0,
        "Address of /health, /live, /ready and /metrics.")
SETTING(http_port, PORT, "8080", 0, 65535, "", 0,
        "Port of the HTTP listener; 0 lets the system choose.")
SETTING(http_connections_max, COUNT, "128", 1, 10000, "", 0,
        "Most HTTP connections at a time.")
SETTING(http_idle_ms, DURATION, "30s", 1000, 3600000, "", 0,
        "An HTTP connection without traffic for this long is closed (whole seconds).")

SECTION("PostgreSQL")
SETTING(database, TEXT, "", 0, 4096, "", CONNINFO,
        "libpq connection string, like host=db dbname=streamhouse user=agent or postgresql://agent@db/streamhouse. What it leaves out comes from PGHOST, PGPORT, PGUSER, PGDATABASE and ~/.pgpass, which is the place for a password.")
SETTING(database_timeout_ms, DURATION, "30s", 1000, 600000, "", RELOADABLE,
        "An answer of PostgreSQL that takes longer closes the connection; a commit is then asked for again.")
SETTING(database_retry_ms, DURATION, "5s", 10, 600000, "", RELOADABLE,
        "Longest pause between two attempts to connect to PostgreSQL.")
SETTING(heartbeat_ms, DURATION, "1s", 50, 60000, "", RELOADABLE,
        "How often the agent renews its leases.")
SETTING(lease_ttl_ms, DURATION, "5s", 500, 600000, "", RELOADABLE,
        "An agent not heard of for this long loses its leases to the others. At least three heartbeats.")

SECTION("Object store")
SETTING(store, TEXT, "file:///var/lib/streamhouse", 1, 2048, "", 0,
        "Where records are kept: file:///folder or s3://bucket/prefix.")
SETTING(s3_endpoint, TEXT, "", 0, 2048, "", 0,
        "URL of an S3-compatible server, like http://127.0.0.1:9000. Empty: Amazon's, for the region.")
SETTING(s3_region, TEXT, "", 0, 64, "", 0,
        "Region of the bucket. Empty: AWS_REGION, AWS_DEFAULT_REGION, the profile's, or us-east-1.")
SETTING(s3_profile, TEXT, "", 0, 255, "", 0,
        "Profile in the AWS files. Empty: AWS_PROFILE, or default. Credentials themselves come from the environment, web identity, the profile, container or instance metadata, never from here.")
SETTING(s3_ca_file, TEXT, "", 0, 4096, "", 0,
        "PEM file with the authorities trusted for https. Empty: the system's.")
SETTING(s3_addressing, CHOICE, "auto", 0, 0, "auto|path|virtual", 0,
        "Where the bucket's name stands in a request. auto: path with s3_endpoint or a dotted bucket name, virtual (in the host name) otherwise.")
SETTING(s3_checksum, CHOICE, "auto", 0, 0, "auto|sha256|crc32c|md5|none", 0,
        "Checksum sent with an object for the server to verify. auto: crc32c over https, sha256 over http.")
SETTING(s3_conditional, CHOICE, "auto", 0, 0, "auto|on|off", 0,
        "Whether the server honours If-None-Match on PUT. auto: found out by trying.")
SETTING(s3_attempt_timeout_ms, DURATION, "10s", 100, 600000, "", 0,
        "An attempt without progress for this long is given up and made again.")
SETTING(s3_retry_base_ms, DURATION, "50ms", 1, 60000, "", 0,
        "The first retry waits up to this long, each further one up to twice as long, at most 5s.")
SETTING(put_parallel, COUNT, "auto", 1, 1024, "", AUTOMATIC,
        "Objects that are written at a time. auto: 3 in a folder, 8 on S3.")
SETTING(put_timeout_ms, DURATION, "30s", 100, 600000, "", RELOADABLE,
        "How long writing one object may take, retries included, before its producers get a retriable error.")
SETTING(get_parallel, COUNT, "auto", 1, 1024, "", AUTOMATIC,
        "Ranges of objects that are read at a time. auto: 3 in a folder, 16 on S3.")
SETTING(get_timeout_ms, DURATION, "30s", 100, 600000, "", RELOADABLE,
        "How long reading one range may take, retries included.")
SETTING(delete_parallel, COUNT, "auto", 1, 1024, "", AUTOMATIC,
        "Objects that are deleted at a time. auto: 1 in a folder, 4 on S3.")
SETTING(store_queue_max, COUNT, "1024", 1, 1000000, "", 0,
        "Reads, writes and deletions that may each wait for their turn.")
SETTING(intent_pool, COUNT, "32", 1, 32, "", RELOADABLE,
        "When fewer object keys than this are registered ahead of their use, 32 more are.")
SETTING(intent_ttl_ms, DURATION, "1h", 60000, 86400000, "", RELOADABLE,
        "How long a registered key may be committed; afterwards its object is deleted. More than ten times put_timeout_ms.")
SETTING(reap_interval_ms, DURATION, "60s", 100, 86400000, "", RELOADABLE,
        "How often objects that nothing refers to are looked for.")
SETTING(reap_objects_max, COUNT, "1000", 1, 10000, "", RELOADABLE,
        "Objects deleted in one such round.")
SETTING(retention_interval_ms, DURATION, "5min", 10, 86400000, "", RELOADABLE,
        "How often records are looked for that their topic's retention.ms or retention.bytes lets go, and how long after its start an agent does so first.")
SETTING(mover_interval_ms, DURATION, "1s", 10, 3600000, "", RELOADABLE,
        "How often records that PostgreSQL holds are looked at: whether they are to move to an object. When they are is a setting of PostgreSQL: streamhouse.inline_move_bytes and streamhouse.inline_move_age.")
SETTING(mover_bytes_max, BYTES, "64MiB", 65536, 1073741824, "", RELOADABLE,
        "Most bytes of records that move to one object. Memory for them is taken while they do.")

SECTION("Write path")
SETTING(linger_ms, DURATION, "auto", 0, 60000, "", RELOADABLE | AUTOMATIC,
        "Longest time a batch waits for company before its object is written. auto: 5ms in a folder, 100ms on S3.")
SETTING(idle_flush_ms, DURATION, "auto", 0, 60000, "", RELOADABLE | AUTOMATIC,
        "While no object is being written, the next one is as soon as no batch arrived for this long. auto: 0ms in a folder, 20ms on S3.")
SETTING(flush_bytes, BYTES, "8MiB", 1024, 1073741824, "", RELOADABLE,
        "An object is written when it has this many bytes.")
SETTING(inline_flush_bytes, BYTES, "256KiB", 0, 4194304, "", RELOADABLE,
        "Of topics with streamhouse.write.path=auto: while more bytes than this are pending, they go to an object; fewer go inline, into PostgreSQL. 0: all go to objects.")
SETTING(inline_commit_ms, DURATION, "50ms", 1, 60000, "", RELOADABLE,
        "While PostgreSQL takes longer than this for a commit (smoothed), records of such topics go to objects.")
SETTING(inline_rate_bytes, BYTES, "8MiB", 1024, 1073741824, "", RELOADABLE,
        "Bytes a second that may go inline; what is more goes to objects, unless its topic says inline.")
SETTING(inline_backlog_max, BYTES, "1GiB", 1048576, 1099511627776, "", RELOADABLE,
        "While more bytes than this wait in PostgreSQL to be moved into objects, records of such topics go to objects.")
SETTING(contended_wait_ms, DURATION, "1s", 0, 60000, "", RELOADABLE,
        "A partition that SQL transactions keep locked is waited for so long at a time, on a connection of its own, until the producer's timeout. 0: it is only tried again and again.")
SETTING(produce_bytes_max, BYTES, "256MiB", 1048576, 1099511627776, "", RELOADABLE,
        "Memory for records that are not yet durable; beyond it, producers' sockets are not read. At least frame_bytes_max.")
SETTING(validate_compressed, BOOL, "yes", 0, 0, "", RELOADABLE,
        "Whether compressed batches are decompressed to check every record, as Kafka does, and not only their checksum and header.")

SECTION("Consumer groups")
SETTING(group_initial_delay_ms, DURATION, "3s", 0, 300000, "", RELOADABLE,
        "How long a group that had no members waits for more than its first before it begins. Each one that joins meanwhile extends it, up to the members' own rebalance timeout (Kafka's group.initial.rebalance.delay.ms).")
SETTING(group_session_min_ms, DURATION, "6s", 1, 86400000, "", RELOADABLE,
        "Shortest session timeout that a member of a classic group may ask for (Kafka's group.min.session.timeout.ms).")
SETTING(group_session_max_ms, DURATION, "30min", 1, 86400000, "", RELOADABLE,
        "Longest one (Kafka's group.max.session.timeout.ms).")
SETTING(group_members_max, COUNT, "10000", 1, 1000000, "", RELOADABLE,
        "Most members of a classic group (Kafka's group.max.size).")
SETTING(group_bytes_max, BYTES, "16MiB", 65536, 1073741824, "", RELOADABLE,
        "Memory for one classic group: what its members say when they join, and their assignments. Who does not fit is refused.")
SETTING(groups_bytes_max, BYTES, "256MiB", 65536, 1099511627776, "", RELOADABLE,
        "Memory for all classic groups that this agent coordinates.")

SECTION("Read path")
SETTING(fetch_bytes_max, BYTES, "55MiB", 1024, 1073741824, "", RELOADABLE,
        "Most bytes of one Fetch reply, whatever the client asks for.")
SETTING(fetch_wait_ms, DURATION, "60s", 0, 3600000, "", RELOADABLE,
        "Longest time a Fetch waits for new records, whatever the client asks for.")
SETTING(fetch_sessions_max, COUNT, "1000", 0, 1000000, "", RELOADABLE,
        "Most fetch sessions kept for clients, as Kafka's max.incremental.fetch.session.cache.slots. 0: none, so that every Fetch names all of its partitions.")
SETTING(fetch_session_bytes_max, BYTES, "64MiB", 0, 1099511627776, "", RELOADABLE,
        "Memory for fetch sessions: about 300 bytes for each partition of each.")
SETTING(tail_bytes_max, BYTES, "64MiB", 0, 1099511627776, "", RELOADABLE,
        "Memory for the latest records, which consumers of the tail are served from.")
SETTING(cache_bytes_max, BYTES, "48MiB", 0, 1099511627776, "", RELOADABLE,
        "Memory for blocks of objects that were read.")
SETTING(cache_block_bytes, BYTES, "1MiB", 65536, 67108864, "", 0,
        "Size of such a block, and the least that is read from the store.")
SETTING(read_ahead_bytes, BYTES, "4MiB", 0, 1073741824, "", RELOADABLE,
        "How far ahead of a consumer that reads old records the store is read.")
SETTING(cold_bytes_max, BYTES, "32MiB", 1048576, 1099511627776, "", RELOADABLE,
        "Memory for reads from the store that are under way; more reads wait their turn.")
/* clang-format on */
