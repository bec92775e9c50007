//! Each script in all its branches.

use crate::pair::Pair;

fn check(sequences: &[(&str, &str)]) {
    let mut pair = Pair::start();
    for (name, lines) in sequences {
        pair.check(name, &format!("load\n{lines}"));
    }
    assert_eq!(pair.simulated.unknown(), <[String; 0]>::default());
}

const STATE: &str = "GET k\nPTTL k\nTYPE f\nGET f\nPTTL f\nZRANGE w 0 -1\nPTTL w";

#[test]
fn acquire_for_a_fire_where_marks_may_have_been_written_since_the_start() {
    check(&[
        (
            "granted for a fire, where a smaller one was marked since the start",
            "SET d 6:5 PX 5000\n@acquire 2 k d a 60000 '' '' '' '' '' 7 1000 5000\n= 1",
        ),
        (
            "granted for a fire, where one was marked perhaps before the start",
            "SET d 6:5 PX 5000\n@acquire 2 k d a 60000 '' '' '' '' '' 7 5001 6000\n= [1, ~, 6:5]",
        ),
        (
            "granted for a fire, where a mark lives longer than it may",
            "SET d 6:5 PX 5000\n@acquire 2 k d a 60000 '' '' '' '' '' 7 0 1000\n= [1, ~, 6:5]",
        ),
        (
            "granted for a fire, where a mark does not end",
            "SET d 6:5\n@acquire 2 k d a 60000 '' '' '' '' '' 7 0 1000\n= [1, -1, 6:5]",
        ),
        ("granted for a fire, where there is no mark", "@acquire 2 k d a 60000 '' '' '' '' '' 7 0 1000\n= [1]"),
        (
            "not granted for a fire that was completed since the start",
            "SET d 07:5 PX 5000\n@acquire 2 k d a 60000 '' '' '' '' '' 7 0 5000\n= [nil, -2, nil, 07:5, ~]",
        ),
        (
            "granted all the same, and the mark told",
            "SET d 7:5 PX 5000\n@acquire 2 k d a 60000 '' '' '' '' '' - 0 5000\n= [1, ~, 7:5]",
        ),
        (
            "granted for a fire, where what was written since the start is no mark",
            "SET d 6:x PX 5000\n@acquire 2 k d a 60000 '' '' '' '' '' 7 0 5000\n= [1, ~, 6:x]",
        ),
    ]);
}

