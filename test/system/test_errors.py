"""Requests that no client sends, and the answers that Kafka gives to them. The agent survives every one."""
import struct
import time

import pytest

import wire
from clients import CONFLUENT
from records import plain
from wire import Wire, array, batch, sized, string


@pytest.fixture
def hand(stack):
    with Wire(stack.kafka) as connection:
        yield connection


@pytest.fixture(autouse=True)
def still_alive(stack):
    """Whatever a test did, the next client is served."""
    yield
    with Wire(stack.kafka) as connection:
        assert connection.ask(wire.API_VERSIONS, 0, b"").take("h") == wire.NONE


def test_the_batch_made_by_hand_is_a_right_one(stack, topic, hand):
    assert hand.produce(topic, 0, batch([b"one", b"two"])) == (wire.NONE, 0)
    assert hand.produce(topic, 0, batch([b"three"])) == (wire.NONE, 2)
    received = CONFLUENT.receive(stack.kafka, topic, 0)
    assert [(offset, record.value) for offset, record in received] == [(0, b"one"), (1, b"two"), (2, b"three")]


def test_a_wrong_checksum_is_corrupt(stack, topic, hand):
    assert hand.produce(topic, 0, batch([b"damaged"], crc_error=1))[0] == wire.CORRUPT_MESSAGE
    assert hand.produce(topic, 0, batch([b"sound"])) == (wire.NONE, 0)


def test_a_flipped_bit_anywhere_is_never_stored(stack, topic, hand):
    good = batch([b"a value that is long enough to be damaged in many places"])
    for position in range(17, len(good), 5):
        damaged = bytearray(good)
        damaged[position] ^= 0x10
        assert hand.produce(topic, 0, bytes(damaged))[0] != wire.NONE, f"byte {position}"
    assert hand.list_offset(topic, 0, -1)[2] == 0


@pytest.mark.parametrize("change", [{"count": 5}, {"count": 1}, {"last_delta": 7}, {"count": -1}, {"count": 2**31 - 1}, {"last_delta": -2}],
                         ids=str)
def test_a_count_that_is_not_the_records_is_refused(topic, hand, change):
    code, _ = hand.produce(topic, 0, batch([b"one", b"two"], **change))
    assert code in (wire.INVALID_RECORD, wire.CORRUPT_MESSAGE)


@pytest.mark.parametrize("magic", [0, 1, 3, 127])
def test_another_batch_format_is_refused(topic, hand, magic):
    code, _ = hand.produce(topic, 0, batch([b"x"], magic=magic))
    assert code in (wire.CORRUPT_MESSAGE, wire.UNSUPPORTED_FOR_FORMAT, wire.INVALID_RECORD)


@pytest.mark.parametrize("cut", [1, 12, 30, 60, 61, 70])
def test_a_batch_cut_short_is_refused(topic, hand, cut):
    assert hand.produce(topic, 0, batch([b"a value of some length"])[:cut])[0] in (wire.CORRUPT_MESSAGE, wire.INVALID_RECORD)
    assert hand.list_offset(topic, 0, -1)[2] == 0


@pytest.mark.parametrize("acks", [2, -2, 100])
def test_acks_other_than_minus_one_zero_and_one_are_refused(topic, hand, acks):
    assert hand.produce(topic, 0, batch([b"x"]), acks=acks)[0] == wire.INVALID_REQUIRED_ACKS


def test_acks_one_is_durable_too(stack, topic, hand):
    assert hand.produce(topic, 0, batch([b"x"]), acks=1) == (wire.NONE, 0)
    assert [record.value for _, record in CONFLUENT.receive(stack.kafka, topic, 0)] == [b"x"]


def test_acks_zero_is_not_answered_and_arrives(stack, topic, hand):
    hand.send_produce(topic, 0, batch([b"fire and forget"]), acks=0)
    assert hand.ask(wire.API_VERSIONS, 0, b"").take("h") == wire.NONE  # the next answer is to the next request
    deadline = time.monotonic() + 10
    while hand.list_offset(topic, 0, -1)[2] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [record.value for _, record in CONFLUENT.receive(stack.kafka, topic, 0)] == [b"fire and forget"]


