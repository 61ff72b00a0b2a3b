//! The order in which Java's `HashMap` and `HashSet` give their elements, in which some of Kafka's tools print them.

use crate::topic::{TopicPartition, java_hash};

/// What Java's `hashCode` is for.
pub trait JavaHash {
    fn java_hash(&self) -> i32;
}

impl JavaHash for TopicPartition {
    fn java_hash(&self) -> i32 {
        (31 + self.partition).wrapping_mul(31).wrapping_add(java_hash(&self.topic))
    }
}

impl JavaHash for String {
    fn java_hash(&self) -> i32 {
        java_hash(self)
    }
}

impl JavaHash for i32 {
    fn java_hash(&self) -> i32 {
        *self
    }
}

/// The elements in the order of a map into which they were put one by one, as they stand. None may be there twice.
pub fn in_map_order<T>(mut elements: Vec<T>, hash: impl Fn(&T) -> i32) -> Vec<T> {
    let mut capacity: u32 = 16;
    while elements.len() > (capacity / 4 * 3) as usize && capacity < 1 << 30 {
        capacity *= 2;
    }
    elements.sort_by_key(|element| {
        let hash = hash(element).cast_unsigned();
        (hash ^ (hash >> 16)) & (capacity - 1)
    });
    elements
}

/// The same for elements that bring their hash.
pub fn in_set_order<T: JavaHash>(elements: Vec<T>) -> Vec<T> {
    in_map_order(elements, T::java_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_as_kafka_listed_them() {
        // Of kafka-leader-election --all-topic-partitions.
        let recorded = "t6-2, t4-0, cp2-2, cp2-0, __transaction_state-3, cap1-0, __transaction_state-0, \
                        __transaction_state-1, le2-0, t1-3, __consumer_offsets-4, t1-1, __consumer_offsets-1, t1-0, \
                        __consumer_offsets-2";
        let mut partitions: Vec<TopicPartition> = recorded
            .split(", ")
            .map(|name| {
                let (topic, partition) = name.rsplit_once('-').unwrap();
                TopicPartition::new(topic, partition.parse().unwrap())
            })
            .collect();
        // Neighbours may share a bucket, and stand in it as they came: every second one comes first.
        let mut at = 0;
        partitions.sort_by_cached_key(|_| {
            at += 1;
            at % 2 == 0
        });
        let ordered: Vec<String> = in_set_order(partitions).iter().map(ToString::to_string).collect();
        assert_eq!(ordered.join(", "), recorded);
    }

    #[test]
    fn small_numbers_ascend() {
        assert_eq!(in_set_order(vec![2, 0, 1]), [0, 1, 2]);
        assert_eq!(in_set_order(vec![17, 16, 3]), [16, 17, 3]);
    }
}