#[test]
fn acquire() {
    let sequences = [
        ("granted", "@acquire 1 k a 60000"),
        ("granted for a fire, without a mark", "@acquire 2 k d a 60000 '' '' '' '' '' 7"),
        ("granted for a fire, fenced", "SET f 900 PX 60000\n@acquire 3 k f d a 60000 100 100 90000000 '' '' 7"),
        ("granted for a fire, after a smaller one", "SET d 6:5\n@acquire 2 k d a 60000 '' '' '' '' '' 7"),
        ("not granted for a completed fire", "SET d 7:5\n@acquire 2 k d a 60000 '' '' '' p w 7"),
        ("granted all the same", "SET d 7:5\n@acquire 2 k d a 60000 '' '' '' '' '' -"),
        ("refused for a fire", "SET d 6:5\nSET k x PX 60000\n@acquire 2 k d a 60000 '' '' '' p w 7"),
        (
            "refused for a fire of which there is no mark",
            "SET k x PX 60000\n@acquire 2 k d a 60000 '' '' '' p w 7\n= [x, ~, nil, nil, nil]",
        ),
        (
            "a mark that is none",
            "SET d x\n@acquire 2 k d a 60000 '' '' '' '' '' 7\nDEL d\nHSET d a b\n@acquire 2 k d b 60000 '' '' '' '' '' 7",
        ),
        ("completed", "@acquire 1 k a 60000\n@complete 2 k d a 7 7:5 90000\nGET d\nPTTL d\nGET k"),
        (
            "completed and kept",
            "@acquire 1 k a 60000\n@complete 2 k d a 7 7:5 90000 5000 '' n\nGET k\nPTTL k\n@complete 2 k d a 7 7:5 90000",
        ),
        ("marked at the start", "@acquire 1 k a 60000\n@complete 2 k d a 7 7:5 90000 -1 ''\nGET k\nGET d"),
        (
            "completed after a greater one",
            "SET d 9:5 PX 50000\n@acquire 1 k a 60000\n@complete 2 k d a 7 7:5 90000\nGET d\nPTTL d",
        ),
        (
            "completed by another",
            "SET k x\n@complete 2 k d a 7 7:5 90000\nSET d 7:1\n@complete 2 k d a 7 7:5 90000\nGET k",
        ),
        (
            "completed twice",
            "@acquire 1 k a 60000\n@complete 2 k d a 7 7:5 90000 0 c\n@complete 2 k d a 7 7:5 90000 0 c",
        ),
        (
            "completed where the mark is none",
            "@acquire 1 k a 60000\nHSET d a b\n@complete 2 k d a 7 7:5 90000\nGET k\nTYPE d",
        ),
        ("refused", "@acquire 1 k a 60000\n@acquire 1 k b 60000"),
        ("refused without an expiry", "SET k x\n@acquire 1 k b 60000"),
        ("fenced, without a counter that may begin", "@acquire 2 k f a 60000 1795900726913000 '' 90000000"),
        ("fenced, with a counter that begins", "@acquire 2 k f a 60000 1795900726913000 1795900726913000 90000"),
        ("fenced, raised by one", "SET f 900 PX 60000\n@acquire 2 k f a 60000 100 100 90000000"),
        ("fenced, raised to the least", "SET f 900 PX 60000\n@acquire 2 k f a 60000 950 100 90000000"),
        ("fenced, in another quarter", "SET f 900 PX 60000\n@acquire 2 k f a 60000 1795900726913000 100 90000"),
        ("fenced, far ahead", "SET f 1795900726913000 PX 20000\n@acquire 2 k f a 60000 950 100 90000"),
        ("fenced, far ahead and kept long", "SET f 1795900726913000 PX 85000\n@acquire 2 k f a 60000 950 100 90000"),
        ("fenced, after a number that nobody has", "SET f -7\n@acquire 2 k f a 60000 100 '' 90000"),
        ("fenced, refused", "SET f 9\nSET k x PX 50000\n@acquire 2 k f a 60000 100 100 90000"),
        ("fenced, refused without a counter", "SET k x PX 50000\n@acquire 2 k f a 60000 100 100 90000"),
        ("fenced, with a counter that is none", "SET f x\n@acquire 2 k f a 60000 100 100 90000"),
        ("fenced, with a counter that is a list", "RPUSH f x\n@acquire 2 k f a 60000 100 100 90000"),
        ("fenced, with a counter that is full", "SET f 9223372036854775807\n@acquire 2 k f a 60000 100 100 90000"),
        ("fenced, the lock's key alone named", "@acquire 1 k a 60000 100 100 90000 '' '' '' '' f"),
        ("by a waiter, granted", "@acquire 1 k a 60000 '' '' '' p w"),
        ("by a waiter, granted while it is noted", "ZADD w 1 p\n@acquire 1 k a 60000 '' '' '' p w"),
        ("by a waiter, granted while others wait", "ZADD w 1 p 2 q\n@acquire 1 k a 60000 '' '' '' p w"),
        ("by a waiter, refused", "SET k x PX 50000\n@acquire 1 k a 60000 '' '' '' p w"),
        (
            "by waiters, refused, others of whom wait no longer",
            "SET k x PX 50000\nZADD w 1 q 5000000000000 r\n@acquire 1 k a 60000 '' '' '' p w\n@acquire 1 k a 60000 '' '' '' s w",
        ),
        ("by a waiter where something else is noted", "SET w x\n@acquire 1 k a 60000 '' '' '' p w"),
        ("by a waiter where something else is noted, refused", "SET w x\nSET k x\n@acquire 1 k a 60000 '' '' '' p w"),
        ("by a waiter, fenced, while others wait", "ZADD w 1 q\n@acquire 2 k f a 60000 100 100 90000 p w"),
        ("of a key that is a list", "RPUSH k x\n@acquire 1 k a 60000"),
        ("for no time", "@acquire 1 k a 0"),
        ("for what is no time", "@acquire 1 k a x"),
        ("of a key that has expired", "SET k x PX 1\nafter 2\n@acquire 1 k a 60000"),
    ];
    let looked_at: Vec<_> = sequences.iter().map(|(name, lines)| (*name, format!("{lines}\n{STATE}"))).collect();
    check(&looked_at.iter().map(|(name, lines)| (*name, &**lines)).collect::<Vec<_>>());
}