def test_an_unknown_topic_or_partition_is_said_to_be_so(topic, hand):
    assert hand.produce("no-such-topic-here", 0, batch([b"x"]))[0] == wire.UNKNOWN_TOPIC
    assert hand.produce(topic, 3, batch([b"x"]))[0] == wire.UNKNOWN_TOPIC
    assert hand.produce(topic, -1, batch([b"x"]))[0] == wire.UNKNOWN_TOPIC
    assert hand.fetch("no-such-topic-here", 0, 0)[0] == wire.UNKNOWN_TOPIC
    assert hand.fetch(topic, 17, 0)[0] == wire.UNKNOWN_TOPIC
    assert hand.list_offset("no-such-topic-here", 0, -1)[0] == wire.UNKNOWN_TOPIC
    assert hand.end_of_epoch("no-such-topic-here", 0, 0)[0] == wire.UNKNOWN_TOPIC


def test_fetching_outside_the_log_is_out_of_range(topic, hand):
    hand.produce(topic, 0, batch([b"x"]))
    assert hand.fetch(topic, 0, 2)[0] == wire.OFFSET_OUT_OF_RANGE
    assert hand.fetch(topic, 0, -5)[0] == wire.OFFSET_OUT_OF_RANGE
    error, high, start, data = hand.fetch(topic, 0, 1)
    assert (error, high, start, data) == (wire.NONE, 1, 0, b"")


def test_a_fetched_batch_is_the_sent_one_with_its_offset(topic, hand):
    sent = batch([b"one", b"two"])
    hand.produce(topic, 0, batch([b"zero"]))
    hand.produce(topic, 0, sent)
    error, high, _, data = hand.fetch(topic, 0, 1)
    assert (error, high) == (wire.NONE, 3)
    assert struct.unpack_from(">q", data)[0] == 1
    assert data[8:12] + data[16:] == sent[8:12] + sent[16:], "bytes behind the checksum changed"


def test_a_fetch_inside_a_batch_returns_the_whole_batch(topic, hand):
    hand.produce(topic, 0, batch([b"%d" % number for number in range(10)]))
    _, _, _, data = hand.fetch(topic, 0, 7)
    assert struct.unpack_from(">q", data)[0] == 0


def test_leader_epochs_older_and_newer_than_ours_are_told_apart(topic, hand):
    hand.produce(topic, 0, batch([b"x"]))
    current = hand.list_offset(topic, 0, -1)[3]
    assert current >= 0
    assert hand.fetch(topic, 0, 0, epoch=current)[0] == wire.NONE
    assert hand.fetch(topic, 0, 0, epoch=current + 1)[0] == wire.UNKNOWN_LEADER_EPOCH
    assert hand.list_offset(topic, 0, -1, epoch=current + 1)[0] == wire.UNKNOWN_LEADER_EPOCH
    assert hand.end_of_epoch(topic, 0, current) == (wire.NONE, current, 1)
    assert hand.end_of_epoch(topic, 0, current, current=current + 1)[0] == wire.UNKNOWN_LEADER_EPOCH
    if current > 0:
        assert hand.fetch(topic, 0, 0, epoch=current - 1)[0] == wire.FENCED_LEADER_EPOCH
    assert hand.end_of_epoch(topic, 0, current + 5) == (wire.NONE, -1, -1)


def test_list_offsets_by_its_special_times(topic, hand):
    assert hand.list_offset(topic, 0, -3)[1:3] == (-1, -1)  # the largest timestamp of nothing
    for stamp in (1000, 3000, 2000):
        hand.produce(topic, 0, batch([b"x"], timestamp=1_700_000_000_000 + stamp))
    assert hand.list_offset(topic, 0, -1)[2] == 3
    assert hand.list_offset(topic, 0, -2)[2] == 0
    assert hand.list_offset(topic, 0, 1_700_000_001_500)[1:3] == (1_700_000_003_000, 1)


