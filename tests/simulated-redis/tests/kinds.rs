//! The scripts of locks that readers share, and of locks of several names: what they do, and that both servers do it.

use crate::pair::Pair;

macro_rules! lua {
    ($($part:literal),+) => {
        concat!($(include_str!(concat!("../../../redlock-runtime/src/node/redis/lua/", $part, ".lua"))),+)
    };
}

/// They are shipped as they are put together here.
pub(crate) const SCRIPTS: [(&str, &str); 11] = [
    ("look_readers", lua!("look_readers")),
    ("read", lua!("read")),
    ("read_commit", lua!("read_commit")),
    ("read_extend", lua!("read_extend")),
    ("read_release", lua!("read_release")),
    ("write", lua!("write", "raise", "contend", "write_told")),
    ("write_release", lua!("write_release", "release")),
    ("several", lua!("several")),
    ("several_commit", lua!("several_commit")),
    ("several_extend", lua!("several_extend")),
    ("several_release", lua!("several_release")),
];

fn check(sequences: &[(&str, &str)]) {
    let mut pair = Pair::start();
    for (name, lines) in sequences {
        pair.check(name, &format!("load\n{lines}"));
    }
    assert_eq!(pair.simulated.unknown(), <[String; 0]>::default());
}

// The keys of a lock: w the writer, r the readers, i the intent, f the counter, c where those who wait are noted.

#[test]
fn readers_and_writers_exclude_each_other() {
    check(&[
        (
            "readers beside readers",
            "@read 3 w r i a 60000 '' '' 0\n= 1\n@read 3 w r i b 60000 '' '' 0\n= 1\nZCARD r\n= 2\nPTTL r\n= ~",
        ),
        (
            "a writer after the last reader",
            "@read 3 w r i a 60000 '' '' 0\n@read 3 w r i b 90000 '' '' 0\n@write 3 w r i x 60000 '' '' '' '' '' ''\n= [b, ~, nil]
            @read_release 2 w r b 0 '' ''\n= 1\n@write 3 w r i x 60000 '' '' '' '' '' ''\n= [a, ~, nil]\nEXISTS w i\n= 0
            @read_release 2 w r a 0 '' ''\n= 1\nEXISTS r\n= 0\n@write 3 w r i x 60000 '' '' '' '' '' ''\n= 1\nGET w\n= x\nPTTL w\n= ~",
        ),
        (
            "nobody beside a writer",
            "@write 3 w r i x 60000 '' '' '' '' '' ''\n@read 3 w r i a 60000 '' '' 0\n= [x, ~, nil]
            @write 3 w r i y 60000 '' '' '' p c p\n= [x, ~, nil]\nEXISTS i r\n= 0\nZRANGE c 0 -1\n= [p]
            @write_release 2 w i x 0 '' '' '' '' 0\n= 1\n@read 3 w r i a 60000 '' '' 0\n= 1",
        ),
        (
            "a reader whose time is over",
            "ZADD r 1 a\nPEXPIRE r 60000\n@write 3 w r i x 60000 '' '' '' '' '' ''\n= 1\n@write_release 2 w i x 0 '' '' '' '' 0
            @read_extend 2 w r a 60000 ''\n= -1\n@read 3 w r i b 60000 '' '' 0\n= 1\nZRANGE r 0 -1\n= [b]",
        ),
        (
            "each reader by himself",
            "@read 3 w r i a 40 '' '' 0\n@read 3 w r i b 60000 '' '' 0\nafter 41\n@read_extend 2 w r a 60000 ''\n= -1
            @read_extend 2 w r b 60000 ''\n= 1\n@read_release 2 w r b 0 '' ''\n@write 3 w r i x 60000 '' '' '' '' '' ''\n= 1",
        ),
        (
            "a reader who asks twice, and for less",
            "@read 3 w r i a 60000 '' '' 0\n@read 3 w r i a 100 '' '' 1\n= 1\nZCARD r\n= 1\nPTTL r\n= ~
            @read_extend 2 w r a 100 ''\n= 1\nafter 101\n@write 3 w r i x 60000 '' '' '' '' '' ''\n= [a, ~, nil]",
        ),
        ("where something else stands", "SET r x\n@read 3 w r i a 60000 '' '' 0\n@write 3 w r i x 60000 '' '' '' '' '' ''\nEXISTS w\n= 0"),
        (
            "where one key alone is named",
            "@read 1 w a 60000 '' '' 0 r i\n= 1\n@write 1 w x 60000 '' '' '' '' '' '' r i\n= [a, ~, nil]
            @read_extend 1 w a 60000 '' r\n= 1\n@read_release 1 w a 0 '' '' r\n= 1\n@write 1 w x 60000 9 7 90000 '' '' '' r i f\n= 7
            SET i p\n@write_release 1 w x 0 '' '' '' '' 0 i\n= 1\nEXISTS w i\n= 0\n@read 1 w a 60000 8 90000 0 r i f\n= 7
            @read_commit 1 w a 9 90000 r f\n= 9",
        ),
    ]);
}

