// client.go produce|consume|member …: franz-go, with lines as in line.py and members.py.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 60 * time.Second

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func decode(word string) []byte {
	if word == "-" {
		return nil
	}
	bytes, err := base64.StdEncoding.DecodeString(word[1:])
	if err != nil {
		log.Fatal(err)
	}
	return bytes
}

func encode(bytes []byte) string {
	if bytes == nil {
		return "-"
	}
	return "=" + base64.StdEncoding.EncodeToString(bytes)
}

func number(word string) int64 {
	value, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func parse(line, topic string, partition int32) *kgo.Record {
	words := strings.Split(line, " ")
	record := &kgo.Record{Topic: topic, Partition: partition, Key: decode(words[0]), Value: decode(words[1]),
		Timestamp: time.UnixMilli(number(words[2]))}
	if words[3] != "-" {
		for _, pair := range strings.Split(words[3], ",") {
			name, value, _ := strings.Cut(pair, ":")
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: string(decode(name)), Value: decode(value)})
		}
	}
	return record
}

func format(record *kgo.Record) string {
	headers := make([]string, 0, len(record.Headers))
	for _, header := range record.Headers {
		headers = append(headers, encode([]byte(header.Key))+":"+encode(header.Value))
	}
	joined := strings.Join(headers, ",")
	if joined == "" {
		joined = "-"
	}
	return fmt.Sprintf("%d %s %s %d %s", record.Offset, encode(record.Key), encode(record.Value), record.Timestamp.UnixMilli(), joined)
}

func open(kafka string, options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(strings.Split(kafka, ",")...))...)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

func produce(ctx context.Context, kafka, topic string, partition int32, codec string) {
	client := open(kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codecs[codec]))
	defer client.Close()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		client.Produce(ctx, parse(lines.Text(), topic, partition), func(_ *kgo.Record, err error) {
			if err != nil {
				log.Fatal(err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		log.Fatal(err)
	}
}

func consume(ctx context.Context, kafka, topic string, partition int32, count int64) {
	start := map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(0)}}
	client := open(kafka, kgo.ConsumePartitions(start))
	defer client.Close()
	for seen := int64(0); seen < count; {
		fetches := client.PollFetches(ctx)
		for _, failure := range fetches.Errors() {
			log.Fatal(failure.Err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Println(format(record))
			seen++
		})
	}
}

var balancers = map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer()}

// held is what a member has been assigned and not revoked.
type held struct {
	sync.Mutex
	partitions map[int32]bool
}

func (h *held) change(named []int32, add bool) {
	h.Lock()
	defer h.Unlock()
	for _, partition := range named {
		if add {
			h.partitions[partition] = true
		} else {
			delete(h.partitions, partition)
		}
	}
	numbers := make([]int, 0, len(h.partitions))
	for partition := range h.partitions {
		numbers = append(numbers, int(partition))
	}
	sort.Ints(numbers)
	words := make([]string, 0, len(numbers))
	for _, partition := range numbers {
		words = append(words, strconv.Itoa(partition))
	}
	fmt.Println("assigned " + strings.Join(words, ","))
}

func leaveOrdered() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx
}

func member(kafka, topic, group, protocol string) {
	owned := &held{partitions: map[int32]bool{}}
	lose := func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { owned.change(lost[topic], false) }
	client := open(kafka, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancers[protocol]), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.OnPartitionsRevoked(lose), kgo.OnPartitionsLost(lose),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) { owned.change(got[topic], true) }))
	for ordered := leaveOrdered(); ordered.Err() == nil; {
		fetches := client.PollFetches(ordered)
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Printf("record %d %d %s\n", record.Partition, record.Offset, encode(record.Value))
		})
		if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
			log.Print(err)
		}
	}
	client.Close()
	fmt.Println("closed")
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	words := os.Args[1:]
	if words[0] == "member" {
		member(words[1], words[2], words[3], words[4])
		return
	}
	partition := int32(number(words[3]))
	switch words[0] {
	case "produce":
		produce(ctx, words[1], words[2], partition, words[4])
	case "consume":
		consume(ctx, words[1], words[2], partition, number(words[4]))
	default:
		log.Fatalf("there is no %q", words[0])
	}
}
