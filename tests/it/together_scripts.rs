//! What several locks are asked for in one script comes to the same as what each is asked for in a script of its own.

use std::time::Duration;

use redis::{RedisError, Value, cmd};
use redlock_tests::{Probe, RedisServer};

use crate::common::key;

const TOGETHER: &str = include_str!("../../redlock-runtime/src/node/redis/lua/together.lua");
const RELEASE: &str = include_str!("../../redlock-runtime/src/node/redis/lua/release.lua");
const COMMIT: &str = include_str!("../../redlock-runtime/src/node/redis/lua/commit.lua");
const ACQUIRE: &str = concat!(
    include_str!("../../redlock-runtime/src/node/redis/lua/acquire.lua"),
    include_str!("../../redlock-runtime/src/node/redis/lua/raise.lua"),
    include_str!("../../redlock-runtime/src/node/redis/lua/contend.lua"),
    include_str!("../../redlock-runtime/src/node/redis/lua/acquire_told.lua")
);

const OWNER: &str = "owner";
const TTL: u64 = 60_000;
/// An hour, in milliseconds.
const RETENTION: u64 = 3_600_000;
/// What counters are raised to at least: a moment in microseconds.
const LEAST: u64 = 1_700_000_000_000_000;

/// What is asked of a lock.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Release,
    Commit,
    /// With what the counter begins, if it is created.
    Fenced(Option<u64>),
    Plain,
}

/// In the order in which the script sees to them.
const ALL: [Asked; 5] =
    [Asked::Release, Asked::Commit, Asked::Fenced(Some(LEAST + 7)), Asked::Fenced(None), Asked::Plain];

/// What is under a key before.
#[derive(Clone, Copy, Debug)]
enum Found {
    Nothing,
    Text(&'static str),
    /// A number, this much above what counters are raised to.
    Number(i64),
    List,
}

impl Found {
    fn set(self, probe: &Probe, key: &str) {
        match self {
            Self::Nothing => {}
            Self::Text(text) => probe.set_for(key, text, Duration::from_secs(1000)),
            Self::Number(above) => {
                let number = LEAST.checked_add_signed(above).unwrap();
                probe.set_for(key, &number.to_string(), Duration::from_secs(1000));
            }
            Self::List => probe.append(key, "entry"),
        }
    }
}

const LOCKS: [Found; 5] =
    [Found::Nothing, Found::Text(OWNER), Found::Text("owner:released"), Found::Text("another"), Found::List];

/// Usual ones, others, and those that are none.
const COUNTERS: [Found; 20] = [
    Found::Nothing,
    Found::Number(-1),
    Found::Number(0),
    Found::Number(1),
    Found::Number(-1_000_000),
    Found::Number(-3_000_000_000),
    Found::Number(700_000_000),
    Found::Text("5"),
    Found::Text("0"),
    Found::Text("-5"),
    Found::Text("-170000000000000"),
    Found::Text("9999999999999999"),
    Found::Text("9223372036854775807"),
    Found::Text("0000000000000001"),
    Found::Text(" 170000000000000"),
    Found::Text("1e15000000000000"),
    Found::Text("1.69000000000000"),
    Found::Text("text"),
    Found::Text(""),
    Found::List,
];

fn fence(name: &str) -> String {
    format!("redlock-fence:{{{}}}", key(name))
}

/// A server, and what it is asked.
struct Asking {
    server: RedisServer,
}

impl Asking {
    fn eval(&self, script: &str, keys: &[String], arguments: &[String]) -> Value {
        let mut eval = cmd("EVAL");
        eval.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        self.server.probe().run(&eval).unwrap_or_else(|error: RedisError| Value::SimpleString(code(&error.to_string())))
    }

    fn alone(&self, asked: Asked, name: &str) -> Value {
        let (lock, fence) = (key(name), fence(name));
        let text = |number: u64| number.to_string();
        match asked {
            Asked::Release => self.eval(RELEASE, &[lock], &[OWNER.into(), "0".into()]),
            Asked::Commit => self.eval(COMMIT, &[lock, fence], &[OWNER.into(), text(LEAST), text(RETENTION)]),
            Asked::Fenced(first) => {
                let first = first.map(text).unwrap_or_default();
                self.eval(ACQUIRE, &[lock, fence], &[OWNER.into(), text(TTL), text(LEAST), first, text(RETENTION)])
            }
            Asked::Plain => self.eval(ACQUIRE, &[lock], &[OWNER.into(), text(TTL)]),
        }
    }