#[test]
fn commit() {
    check(&[
        ("granted", "SET k a\n@commit 2 k f a 1795900726913123 60000\nGET f\nPTTL f"),
        ("of an older token", "SET k a\nSET f 50\n@commit 2 k f a 40 60000\nGET f\nPTTL f"),
        ("of the same token", "SET k a\nSET f 50\n@commit 2 k f a 50 60000\nGET f"),
        ("of a newer token", "SET k a\nSET f 50\n@commit 2 k f a 51 60000\nGET f\nPTTL f"),
        ("by another", "SET k b\n@commit 2 k f a 51 60000\nEXISTS f"),
        ("of no lock", "@commit 2 k f a 51 60000\nEXISTS f"),
        ("with a counter that is none", "SET k a\nSET f x\n@commit 2 k f a 51 60000\nGET f"),
        ("with a counter that is a hash", "SET k a\nHSET f x y\n@commit 2 k f a 51 60000\nTYPE f"),
    ]);
}

#[test]
fn extend() {
    check(&[
        ("longer", "SET k a PX 30000\n@extend 1 k a 60000\nPTTL k"),
        ("shorter", "SET k a PX 60000\n@extend 1 k a 30000\nPTTL k"),
        ("without an expiry", "SET k a\n@extend 1 k a 30000\nPTTL k"),
        ("of another's", "SET k b PX 30000\n@extend 1 k a 60000\nPTTL k"),
        ("of none", "@extend 1 k a 60000\nEXISTS k"),
        ("with a note", "SET k a PX 30000\nHSET n x y\n@extend 1 k a 60000 n\nPTTL n"),
        ("without its note", "SET k a PX 30000\n@extend 1 k a 60000 n\nPTTL n"),
        ("of a list", "RPUSH k a\n@extend 1 k a 60000"),
        ("for what is no time", "SET k a PX 30000\n@extend 1 k a x"),
    ]);
}

#[test]
fn release() {
    check(&[
        ("deleted", "SET k a PX 30000\n@release 1 k a 0\nEXISTS k"),
        ("kept", "SET k a PX 30000\n@release 1 k a 50000\nGET k\nPTTL k"),
        ("kept, again", "SET k a PX 30000\n@release 1 k a 50000\n@release 1 k a 50000\n@release 1 k a 0\nGET k"),
        ("of another's", "SET k b PX 30000\n@release 1 k a 0\nGET k"),
        ("of none", "@release 1 k a 0"),
        ("published", "1: SUBSCRIBE c\nSET k a\n@release 1 k a 0 c"),
        ("published for nobody", "SET k a\n@release 1 k a 0 c"),
        ("not published, as it is empty", "SET k a\n@release 1 k a 0 '' n"),
        ("with a note", "HSET n x y\nSET k a\n@release 1 k a 0 '' n\nEXISTS n"),
        ("of what was adopted", "SET k b\n@release 1 k a 0 '' '' b\nEXISTS k"),
        ("of what was adopted, kept", "SET k a\n@release 1 k a 70000 '' '' b\nGET k"),
        ("given back", "SET k a PX 30000\n@release 1 k a 0 '' '' b back\nGET k\nPTTL k"),
        ("given back already", "SET k b PX 30000\n@release 1 k a 0 '' '' b back\nGET k"),
        ("given back, of another's", "SET k c PX 30000\n@release 1 k a 0 '' '' b back\nGET k"),
        ("given back, without an expiry", "SET k a\n@release 1 k a 0 '' '' b back\nGET k"),
        ("of a sorted set", "ZADD k 1 a\n@release 1 k a 0"),
    ]);
}

#[test]
fn adopt() {
    check(&[
        ("granted", "SET k b PX 30000\n@adopt 1 k a 60000 b\nGET k\nPTTL k"),
        ("granted, and never shorter", "SET k b PX 60000\n@adopt 1 k a 30000 b\nPTTL k"),
        ("granted again", "SET k a PX 30000\n@adopt 1 k a 60000 b\nPTTL k"),
        ("of another's", "SET k c PX 30000\n@adopt 1 k a 60000 b\nGET k"),
        ("of none", "@adopt 1 k a 60000 b"),
        ("fenced", "SET f 77\nSET k b PX 30000\n@adopt 2 k f a 60000 b"),
        ("fenced, the lock's key alone named", "SET f 77\nSET k b PX 30000\n@adopt 1 k a 60000 b f"),
        ("fenced, without a counter", "SET k b PX 30000\n@adopt 2 k f a 60000 b"),
        ("of a list", "RPUSH k b\n@adopt 1 k a 60000 b"),
    ]);
}

