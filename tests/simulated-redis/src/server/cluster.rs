//! A server of a cluster: which slots it has, and where it sends those who ask for others.
//!
//! Source: `getNodeByQuery`, <https://github.com/redis/redis/blob/7.0/src/cluster.c>, and
//! [the Redis Cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Effect, Server, wrong_number};
use crate::commands::{find, is_word, text};
use crate::keyspace::{Entry, Event, Key, Keyspace, SentBy};
use crate::number::parse_integer;
use crate::reply::Reply;
use crate::value::Value;

/// How many slots there are.
const SLOTS: u16 = 16_384;

/// What a server knows about its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Host and port of each server.
    pub addresses: Vec<(String, u16)>,
    /// Which of them this one is.
    pub here: usize,
    /// How new it is what it knows.
    pub epoch: u64,
    /// First and last slot, and who has them; ascending, without gaps.
    pub ranges: Vec<(u16, u16, usize)>,
    /// Single slots that another server has since.
    pub moved: BTreeMap<u16, usize>,
    /// Slots that are on their way from here, and to whom.
    pub migrating: BTreeMap<u16, usize>,
    /// Slots that are on their way here.
    pub importing: BTreeSet<u16>,
}

/// A key on its way from one server to another.
#[derive(Clone, Debug)]
pub struct Moved {
    key: Key,
    value: Value,
    /// How long it lives on, in milliseconds.
    remaining: Option<i64>,
}

/// The slot that a key is in.
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        Some(&rest[..close]).filter(|tag| !tag.is_empty())
    });
    // CRC16 in the variant XMODEM.
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        let mut crc = crc ^ (u16::from(*byte) << 8);
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
        crc
    });
    crc % SLOTS
}

impl Cluster {
    /// A cluster of these servers, which have the same number of slots each, as this one of them knows it.
    #[must_use]
    pub fn new(addresses: Vec<(String, u16)>, here: usize) -> Self {
        let count = u16::try_from(addresses.len()).unwrap_or(SLOTS).max(1);
        let first = |server: u16| u16::try_from(u32::from(SLOTS) * u32::from(server) / u32::from(count)).unwrap_or(0);
        let ranges = (0..count).map(|server| {
            let last = if server + 1 == count { SLOTS - 1 } else { first(server + 1) - 1 };
            (first(server), last, usize::from(server))
        });
        Self { ranges: ranges.collect(), addresses, here, epoch: 1, ..Self::default() }
    }

    /// Who has a slot.
    #[must_use]
    pub fn owner(&self, slot: u16) -> usize {
        let of_range = || self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        self.moved.get(&slot).copied().or_else(|| of_range().map(|(_, _, server)| *server)).unwrap_or(self.here)
    }

    /// Learns who has a slot now.
    pub fn assign(&mut self, slot: u16, server: usize, epoch: u64) {
        self.moved.insert(slot, server);
        self.epoch = self.epoch.max(epoch);
        if server == self.here {
            self.importing.remove(&slot);
        } else {
            self.migrating.remove(&slot);
        }
    }

    fn redirect(&self, word: &str, slot: u16, server: usize) -> Reply {
        let (host, port) = &self.addresses[server];
        Reply::error(format!("{word} {slot} {host}:{port}"))
    }

    fn slots(&self) -> Reply {
        let mut entries = Vec::new();
        for (first, last, server) in &self.ranges {
            let mut next = *first;
            for (slot, other) in self.moved.range(first..=last) {
                if next < *slot {
                    entries.push(self.range(next, *slot - 1, *server));
                }
                entries.push(self.range(*slot, *slot, *other));
                next = *slot + 1;
            }
            if next <= *last {
                entries.push(self.range(next, *last, *server));
            }
        }
        Reply::Array(entries)
    }

    fn range(&self, first: u16, last: u16, server: usize) -> Reply {
        let (host, port) = &self.addresses[server];
        let id = format!("{server:040x}");
        let server =
            vec![Reply::bulk(host), Reply::Integer((*port).into()), Reply::bulk(&id), Reply::Array(Vec::new())];
        Reply::Array(vec![Reply::Integer(first.into()), Reply::Integer(last.into()), Reply::Array(server)])
    }
}

impl Server {
    /// Makes it a server of a cluster.
    pub fn join(&mut self, cluster: Cluster) {
        self.keyspace.cluster = Some(cluster);
    }

    /// What it knows about its cluster.
    pub fn cluster(&mut self) -> Option<&mut Cluster> {
        self.keyspace.cluster.as_mut()
    }

    /// The keys of a slot, by name.
    #[must_use]
    pub fn keys_of(&self, slot: u16) -> Vec<Key> {
        self.keyspace.entries.keys().filter(|key| slot_of(key) == slot).cloned().collect()
    }