#[test]
fn a_writer_who_waits_keeps_new_readers_out() {
    check(&[
        (
            "until he has had it",
            "@read 3 w r i a 60000 '' '' 0\n@write 3 w r i x 60000 '' '' '' p c p\n= [a, ~, nil]\nGET i\n= p\nPTTL i\n= ~
            @read 3 w r i b 60000 '' '' 0\n= [p, ~, nil]\n@read_extend 2 w r a 60000 ''\n= 1\n@read 3 w r i b 60000 '' '' 1\n= 1
            @read_release 2 w r a 0 '' ''\n@read_release 2 w r b 0 '' ''\n@read 3 w r i c 60000 '' '' 0\n= [p, ~, nil]
            @write 3 w r i x 60000 '' '' '' p c p\n= 1\n@write_release 2 w i x 0 '' '' '' '' 1\n= 1\nGET i\n= p
            @write 3 w r i y 60000 '' '' '' p c p\n@write_release 2 w i y 0 '' '' '' '' 0\n= 1\nEXISTS i\n= 0",
        ),
        ("not one who does not wait", "@read 3 w r i a 60000 '' '' 0\n@write 3 w r i x 60000 '' '' '' '' '' ''\nEXISTS i\n= 0"),
        (
            "and his intent goes with nobody else",
            "SET i p\nSET w x\n@write_release 2 w i y 0 '' '' '' '' 0\n= 0\nGET i\n= p\n@write_release 2 w i x 70000 '' n '' '' 0\n= 1
            GET w\n= x:released\nEXISTS i\n= 0",
        ),
    ]);
}

#[test]
fn a_writer_becomes_a_reader() {
    check(&[
        (
            "in one step",
            "@write 3 w r i x 60000 '' '' '' '' '' ''\n@read_extend 2 w r x 30000 ''\n= 1\nEXISTS w\n= 0\nZRANGE r 0 -1\n= [x]\nPTTL r\n= ~
            @read 3 w r i a 90000 '' '' 0\n= 1\n@write 3 w r i y 60000 '' '' '' '' '' ''\n@extend 1 w x 60000\n= -1
            @read_release 2 w r x 0 '' ''\n= 1\n@read_release 2 w r x 0 '' ''\n= 0",
        ),
        ("and says so", "1: SUBSCRIBE c\nSET w x PX 60000\n@read_extend 2 w r x 30000 c\n= 1"),
        ("also where his writing comes late", "SET w x PX 60000\n@read 3 w r i x 30000 '' '' 1\n= 1\nEXISTS w\n= 0"),
        ("or lets go before", "SET w x PX 60000\n@read_release 2 w r x 0 '' ''\n= 1\nEXISTS w\n= 0"),
        ("but not another", "SET w y PX 60000\n@read_extend 2 w r x 30000 ''\n= 0\n@read_release 2 w r x 0 '' ''\n= 0\nGET w\n= y"),
    ]);
}

#[test]
fn readers_are_counted() {
    check(&[
        ("none", "@look_readers 1 r 5\n= [0, 0]"),
        ("two", "@read 3 w r i a 60000 '' '' 0\n@read 3 w r i b 90000 '' '' 0\n@look_readers 1 r 5\n= [2, ~]"),
        (
            "one whose time is not over",
            "ZADD r 1 a 2 b\n@read 3 w r i c 60000 '' '' 1\nZADD r 1 a 2 b\n@look_readers 1 r 5\n= [1, ~]",
        ),
        ("one whose time is over", "ZADD r 1 a\n@look_readers 1 r 5\n= [0, 0]"),
    ]);
}

#[test]
fn readers_let_go() {
    check(&[
        ("the last one says so", "1: SUBSCRIBE q:r\nZADD r 9999999999999 a 9999999999999 b\n@read_release 2 w r a 0 q: ''\n@read_release 2 w r b 0 q: ''\n= 1"),
        (
            "later",
            "@read 3 w r i a 60000 '' '' 0\n@read_release 2 w r a 80000 '' ''\n= 1\nZRANGE r 0 -1\n= [a:released]\nPTTL r\n= ~
            @read_release 2 w r a 0 '' ''\n= 1\n@read_extend 2 w r a 60000 ''\n= -1\n@write 3 w r i x 60000 '' '' '' '' '' ''\n= [a:released, ~, nil]",
        ),
    ]);
}

