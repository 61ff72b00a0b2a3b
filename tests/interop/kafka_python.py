"""What a Python program does with kafka-python: fire and forget, wait, callbacks, errbacks, a group that rebalances."""

import faulthandler
import sys
import threading
import time

if sys.version_info >= (3, 12):
    # What kafka-python 2.0.2 brings along is too old for this Python.
    try:
        import six
    except ImportError:
        pass  # Newer ones need no help.
    else:
        sys.modules.setdefault("kafka.vendor.six.moves", six.moves)

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import MessageSizeTooLargeError

BOOTSTRAP = sys.argv[1]
PATIENCE = 60
# Whatever hangs is named.
faulthandler.dump_traceback_later(150, exit=True)


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "not in time: " + what
        time.sleep(0.05)


def read_all(topic, count):
    consumer = KafkaConsumer(topic, bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest", consumer_timeout_ms=PATIENCE * 1000)
    values = []
    for message in consumer:
        values.append(message.value)
        if len(values) == count:
            break
    consumer.close()
    return values


def fire_and_forget():
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP)
    for number in range(100):
        producer.send("fire", b"%d" % number)
    producer.flush()
    producer.close()
    assert sorted(read_all("fire", 100), key=int) == [b"%d" % n for n in range(100)]


def wait_for_the_future():
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", retries=3)
    for number in range(10):
        metadata = producer.send("wait", key=b"k", value=b"%d" % number).get(timeout=10)
        assert (metadata.topic, metadata.offset) == ("wait", number), metadata
    producer.close()
    assert read_all("wait", 10) == [b"%d" % n for n in range(10)]


def callbacks_and_errbacks():
    acknowledged, failed = [], []
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=5, max_request_size=4 << 20, batch_size=1 << 10)
    for number in range(20):
        producer.send("call", b"%d" % number).add_callback(acknowledged.append).add_errback(failed.append)
    producer.flush()
    eventually("callbacks", lambda: len(acknowledged) == 20)
    assert [m.offset for m in acknowledged] == list(range(20)) and not failed
    # Over the broker's message.max.bytes.
    producer.send("call", b"x" * (2 << 20)).add_callback(acknowledged.append).add_errback(failed.append)
    producer.flush()
    eventually("an errback", lambda: failed)
    assert len(acknowledged) == 20 and isinstance(failed[0], MessageSizeTooLargeError), failed
    producer.close()


class Member(threading.Thread):
    """A consumer of a group that keeps what it reads."""

    def __init__(self, topic, group):
        super().__init__(daemon=True)
        self.topic, self.group = topic, group
        self.values, self.assigned, self.error = [], set(), None
        self.stopping = threading.Event()

    def run(self):
        try:
            consumer = KafkaConsumer(
                self.topic, bootstrap_servers=BOOTSTRAP, group_id=self.group, auto_offset_reset="earliest",
                session_timeout_ms=6000, heartbeat_interval_ms=500, metadata_max_age_ms=1000)
            while not self.stopping.is_set():
                for messages in consumer.poll(timeout_ms=100).values():
                    self.values.extend(m.value for m in messages)
                self.assigned = set(consumer.assignment())
            consumer.close()
        except Exception as error:
            self.error = error
            raise

    def leave(self):
        self.stopping.set()
        self.join(PATIENCE)
        assert not self.is_alive() and self.error is None, self.error


def group_of_two():
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    admin.create_topics([NewTopic("shared", num_partitions=4, replication_factor=1)])
    first, second = Member("shared", "sharers"), Member("shared", "sharers")
    first.start()
    eventually("the first has all", lambda: len(first.assigned) == 4)
    second.start()
    eventually("they share", lambda: len(first.assigned) == len(second.assigned) == 2)
    assert first.assigned | second.assigned == {TopicPartition("shared", p) for p in range(4)}
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP)
    for number in range(100):
        producer.send("shared", b"%d" % number, partition=number % 4)
    producer.flush()
    eventually("all is read", lambda: len(first.values) + len(second.values) == 100)
    assert len(first.values) == len(second.values) == 50
    first.leave()
    eventually("the second has all", lambda: len(second.assigned) == 4)
    for number in range(100, 140):
        producer.send("shared", b"%d" % number, partition=number % 4)
    producer.flush()
    eventually("all is read", lambda: len(second.values) == 90)
    second.leave()
    assert sorted(first.values + second.values, key=int) == [b"%d" % n for n in range(140)]
    # Committed: who comes later reads nothing again.
    third = Member("shared", "sharers")
    third.start()
    eventually("the third has all", lambda: len(third.assigned) == 4)
    producer.send("shared", b"last", partition=0).get(timeout=10)
    eventually("the last", lambda: third.values)
    third.leave()
    assert third.values == [b"last"], third.values
    producer.close()
    admin.close()


if __name__ == "__main__":
    for test in (fire_and_forget, wait_for_the_future, callbacks_and_errbacks, group_of_two):
        print(test.__name__, flush=True)
        test()