    /// Moves a key out, as MIGRATE does where it is; `None` if it is not there.
    pub fn move_out(&mut self, key: &[u8], now: Duration) -> Option<(Moved, Vec<Effect>)> {
        self.keyspace.now = now;
        self.keyspace.reports_writes = !self.tracked.is_empty();
        let now = self.keyspace.now_ms();
        let entry = self.keyspace.entry(key)?.clone();
        let remaining = entry.expires.map(|expires| (expires - now).max(1));
        self.keyspace.delete(key);
        Some((Moved { key: key.into(), value: entry.value, remaining }, self.effects_of_signals()))
    }

    /// Moves a key in, as MIGRATE does where it goes.
    pub fn move_in(&mut self, moved: Moved, now: Duration) -> Vec<Effect> {
        self.keyspace.now = now;
        self.keyspace.reports_writes = !self.tracked.is_empty();
        let Moved { key, value, remaining } = moved;
        let expires = remaining.map(|remaining| self.keyspace.now_ms() + remaining);
        self.keyspace.restore(&key, value, expires);
        self.effects_of_signals()
    }

    /// The next command is told by it.
    pub(super) fn asking(&self) -> Reply {
        if self.keyspace.cluster.is_some() { Reply::OK } else { disabled() }
    }

    pub(super) fn ask_about_cluster(&mut self, arguments: &[&[u8]]) -> Reply {
        let Some(cluster) = &self.keyspace.cluster else { return disabled() };
        match arguments {
            [_, what] if is_word(what, "INFO") => {
                Reply::Text(format!("cluster_state:ok\r\ncluster_current_epoch:{}\r\n", cluster.epoch))
            }
            [_, what] if is_word(what, "SLOTS") => cluster.slots(),
            [_] | [] => wrong_number(b"cluster"),
            _ => {
                self.keyspace.unknown.push(text(&arguments.join(&b' ')));
                Reply::error("ERR unknown subcommand")
            }
        }
    }

    /// Whether somebody has to be sent elsewhere with a command, and how.
    pub(super) fn elsewhere(&mut self, name: &[u8], arguments: &[&[u8]]) -> Option<Reply> {
        self.keyspace.cluster.as_ref()?;
        let keys = match name {
            b"EVAL" | b"EVALSHA" => {
                let count = usize::try_from(parse_integer(arguments.get(2)?)?).ok()?;
                arguments.get(3..3 + count)?
            }
            _ => find(name, self.keyspace.version)?.keys_in(arguments),
        };
        self.keyspace.elsewhere(keys)
    }
}

fn disabled() -> Reply {
    Reply::error("ERR This instance has cluster support disabled")
}

impl Keyspace {
    /// Why a server of a cluster does nothing about these keys for the client that it listens to.
    fn elsewhere(&mut self, keys: &[&[u8]]) -> Option<Reply> {
        self.cluster.as_ref()?;
        let slot = slot_of(keys.first()?);
        if keys.iter().any(|key| slot_of(key) != slot) {
            return Some(Reply::error("CROSSSLOT Keys in request don't hash to the same slot"));
        }
        let there = keys.iter().filter(|key| self.entry(key).is_some()).count();
        let (has_some, lacks_some) = (there > 0, there < keys.len());
        let cluster = self.cluster.as_ref()?;
        let try_again = || Some(Reply::error("TRYAGAIN Multiple keys request during rehashing of slot"));
        let owner = cluster.owner(slot);
        if owner == cluster.here {
            return match cluster.migrating.get(&slot) {
                Some(_) if lacks_some && has_some && self.version >= (7, 0, 0) => try_again(),
                Some(to) if lacks_some => Some(cluster.redirect("ASK", slot, *to)),
                _ => None,
            };
        }
        if cluster.importing.contains(&slot) && self.sent_by == SentBy::Giver {
            return if keys.len() > 1 && lacks_some { try_again() } else { None };
        }
        Some(cluster.redirect("MOVED", slot, owner))
    }

    /// Why a script may not go on with these keys, whether they were declared or not: each of its commands is examined as one of the
    /// client that called it. So a script cannot take a key for missing that is where its slot goes.
    // Source: `scriptVerifyClusterState`, https://github.com/redis/redis/blob/7.0/src/script.c; the same in `luaRedisGenericCommand`,
    // https://github.com/redis/redis/blob/6.2/src/scripting.c
    pub(crate) fn refused_to_script(&mut self, keys: &[&[u8]]) -> Option<&'static str> {
        self.elsewhere(keys).map(|_| "ERR Script attempted to access a non local key in a cluster node")
    }

    /// Gives a key a value of whatever kind.
    fn restore(&mut self, key: &Key, value: Value, expires: Option<i64>) {
        match value {
            Value::String(text) => self.set(key, text, expires, "restore"),
            value => {
                self.entries.insert(Arc::clone(key), Entry { value, expires });
                self.events.push(Event::Changed { key: Arc::clone(key) });
                self.notify(key, "restore");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31C3 % SLOTS);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
    }
}
