"""A group of two consumers of confluent-kafka that share a topic and rebalance when one leaves."""

import faulthandler
import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = sys.argv[1]
PATIENCE = 60
# Whatever hangs is named.
faulthandler.dump_traceback_later(150, exit=True)


def member():
    consumer = Consumer({
        "bootstrap.servers": BOOTSTRAP, "group.id": "sharers", "auto.offset.reset": "earliest",
        "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    consumer.subscribe(["shared"])
    return consumer


def poll_until(what, members, condition):
    """Polls all members in turn; their messages go to what they have read."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not in time: " + what
        for consumer, values in members:
            message = consumer.poll(0.05)
            if message is not None:
                assert message.error() is None, message.error()
                values.append(int(message.value()))


def produce(producer, numbers):
    failed = []
    for number in numbers:
        producer.produce("shared", b"%d" % number, partition=number % 4, on_delivery=lambda e, _: e and failed.append(e))
    assert producer.flush(PATIENCE) == 0 and not failed, failed


def main():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    for future in admin.create_topics([NewTopic("shared", 4, 1)]).values():
        future.result(PATIENCE)
    first, second = (member(), []), (member(), [])
    both = [first, second]
    shares = lambda: sorted(len(consumer.assignment()) for consumer, _ in both)
    poll_until("they share", both, lambda: shares() == [2, 2])
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "compression.type": "lz4"})
    produce(producer, range(100))
    poll_until("all is read", both, lambda: len(first[1]) + len(second[1]) == 100)
    assert first[1] and second[1]
    first[0].close()
    poll_until("the second has all", [second], lambda: len(second[0].assignment()) == 4)
    produce(producer, range(100, 140))
    poll_until("all is read", [second], lambda: len(first[1]) + len(second[1]) == 140)
    second[0].close()
    assert sorted(first[1] + second[1]) == list(range(140))


main()
