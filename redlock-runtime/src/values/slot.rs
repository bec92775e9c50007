//! Which slot of a Redis Cluster a key is in, and how to name another key so that it is in the same one.
//!
//! Source: [the Redis Cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/),
//! "Key distribution model" and "Hash tags".

use std::sync::LazyLock;

/// How many slots there are.
const SLOTS: u16 = 16_384;

/// For each slot the smallest number that, as text, is in it. Looking for one takes as long as making them all.
static TAGS: LazyLock<Box<[u32]>> = LazyLock::new(|| {
    let mut tags: Vec<Option<u32>> = vec![None; usize::from(SLOTS)];
    let mut missing = tags.len();
    for number in 0.. {
        let tag = &mut tags[usize::from(slot_of_tag(number.to_string().as_bytes()))];
        if tag.is_none() {
            *tag = Some(number);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    tags.into_iter().flatten().collect()
});

/// The slot that a key is in.
pub(crate) fn slot_of(key: &str) -> u16 {
    slot_of_tag(hash_tag(key).as_bytes())
}

/// A key of ours that is in the slot in which this one is.
pub(crate) fn key_beside(purpose: &str, key: &str) -> String {
    if key.bytes().any(|byte| matches!(byte, b'{' | b'}')) {
        format!("{purpose}:{{{}}}:{key}", tag_beside(key))
    } else {
        [purpose, ":{", key, "}"].concat()
    }
}

/// Whether this is what [`key_beside`] writes behind the purpose.
pub(crate) fn is_beside_another(beside: &str) -> bool {
    beside_which(beside).is_some()
}

/// The key beside which [`key_beside`] has put this, which stands behind the purpose.
pub(crate) fn beside_which(beside: &str) -> Option<&str> {
    let (tag, rest) = beside.strip_prefix('{')?.split_once('}')?;
    match rest.strip_prefix(':') {
        Some(key) => (tag.parse() == Ok(tag_beside(key))).then_some(key),
        None => (rest.is_empty() && !tag.contains('{')).then_some(tag),
    }
}

/// A number that, in braces, puts a key in the slot in which this one is. Wrapping the key itself in braces would not do:
/// it may have braces of its own.
fn tag_beside(key: &str) -> u32 {
    TAGS[usize::from(slot_of(key))]
}

/// The part of a key that decides: what stands between the first brace and the next closing one, if anything does; else
/// all of it.
fn hash_tag(key: &str) -> &str {
    key.split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty())
        .unwrap_or(key)
}

fn slot_of_tag(tag: &[u8]) -> u16 {
    crc16(tag) % SLOTS
}

/// CRC16 in the variant XMODEM: polynomial 0x1021, from zero.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo}bar{", "foo}bar{"),
        ] {
            assert_eq!(hash_tag(key), tag);
        }
    }

    #[test]
    fn every_slot_has_a_tag_that_is_in_it() {
        assert_eq!(TAGS.len(), usize::from(SLOTS));
        for (slot, tag) in TAGS.iter().enumerate() {
            assert_eq!(usize::from(slot_of_tag(tag.to_string().as_bytes())), slot);
        }
    }

    #[test]
    fn a_key_beside_another_is_in_its_slot_whatever_braces_that_one_has() {
        for key in ["a", "in{voi}ce:7", "{}", "a{b", "a}b{c}", "{{x}}", "夜間{報告}"] {
            let beside = format!("ours:{{{}}}:{key}", tag_beside(key));
            let slots = [key, &beside].map(slot_of);
            assert_eq!(slots[0], slots[1], "{key}");
        }
    }
}
