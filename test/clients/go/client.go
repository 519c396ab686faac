// client.go produce|consume KAFKA TOPIC PARTITION CODEC|COUNT: franz-go, with lines as in line.py.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
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

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	words := os.Args[1:]
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