#[test]
fn labels() {
    let now = 1_795_900_726_913_u64;
    let note = format!("@label 2 k n a worker~7 20000 9 {now}");
    let look = format!("@look 2 k n {now}");
    check(&[
        ("noted and looked at", &*format!("SET k a PX 60000\n{note}\nPTTL n\n{look}")),
        ("of another's", &format!("SET k b PX 60000\n{note}\nEXISTS n\n{look}")),
        ("of none", &format!("{note}\n{look}")),
        ("of a lock without an expiry", &format!("SET k a\n{note}\n{look}")),
        ("about an earlier owner", &format!("SET k a PX 60000\n{note}\nSET k b PX 60000\n{look}")),
        ("without a note", &format!("SET k a PX 60000\n{look}")),
        ("by a clock that was set back", "SET k a\nHSET n owner a label x since 9999999999999\n@look 2 k n 1"),
        ("where something else is noted", &format!("SET k a PX 60000\nSET n x\n{note}\n{look}")),
        ("of a list", &format!("RPUSH k a\n{note}\n{look}")),
    ]);
}

#[test]
fn reset() {
    check(&[
        ("of a lock", "SET k a\nHSET n x y\n@reset 2 k n\nEXISTS k n"),
        ("of none", "HSET n x y\n@reset 2 k n\nEXISTS k n"),
        ("published", "1: SUBSCRIBE c\nSET k a\n@reset 2 k n c"),
        ("of none, not published", "1: SUBSCRIBE c\n@reset 2 k n c"),
        ("of a list", "RPUSH k a\n@reset 2 k n\nEXISTS k"),
        ("of a hash", "HSET k a b\n@reset 2 k n\nEXISTS k"),
    ]);
}

#[test]
fn record() {
    let record = |process: &str, waiting: &str| {
        format!(
            "@record 3 c l m {process} {waiting} 60000 70000 80000 1795900726913\nGET c\nPTTL c\nHGETALL m\nZCARD l"
        )
    };
    let (two, none, look) = (record("p", "2"), record("p", "0"), record("p", "''"));
    let other = record("q", "3");
    check(&[
        ("of one", &*two),
        ("of one, twice", &format!("{two}\n{two}")),
        ("of two", &format!("{two}\n{other}\n{none}")),
        ("of one that goes", &format!("{two}\n{none}")),
        ("only looked at, without a counter", &look),
        ("only looked at", &format!("{two}\n{look}")),
        ("beside others without leases", &format!("SET c 5\n{two}\n{none}")),
        ("beside one whose lease is over", &format!("SET c 9\nZADD l 1 gone\nHSET m gone 4\n{two}")),
        ("only looked at, beside one whose lease is over", &format!("SET c 9\nZADD l 1 gone\nHSET m gone 4\n{look}")),
        ("below zero", &format!("SET c -3\n{two}")),
        ("of a counter that is none", &format!("SET c x\n{two}")),
        ("of a counter that is a list", &format!("RPUSH c x\n{two}")),
        ("with leases that are none", &format!("SET l x\n{two}")),
        ("with numbers that are none", &format!("HSET m p x\n{two}")),
    ]);
}

#[test]
fn lists_of_counters() {
    let many = "RPUSH list a b c d e f";
    check(&[
        ("added", "@enlist 1 list a\n@enlist 1 list b\nLRANGE list 0 -1"),
        ("added again", "@enlist 1 list a\n@enlist 1 list b\n@enlist 1 list a\nLRANGE list 0 -1"),
        ("added to what is no list", "SET list x\n@enlist 1 list a"),
        ("taken out", &format!("{many}\n@take_out 1 list 4 e '' 1 b ''\nLRANGE list 0 -1")),
        ("taken out, the last", &format!("{many}\n@take_out 1 list 5 f ''\nLRANGE list 0 -1")),
        ("taken out, where it is no more", &format!("{many}\n@take_out 1 list 4 x ''\nLRANGE list 0 -1")),
        ("taken out, one of two", "RPUSH list a b a c\n@take_out 1 list 2 a 0\nLRANGE list 0 -1"),
        ("not taken out, the other being gone", "RPUSH list b b a c\n@take_out 1 list 2 a 0\nLRANGE list 0 -1"),
        ("taken out of one", "RPUSH list a\n@take_out 1 list 0 a ''\nEXISTS list"),
        ("taken out of none", "@take_out 1 list 0 a ''"),
        ("taken out of what is no list", "SET list x\n@take_out 1 list 0 a ''"),
    ]);
}

#[test]
fn touch() {
    check(&[
        ("declared", "SET k a\n@touch 1 k"),
        ("undeclared", "SET k a\n@touch 0 k"),
        ("of none", "@touch 1 k"),
        ("of a list", "RPUSH k a\n@touch 1 k"),
    ]);
}
