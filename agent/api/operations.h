/* operations.h: what clients are told they may do, as bits of Kafka's AclOperation. Whoever reaches an agent
 * may do all of it: what the agent's own role may not do is refused when it is tried. */
#ifndef STREAMHOUSE_OPERATIONS_H
#define STREAMHOUSE_OPERATIONS_H

enum {
    MAY_READ = 1 << 3,
    MAY_WRITE = 1 << 4,
    MAY_CREATE = 1 << 5,
    MAY_DELETE = 1 << 6,
    MAY_ALTER = 1 << 7,
    MAY_DESCRIBE = 1 << 8,
    MAY_ACT_FOR_CLUSTER = 1 << 9,
    MAY_DESCRIBE_CONFIGS = 1 << 10,
    MAY_ALTER_CONFIGS = 1 << 11,
    MAY_WRITE_IDEMPOTENTLY = 1 << 12
};

/* All that there is to do with each kind of thing. */
enum {
    TOPIC_OPERATIONS = MAY_READ | MAY_WRITE | MAY_CREATE | MAY_DELETE | MAY_ALTER | MAY_DESCRIBE |
                       MAY_DESCRIBE_CONFIGS | MAY_ALTER_CONFIGS,
    GROUP_OPERATIONS = MAY_READ | MAY_DELETE | MAY_DESCRIBE | MAY_DESCRIBE_CONFIGS | MAY_ALTER_CONFIGS,
    CLUSTER_OPERATIONS = MAY_CREATE | MAY_ALTER | MAY_DESCRIBE | MAY_ACT_FOR_CLUSTER | MAY_DESCRIBE_CONFIGS |
                         MAY_ALTER_CONFIGS | MAY_WRITE_IDEMPOTENTLY
};

#endif