    /// All of this in one script, in this order.
    fn together(&self, all: &[(Asked, String)]) -> Vec<Value> {
        let count = |is_one: fn(&Asked) -> bool| all.iter().filter(|(asked, _)| is_one(asked)).count().to_string();
        let mut keys = Vec::new();
        let mut arguments = vec![
            count(|asked| matches!(asked, Asked::Release)),
            count(|asked| matches!(asked, Asked::Commit)),
            count(|asked| matches!(asked, Asked::Fenced(_))),
            count(|asked| matches!(asked, Asked::Plain)),
            RETENTION.to_string(),
        ];
        for (asked, name) in all {
            keys.push(key(name));
            arguments.push(OWNER.into());
            match asked {
                Asked::Release => {}
                Asked::Plain => arguments.push(TTL.to_string()),
                Asked::Commit => {
                    keys.push(fence(name));
                    arguments.push(LEAST.to_string());
                }
                Asked::Fenced(first) => {
                    keys.push(fence(name));
                    let first = first.map(|first| first.to_string()).unwrap_or_default();
                    arguments.extend([TTL.to_string(), LEAST.to_string(), first]);
                }
            }
        }
        // A client takes one error for that of the whole.
        let script = TOGETHER.replace(
            "\nreturn answers",
            "\nfor i = 1, #answers do
                if type(answers[i]) == 'table' and answers[i].err then answers[i] = 'error: ' .. answers[i].err end
            end
            return answers",
        );
        match self.eval(&script, &keys, &arguments) {
            Value::Array(answers) => answers.into_iter().map(told).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// What is under a key, and whether its life was renewed.
    fn found(&self, key: &str) -> (Option<String>, bool) {
        let probe = self.server.probe();
        let is_renewed = probe.pttl(key).remaining().is_some_and(|left| left > Duration::from_secs(1000));
        let value: Option<String> = probe.run(cmd("GET").arg(key)).unwrap_or_else(|_| Some("no text".to_owned()));
        (value, is_renewed)
    }
}

/// What an error is about.
fn code(error: &str) -> String {
    let known = ["WRONGTYPE", "not an integer", "would overflow", "attempt to compare"];
    (*known.iter().find(|known| error.contains(**known)).unwrap_or(&error)).to_owned()
}

/// An answer, without what may differ: how long a key lives in milliseconds, and an error's words.
fn told(value: Value) -> Value {
    match value {
        Value::BulkString(text) => match String::from_utf8_lossy(&text).strip_prefix("error: ") {
            Some(error) => Value::SimpleString(code(error)),
            None => Value::BulkString(text),
        },
        Value::Array(mut told) if told.len() >= 2 => {
            if matches!(told[1], Value::Int(1..)) {
                told[1] = Value::Int(1);
            }
            Value::Array(told)
        }
        other => other,
    }
}

#[test]
fn an_answer_and_what_is_left_are_the_same_as_alone_whatever_was_found() {
    let asking = Asking { server: RedisServer::start() };
    let probe = asking.server.probe();
    for lock in LOCKS {
        let mut all = Vec::new();
        for asked in ALL {
            for counter in COUNTERS {
                let name = format!("{}-{asked:?}-{counter:?}", all.len());
                for place in ["alone", "together"] {
                    lock.set(&probe, &key(&format!("{place}-{name}")));
                    counter.set(&probe, &fence(&format!("{place}-{name}")));
                }
                all.push((asked, name));
            }
        }
        // By so many as are sent at once.
        for several in all.chunks(32) {
            let together: Vec<_> = several.iter().map(|(asked, name)| (*asked, format!("together-{name}"))).collect();
            let answers = asking.together(&together);
            assert_eq!(answers.len(), several.len());
            for ((asked, name), answer) in several.iter().zip(answers) {
                let alone = told(asking.alone(*asked, &format!("alone-{name}")));
                assert!(is_same(*asked, &alone, &answer), "{lock:?} {name}: alone {alone:?}, together {answer:?}");
                for of in [key as fn(&str) -> String, fence] {
                    let [one, other] = ["alone", "together"].map(|place| asking.found(&of(&format!("{place}-{name}"))));
                    assert_eq!(one, other, "{lock:?} {name}: {}", of(""));
                }
            }
        }
        probe.flush_all();
    }
}

/// A release reads what is no text as nothing, which is what its error means to whoever asked.
fn is_same(asked: Asked, alone: &Value, together: &Value) -> bool {
    let is_no_text = *alone == Value::SimpleString("WRONGTYPE".to_owned());
    alone == together || matches!(asked, Asked::Release) && is_no_text && *together == Value::Int(0)
}