def test_an_idempotent_batch_sent_twice_is_stored_once(stack, topic, hand):
    producer_id, epoch = hand.init_producer()
    first = batch([b"a", b"b"], producer_id=producer_id, producer_epoch=epoch, sequence=0)
    second = batch([b"c"], producer_id=producer_id, producer_epoch=epoch, sequence=2)
    assert hand.produce(topic, 0, first) == (wire.NONE, 0)
    assert hand.produce(topic, 0, first) == (wire.NONE, 0)
    assert hand.produce(topic, 0, second) == (wire.NONE, 2)
    assert hand.produce(topic, 0, first) == (wire.NONE, 0)
    assert [record.value for _, record in CONFLUENT.receive(stack.kafka, topic, 0)] == [b"a", b"b", b"c"]


def test_a_gap_in_sequences_is_out_of_order(topic, hand):
    producer_id, epoch = hand.init_producer()

    def sent(sequence, epoch=epoch):
        return batch([b"x"], producer_id=producer_id, producer_epoch=epoch, sequence=sequence)

    assert hand.produce(topic, 0, sent(0))[0] == wire.NONE
    assert hand.produce(topic, 0, sent(2))[0] == wire.OUT_OF_ORDER_SEQUENCE
    assert hand.produce(topic, 0, sent(1)) == (wire.NONE, 1)
    assert hand.produce(topic, 0, sent(0, epoch + 1)) == (wire.NONE, 2)
    assert hand.produce(topic, 0, sent(2))[0] == wire.INVALID_PRODUCER_EPOCH
    assert hand.produce(topic, 0, sent(5, epoch + 2))[0] == wire.OUT_OF_ORDER_SEQUENCE


def test_producer_ids_are_never_given_twice(stack):
    seen = set()
    for _ in range(3):
        with Wire(stack.kafka) as connection:
            for _ in range(20):
                seen.add(connection.init_producer())
    assert len(seen) == 60 and all(producer_id >= 0 and epoch == 0 for producer_id, epoch in seen)