#[test]
fn readers_share_the_token_of_the_writer_before_them() {
    check(&[
        (
            "which they do not raise",
            "@write 4 w r i f x 60000 500 700 90000 '' '' ''\n= 700\n@write_release 2 w i x 0 '' '' '' '' 0
            @read 4 w r i f a 60000 800 90000 0\n= 700\n@read 4 w r i f b 60000 800 90000 0\n= 700
            @write 4 w r i f x 60000 500 700 90000 '' '' ''\n= [b, ~, 700]\n@read_release 2 w r a 0 '' ''\n@read_release 2 w r b 0 '' ''
            @write 4 w r i f x 60000 500 700 90000 '' '' ''\n= 701",
        ),
        ("or begin", "@read 4 w r i f a 60000 800 90000 0\n= 800\nPTTL f\n= ~"),
        ("but not on a node that forgot", "@read 4 w r i f a 60000 '' 90000 0\n= 1\nEXISTS f\n= 0"),
        ("nor where somebody else wrote", "SET f x\n@read 4 w r i f a 60000 800 90000 0\nEXISTS r\n= 0\nSET f -3\n@read 4 w r i f a 60000 '' 90000 0\n= 1"),
        ("and tell what is too great", "SET f 9223372036854775807\n@read 4 w r i f a 60000 800 90000 0\n= 9007199254740992"),
        (
            "and commit",
            "@read 4 w r i f a 60000 '' 90000 0\n@read_commit 3 w r f a 900 90000\n= 900\nGET f\n= 900\n@read_commit 3 w r f a 800 90000\n= 800
            GET f\n= 900\n@read_commit 3 w r f b 950 90000\n= nil\nGET f\n= 900\nZADD r 1 c\n@read_commit 3 w r f c 950 90000\n= nil",
        ),
    ]);
}

#[test]
fn several_names_are_granted_together() {
    check(&[
        (
            "all or none",
            "@several 2 a b x 60000 '' '' '' '' 2 '' '' '' ''\n= 1\nPTTL a\n= ~\nGET b\n= x\n@several 2 b c y 60000 '' '' '' '' 2 '' '' '' ''\n= [x, ~, nil]
            EXISTS c\n= 0\n@several 2 0a b y 60000 '' '' '' '' 2 '' '' '' ''\nEXISTS 0a\n= 0",
        ),
        ("beside a plain lock", "SET b python PX 30000\n@several 2 a b x 60000 '' '' '' '' 2 '' '' '' ''\n= [python, ~, nil]\nEXISTS a\n= 0"),
        ("again", "SET a x PX 30000\nSET b x PX 90000\n@several 3 a b c x 60000 '' '' '' '' 3 '' '' '' ''\n= 1\nGET c\n= x\nPTTL b\n= ~"),
        ("where something else stands", "RPUSH b x\n@several 2 a b x 60000 '' '' '' '' 2 '' '' '' ''\nEXISTS a\n= 0"),
        ("with one counter", "SET g 900\n@several 4 a b f g x 60000 500 700 90000 '' 2 '' '' '' ''\n= 901\nGET f\n= 901\nGET g\n= 901\nPTTL f\n= ~"),
        ("with counters that begin", "@several 4 a b f g x 60000 500 700 90000 '' 2 '' '' '' ''\n= 700\nGET g\n= 700"),
        ("raised to the least", "SET f 7\nSET g 9\n@several 4 a b f g x 60000 500 700 90000 '' 2 '' '' '' ''\n= 500\nGET f\n= 500"),
        ("on a node that may have forgotten one", "SET g 900\n@several 4 a b f g x 60000 500 '' 90000 '' 2 '' '' '' ''\n= 1\nEXISTS f\n= 0\nGET g\n= 901"),
        ("where a counter is none", "SET g x\n@several 4 a b f g x 60000 500 700 90000 '' 2 '' '' '' ''\nEXISTS a b f\n= 0"),
        (
            "or refused with the greatest counter",
            "SET a y PX 30000\nSET f 5\nSET g 900\n@several 4 a b f g x 60000 500 700 90000 '' 2 '' '' '' ''\n= [y, ~, 900]\nDEL f
            @several 4 a b f g x 60000 500 700 90000 '' 2 '' '' '' ''\n= [y, ~, 900]\n@several 4 a b f g x 60000 500 '' 90000 '' 2 '' '' '' ''\n= [y, ~, nil]",
        ),
        (
            "to those who wait",
            "SET b y PX 30000\n@several 2 a b x 60000 '' '' '' p 2 '' '' '' '' c d\n= [y, ~, nil]\nZRANGE d 0 -1\n= [p]\nEXISTS c\n= 0\nPTTL d\n= ~
            DEL b\n@several 2 a b x 60000 '' '' '' p 2 '' '' '' '' c d\n= 1\n@several_release 2 a b x 0 ''\n@several 2 a b x 60000 '' '' '' q 2 '' '' '' '' c d\n= -1",
        ),
        (
            "to who has waited for longest",
            "SET b y PX 30000\n@several 2 a b x 60000 '' '' '' p 2 500 1 627 9000 c d\n= [y, ~, nil]\nDEL b
            @several 2 a e z 60000 '' '' '' '' 2 0 2 2 0 c f\n= [nil, ~, nil]\nEXISTS a e\n= 0
            @several 2 e g z 60000 '' '' '' '' 2 0 2 2 0 f h\n= 1\n@several_release 2 e g z 0 ''
            @several 2 a e z 60000 '' '' '' '' 2 '' '' '' ''\n= 1\n@several_release 2 a e z 0 ''
            @several 2 a b x 60000 '' '' '' p 2 510 1 640 9000 c d\n= 1\nZRANGE c 0 -1\n= []\nZRANGE d 0 -1\n= [p]
            @several_release 2 a b x 0 ''\n@several 2 a e z 60000 '' '' '' '' 2 0 2 2 0 c f\n= 1",
        ),
        (
            "to anybody when its time is over",
            "SET b y PX 30000\n@several 2 a b x 60000 '' '' '' p 2 500 1 627 20 c d\nafter 21\n@several 2 a e z 60000 '' '' '' '' 2 0 2 2 0 c f\n= 1",
        ),
        (
            "to who has waited for nearly as long",
            "SET b y PX 30000\n@several 2 a b x 60000 '' '' '' p 2 500 1 627 9000 c d\n@several 2 a e z 60000 '' '' '' '' 2 450 2 9999 0 c f\n= 1",
        ),
        (
            "and of several others a change of each is told",
            "SET a y PX 30000\nSET b z PX 30000\n@several 2 a b x 60000 '' '' '' '' 2 '' '' '' ''
            SET b w PX 30000\n@several 2 a b x 60000 '' '' '' '' 2 '' '' '' ''",
        ),
        (
            "where one key alone is named",
            "@several 1 a x 60000 500 700 90000 '' 2 '' '' '' '' b f g\n= 700\nGET b\n= x\nGET g\n= 700\n@several_extend 1 a x 90000 b\n= 1
            @several_commit 1 a x 800 90000 2 b f g\n= 800\n@several_release 1 a x 0 '' b\n= 1\nEXISTS a b\n= 0",
        ),
    ]);
}

