// client.js produce|consume|member …: kafkajs, with lines as in line.py and members.py.
// kafkajs consumes by groups only, so consume() goes one floor down, to its own connection, encoder and decoder.
'use strict';

const readline = require('readline');
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs');
const Cluster = require('kafkajs/src/cluster');
const { createLogger } = require('kafkajs/src/loggers');
const ConsoleLogger = require('kafkajs/src/loggers/console');
const InstrumentationEventEmitter = require('kafkajs/src/instrumentation/emitter');
const createSocketFactory = require('kafkajs/src/network/socketFactory');

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');

const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };

const decode = (word) => (word === '-' ? null : Buffer.from(word.slice(1), 'base64'));
const encode = (bytes) => (bytes === null || bytes === undefined ? '-' : '=' + Buffer.from(bytes).toString('base64'));

function decodeHeaders(word) {
  const headers = {};
  for (const pair of word === '-' ? [] : word.split(',')) {
    const [name, value] = pair.split(':');
    const key = decode(name).toString();
    headers[key] = key in headers ? [].concat(headers[key], decode(value)) : decode(value);
  }
  return headers;
}

function encodeHeaders(headers) {
  const pairs = [];
  for (const [name, value] of Object.entries(headers || {})) {
    for (const one of Array.isArray(value) ? value : [value]) pairs.push(`${encode(Buffer.from(name))}:${encode(one)}`);
  }
  return pairs.join(',') || '-';
}

async function produce(kafka, topic, partition, codec) {
  const messages = [];
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [key, value, timestamp, headers] = line.split(' ');
    messages.push({ key: decode(key), value: decode(value), timestamp, headers: decodeHeaders(headers), partition: Number(partition) });
  }
  const client = new Kafka({ brokers: kafka.split(','), logLevel: logLevel.ERROR });
  const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (let at = 0; at < messages.length; at += 50) {
    await producer.send({ topic, acks: -1, compression: CODECS[codec], messages: messages.slice(at, at + 50) });
  }
  await producer.disconnect();
}

async function consume(kafka, topic, partition, count) {
  const cluster = new Cluster({
    logger: createLogger({ level: logLevel.ERROR, logCreator: ConsoleLogger }),
    socketFactory: createSocketFactory(), brokers: kafka.split(','), connectionTimeout: 10000, authenticationTimeout: 10000,
    requestTimeout: 30000, enforceRequestTimeout: true, metadataMaxAge: 300000, retry: { retries: 5 },
    instrumentationEmitter: new InstrumentationEventEmitter(), offsets: new Map(),
  });
  await cluster.connect();
  await cluster.addTargetTopic(topic);
  const number = Number(partition);
  const leader = Object.keys(cluster.findLeaderForPartitions(topic, [number]))[0];
  const broker = await cluster.findBroker({ nodeId: leader });
  const deadline = Date.now() + 60000;
  let offset = 0n;
  let seen = 0;
  while (seen < Number(count) && Date.now() < deadline) {
    const { responses } = await broker.fetch({
      maxWaitTime: 500, minBytes: 1, maxBytes: 10485760, isolationLevel: 1,
      topics: [{ topic, partitions: [{ partition: number, fetchOffset: offset.toString(), maxBytes: 1048576 }] }],
    });
    for (const message of responses[0].partitions[0].messages) {
      if (message.isControlRecord || BigInt(message.offset) < offset) continue;
      offset = BigInt(message.offset) + 1n;
      seen += 1;
      console.log(`${message.offset} ${encode(message.key)} ${encode(message.value)} ${message.timestamp} ${encodeHeaders(message.headers)}`);
    }
  }
  await cluster.disconnect();
}

async function member(kafka, topic, group) {
  const client = new Kafka({ brokers: kafka.split(','), logLevel: logLevel.ERROR });
  const consumer = client.consumer({ groupId: group });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    console.log(`assigned ${(payload.memberAssignment[topic] || []).sort((a, b) => a - b).join(',')}`);
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      console.log(`record ${partition} ${message.offset} ${encode(message.value)}`);
      await consumer.commitOffsets([{ topic, partition, offset: (BigInt(message.offset) + 1n).toString() }]);
    },
  });
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.on('end', resolve));
  await consumer.disconnect();
  console.log('closed');
}

const [verb, ...rest] = process.argv.slice(2);
({ produce, consume, member })[verb](...rest).catch((error) => {
  console.error(error);
  process.exit(1);
});