def test_many_requests_in_flight_are_answered_in_order(stack, topic, hand):
    for number in range(50):
        hand.send_produce(topic, number % 3, batch([b"%d" % number]))
        hand.send(wire.API_VERSIONS, 0, b"")
    for number in range(50):
        assert hand.receive_produced() == (wire.NONE, number // 3)
        assert hand.answered == 2 * number + 1
        assert hand.receive().take("h") == wire.NONE
        assert hand.answered == 2 * number + 2


def test_a_too_large_batch_is_said_to_be_so(topic, hand):
    assert hand.produce(topic, 0, batch([bytes(1_100_000)]))[0] == wire.MESSAGE_TOO_LARGE


def test_the_records_that_a_batch_is_refused_for_are_named(stack, topic_name, hand):
    stack.create_topic(topic_name, cleanup_policy="compact")
    hand.send_produce(topic_name, 0, batch([b"keyless", b"likewise"]), version=8)
    reply = hand.receive()
    reply.take("i"), reply.string(), reply.take("i")
    _partition, error, _offset, _time, _start = reply.take("ihqqq")
    assert error == wire.INVALID_RECORD
    assert [(reply.take("i"), bool(reply.string())) for _ in range(reply.take("i"))] == [(0, True), (1, True)]
    assert "no key" in reply.string()


def test_an_unsupported_version_of_api_versions_is_answered_in_version_zero(hand):
    reply = hand.ask(wire.API_VERSIONS, 99, b"\0")
    assert reply.take("h") == wire.UNSUPPORTED_VERSION
    assert reply.take("i") >= 1
    assert reply.take("hhh")[0] >= 0


def test_api_versions_lists_what_clients_need(hand):
    reply = hand.ask(wire.API_VERSIONS, 0, b"")
    assert reply.take("h") == wire.NONE
    apis = {}
    for _ in range(reply.take("i")):
        key, oldest, newest = reply.take("hhh")
        apis[key] = (oldest, newest)
    assert reply.at_end()
    for key, version in ((0, 9), (1, 12), (2, 7), (3, 12), (10, 4), (18, 3), (19, 5), (20, 5), (22, 4), (23, 3), (32, 4), (37, 2), (60, 0)):
        assert apis[key][0] <= version <= apis[key][1], f"API {key} lacks version {version}: {apis[key]}"


@pytest.mark.parametrize("key, version", [(999, 0), (-1, 0), (wire.METADATA, 99), (wire.FETCH, 32767), (wire.FETCH, -1)])
def test_an_unknown_api_or_version_ends_the_connection(hand, key, version):
    hand.send(key, version, bytes(20))
    assert hand.is_closed()


@pytest.mark.parametrize("size", [-1, -(2**31), 2**31 - 1, 500_000_000])
def test_an_impossible_frame_size_ends_the_connection(hand, size):
    hand.socket.sendall(struct.pack(">i", size) + bytes(100))
    assert hand.is_closed()


@pytest.mark.parametrize("frame", [b"", b"\0", bytes(7), b"\0\3\0\1\0\0\0\1\x7f\xff", b"\0\3\0\1\0\0\0\1\0\0\x7f\xff\xff\xff",
                                   b"\0\1\0\4\0\0\0\1\0\0" + b"\xff" * 40], ids=["empty", "one", "seven", "client", "count", "ones"])
def test_a_frame_that_makes_no_sense_ends_the_connection(hand, frame):
    hand.socket.sendall(sized(frame))
    assert hand.is_closed()


def test_garbage_ends_the_connection(hand):
    hand.socket.sendall(b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n")
    assert hand.is_closed()


def test_a_slowly_arriving_request_is_answered(topic, hand):
    whole = sized(struct.pack(">hhi", wire.API_VERSIONS, 0, 77) + string("slow"))
    for byte in whole:
        hand.socket.sendall(bytes([byte]))
        time.sleep(0.005)
    assert hand.receive().take("h") == wire.NONE
    assert hand.answered == 77


@pytest.mark.sql
def test_transactions_are_honestly_not_here(hand):
    reply = hand.ask(wire.FIND_COORDINATOR, 1, string("a-transaction") + b"\1")
    _throttle, error = reply.take("ih")
    assert error == wire.COORDINATOR_NOT_AVAILABLE
    assert reply.string()


def test_metadata_of_no_topic_and_of_an_invalid_one(hand):
    reply = hand.ask(wire.METADATA, 4, array([]) + b"\0")
    reply.take("i")
    for _ in range(reply.take("i")):
        reply.take("i"), reply.string(), reply.take("i"), reply.string()
    reply.string(), reply.take("i")
    assert reply.take("i") == 0
    reply = hand.ask(wire.METADATA, 4, array([string("not a name!")]) + b"\1")
    reply.take("i")
    for _ in range(reply.take("i")):
        reply.take("i"), reply.string(), reply.take("i"), reply.string()
    reply.string(), reply.take("i")
    assert reply.take("i") == 1
    assert reply.take("h") == wire.INVALID_TOPIC


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(stack, topic):
    whole = batch([bytes(50_000)])
    for cut in (3, 100, 30_000):
        with Wire(stack.kafka) as connection:
            data = struct.pack(">hhi", wire.PRODUCE, 7, 1) + string("leaver") + string(None) + struct.pack(">hi", -1, 1000)
            data += array([string(topic) + array([struct.pack(">i", 0) + sized(whole)])])
            connection.socket.sendall(sized(data)[:cut])
    CONFLUENT.send(stack.kafka, topic, 0, plain(1))
    assert len(CONFLUENT.receive(stack.kafka, topic, 0)) == 1