#[test]
fn who_has_waited_for_longest_has_precedence_however_many_processes_wait() {
    let (waits, later) = (
        "SET b y PX 30000\n@several 2 a b x 60000 '' '' '' p 2 500 1 627 9000 c d\nPEXPIRE c 60000",
        "9000000000000000",
    );
    for (count, score) in [(15, later), (16, later), (600, later), (15, "1"), (40, "1")] {
        let processes: Vec<_> = (0..count).map(|process| format!("{score} process-{process}")).collect();
        let processes = processes.join(" ");
        let refused = "@several 2 a e z 60000 '' '' '' '' 2 0 2 2 0 c f\n= [nil, ~, nil]\nEXISTS a e\n= 0";
        check(&[("beside processes", &format!("{waits}\nZADD c {processes}\n{refused}"))]);
    }
}

#[test]
fn several_names_are_held_together() {
    check(&[
        (
            "and extended",
            "SET a x PX 30000\nSET b x PX 90000\n@several_extend 2 a b x 60000\n= 1\nPTTL a\nPTTL b\nDEL a\n@several_extend 2 a b x 900000\n= -1
            PTTL b\nEXISTS a\n= 0\nSET a y\n@several_extend 2 a b x 60000\n= 0",
        ),
        (
            "and committed",
            "SET a x\nSET b x\n@several_commit 4 a b f g x 1795900726913123 60000 2\n= 1795900726913123\nGET g\n= 1795900726913123\nPTTL f\n= ~
            SET f 1795900726913200\n@several_commit 4 a b f g x 1795900726913150 60000 2\n= 1795900726913200\nGET g\n= 1795900726913150
            SET b y\n@several_commit 4 a b f g x 1795900726913160 60000 2\n= nil\nGET g\n= 1795900726913150",
        ),
        (
            "and released",
            "SET a x\nSET b y\n@several_release 3 a b c x 0 ''\n= 1\nGET b\n= y\n@several_release 3 a b c x 0 ''\n= 0
            SET c x\n@several_release 3 a b c x 50000 ''\n= 1\nGET c\n= x:released\nPTTL c\n= ~\n@several_release 3 a b c x 0 ''\n= 1",
        ),
        ("and published", "1: SUBSCRIBE q:a q:b\nSET a x\nSET b x\n@several_release 2 a b x 0 q:\n= 1"),
        ("whatever else stands there", "RPUSH a x\nSET b x\n@several_release 2 a b x 0 ''\n= 1\nEXISTS b\n= 0\n@several_extend 2 a b x 60000"),
    ]);
}
