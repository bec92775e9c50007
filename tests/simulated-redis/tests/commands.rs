//! Commands outside of scripts, and what scripts make of replies.

use crate::pair::Pair;
use crate::wire::{pack, words};

fn check(sequences: &[(&str, &str)]) {
    let mut pair = Pair::start();
    for (name, lines) in sequences {
        pair.check(name, lines);
        pair.check(name, &format!("HELLO 3\n{lines}"));
    }
    assert_eq!(pair.simulated.unknown(), <[String; 0]>::default());
}

/// Evaluates a script in both protocols.
fn eval(pair: &mut Pair, source: &str) {
    let command = [b"EVAL".to_vec(), source.into(), b"1".to_vec(), b"k".to_vec(), b"x".to_vec()];
    for protocol in ["HELLO 2", "HELLO 3"] {
        pair.begin(source);
        pair.line(protocol);
        pair.send(0, &command);
        pair.end();
    }
}

#[test]
fn texts() {
    check(&[
        ("several", "SET k v\nRPUSH l a\nMGET k x l k\nMGET x\nMGET"),
        ("set", "SET k v\nGET k\nSTRLEN k\nSTRLEN x\nGET x\nTYPE k\nTYPE x\nEXISTS k x k"),
        ("set if missing", "SET k v NX\nSET k w NX\nGET k\nSET x v XX\nSET k w XX\nGET k"),
        (
            "set and get",
            "SET k v GET\nSET k w GET\nSET k x NX GET PX 60000\nGET k\nPTTL k\nSET y x NX GET PX 60000\nPTTL y",
        ),
        (
            "set with an expiry",
            "SET k v PX 60000\nPTTL k\nTTL k\nSET k v EX 90\nPTTL k\nSET k w KEEPTTL\nPTTL k\nSET k w\nPTTL k",
        ),
        ("set until", "SET k v PXAT 1\nGET k\nSET k v EXAT 1\nGET k"),
        (
            "set as nobody does",
            "SET k v NX XX\nSET k v PX\nSET k v PX x\nSET k v PX 0\nSET k v PX -1\nSET k v PX 1 EX 1\nSET k v FOO\nSET k v PX 9223372036854775807",
        ),
        ("of a list", "RPUSH k a\nGET k\nSTRLEN k\nSET k v GET\nINCR k\nSET k v\nGET k"),
        (
            "numbers",
            "INCR k\nINCRBY k 41\nINCRBY k x\nDECR k\nDECRBY k 2\nGET k\nSET k x\nINCR k\nSET k 9223372036854775807\nINCR k\nGET k",
        ),
        ("numbers that expire", "SET k 1 PX 60000\nINCR k\nPTTL k"),
        ("deleted", "SET a 1\nSET b 1\nDEL a b c\nDEL a\nSET a 1\nUNLINK a"),
    ]);
}

#[test]
fn expiries() {
    check(&[
        ("of none", "PTTL k\nTTL k\nPEXPIRE k 1000\nPERSIST k"),
        (
            "of one",
            "SET k v\nPTTL k\nTTL k\nPERSIST k\nPEXPIRE k 60000\nPTTL k\nPERSIST k\nPTTL k\nEXPIRE k 70\nPTTL k",
        ),
        ("in the past", "SET k v\nPEXPIRE k 0\nEXISTS k\nSET k v\nPEXPIRE k -5\nEXISTS k"),
        ("as nobody does", "SET k v\nPEXPIRE k x\nPEXPIRE k 9223372036854775807\nEXPIRE k 9223372036854775807"),
        ("that are over", "SET k v PX 300\nGET k\nafter 301\nGET k\nPTTL k\nEXISTS k\nSET k w XX\nINCR k\nGET k"),
        ("of a hash that are over", "HSET k a b\nPEXPIRE k 5\nafter 6\nHGET k a\nHSET k c d\nHGETALL k\nPTTL k"),
    ]);
}

#[test]
fn collections() {
    check(&[
        (
            "hashes",
            "HSET k a 1 b 2\nHSET k a 3 c 4\nHGET k a\nHGET k x\nHMGET k a x b\nHVALS k\nHGETALL k\nHDEL k a x\nHVALS k\nHDEL k b c\nEXISTS k",
        ),
        (
            "hashes as nobody does",
            "HSET k a 1 b\nHSET k a\nSET k v\nHGET k a\nHSET k a b\nHDEL k a\nHMGET k a\nHVALS k\nHGETALL k",
        ),
        (
            "lists",
            "RPUSH k a b c a\nRPUSH k d\nLLEN k\nLRANGE k 0 -1\nLRANGE k 1 2\nLRANGE k -2 -1\nLRANGE k 3 1\nLRANGE k 7 9\nLRANGE k -100 100\nLRANGE x 0 1",
        ),
        (
            "lists, changed",
            "RPUSH k a b c a\nLSET k 1 x\nLSET k -1 y\nLSET k 9 z\nLSET q 0 z\nLSET k z z\nLRANGE k 0 -1\nLREM k 0 a\nLREM k -1 y\nLREM k 5 q\nLRANGE k 0 -1\nLREM k 0 x\nLREM k 0 c\nEXISTS k",
        ),
        ("lists, removed from either end", "RPUSH k a b a b a\nLREM k 1 a\nLRANGE k 0 -1\nLREM k -1 b\nLRANGE k 0 -1"),
        (
            "lists, searched",
            "RPUSH k a b c a b\nLPOS k a\nLPOS k b RANK -1\nLPOS k b RANK 2\nLPOS k q\nLPOS k a RANK -1 MAXLEN 1\nLPOS k a RANK -1 MAXLEN 2\nLPOS x a",
        ),
        (
            "lists as nobody does",
            "SET k v\nRPUSH k a\nLLEN k\nLRANGE k 0 1\nLRANGE k x 1\nLSET k 0 a\nLREM k 0 a\nLREM k x a\nLPOS k a",
        ),
        (
            "sorted sets",
            "ZADD k 2 b 1 a 2 aa\nZADD k 3 a\nZADD k 3 a\nZCARD k\nZSCORE k a\nZSCORE k x\nZADD k 0.1 q\nZSCORE k q\nZRANGE k 0 -1\nZRANGE k 1 1\nZRANGE k -1 -1\nZRANGE k 5 9\nZREM k a x\nZCARD k\nZREM k b aa q\nEXISTS k",
        ),
        (
            "sorted sets by score",
            "ZADD k 1 a 2 b 3 c 4 d\nZRANGEBYSCORE k 2 3\nZRANGEBYSCORE k (2 +inf\nZRANGEBYSCORE k -inf (2\nZRANGEBYSCORE k 1 3 LIMIT 0 2\nZRANGEBYSCORE k 1 3 limit 1 9\nZRANGEBYSCORE k 1 3 LIMIT 9 1\nZRANGEBYSCORE k 1 3 LIMIT 1 0\nZRANGEBYSCORE k 1 3 LIMIT 1 -1\nZRANGEBYSCORE k 1 3 LIMIT -1 5\nZRANGEBYSCORE k x 3 LIMIT y 1\nZREMRANGEBYSCORE k -inf 2\nZREMRANGEBYSCORE k 9 10\nZRANGE k 0 -1\nZREMRANGEBYSCORE k -inf inf\nEXISTS k",
        ),
        (
            "sorted sets as nobody does",
            "ZADD k x a\nZADD k 1\nZADD k 1 a 2\nZADD k nan a\nZRANGE k x 1\nZRANGEBYSCORE k x 1\nZREMRANGEBYSCORE k x x\nSET k v\nZADD k 1 a\nZRANGE k 0 1\nZRANGE k x 1\nZRANGEBYSCORE k x 1\nZRANGEBYSCORE k 0 1\nZREM k a\nZCARD k\nZSCORE k a",
        ),
    ]);
}

#[test]
fn numbers_of_arguments() {
    let mut pair = Pair::start();
    let names = "GET SET INCR INCRBY STRLEN DEL EXISTS TYPE PTTL TTL PEXPIRE HSET HGET HMGET HDEL HVALS HGETALL RPUSH LLEN \
                 LRANGE LSET LREM LPOS ZADD ZREM ZCARD ZSCORE ZRANGE ZRANGEBYSCORE ZREMRANGEBYSCORE PUBLISH ECHO SELECT \
                 WAIT SUBSCRIBE EVAL EVALSHA CLIENT SCRIPT CONFIG";
    for name in names.split_whitespace() {
        pair.check(name, &format!("{name}\n{}", name.to_lowercase()));
    }
    pair.check("too many", "GET a b\nPTTL a b\nLRANGE k 0 1 2\nTIME x\nROLE x\nPUBLISH a b c\nDBSIZE x");
}

#[test]
fn keys_are_scanned() {
    check(&[
        ("none", "SCAN 0\nSCAN 0 MATCH k* COUNT 1000\nDBSIZE"),
        ("some", "SET k1 v\nSET x v\nSCAN 0 MATCH k* COUNT 1000\nSCAN 0 MATCH q* COUNT 1000\nDBSIZE"),
        ("as nobody does", "SCAN x\nSCAN 0 COUNT 0\nSCAN 0 COUNT x\nSCAN 0 MATCH"),
        ("flushed", "SET k v\nFLUSHALL\nDBSIZE\nSET k v\nFLUSHDB\nGET k"),
    ]);
}

#[test]
fn scripts_are_known_by_their_hash() {
    let hash = "4ca238f611c9d0ae4e9a75a5dbac22aedc379801";
    check(&[
        ("loaded", &*format!("EVALSHA {hash} 0\nSCRIPT LOAD return~5\nSCRIPT EXISTS {hash} {}", "0".repeat(40))),
        (
            "evaluated",
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0\nEVAL return~1 0\nEVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF831 0\nEVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
        ),
        ("flushed", "SCRIPT LOAD return~1\nSCRIPT FLUSH\nEVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0"),
        (
            "as nobody does",
            "EVALSHA x x\nEVALSHA x 0\nEVAL '' x\nEVAL return~1 x\nEVAL return~1 -1\nEVAL return~1 3 a b\nEVAL return~x~+ 0\nSCRIPT LOAD x~+",
        ),
        ("not loaded", "@extend 1 k a 1000\n!extend 1 k a 1000\n@extend 1 k a 1000"),
    ]);
}

#[test]
fn scripts_convert_replies() {
    let mut pair = Pair::start();
    for source in [
        "return {1, 2.7, -2.7, 'x', false, true, {'a', {}}, nil, 5}",
        "return nil",
        "return false",
        "return true",
        "return",
        "return 3.99",
        "return 1e15",
        "return ''",
        "return {}",
        "return {ok = 'FINE'}",
        "return {err = 'BAD news'}",
        "return redis.status_reply('FINE')",
        "return redis.error_reply('BAD news')",
        "return redis.error_reply('bad')",
        "return redis.sha1hex('')",
        "return {KEYS[1], ARGV[1], #KEYS, #ARGV}",
        "return redis.call('SET', KEYS[1], 'v')",
        "return redis.call('SET', KEYS[1], 'v').ok",
        "redis.call('SET', KEYS[1], 1.5) return redis.call('GET', KEYS[1])",
        "redis.call('SET', KEYS[1], 0.1) return redis.call('GET', KEYS[1])",
        "redis.call('SET', KEYS[1], 1.25e20) return redis.call('GET', KEYS[1])",
        "redis.call('SET', KEYS[1], 1795900726913) return redis.call('GET', KEYS[1])",
        "return redis.call('GET', 'none') == false",
        "return type(redis.call('GET', 'none'))",
        "redis.call('HSET', KEYS[1], 'a', 'b') return redis.call('HGETALL', KEYS[1])",
        "redis.call('ZADD', KEYS[1], 1.5, 'b') return redis.call('ZSCORE', KEYS[1], 'b')",
        "return redis.call('HMGET', KEYS[1], 'a', 'b')",
        "return redis.call('ZADD', KEYS[1], '1.5', 'b')",
        "return redis.call('TYPE', KEYS[1])",
        "return tostring(redis.call('INCR', KEYS[1]))",
        "return {redis.pcall('GET', KEYS[1]), 7}",
    ] {
        eval(&mut pair, source);
    }
    assert_eq!(pair.simulated.unknown(), <[String; 0]>::default());
}

#[test]
fn scripts_fail_in_the_same_words() {
    let mut pair = Pair::start();
    let list = "redis.call('RPUSH', KEYS[1], 'x') ";
    for source in [
        "return redis.call('GET', KEYS[1])",
        "return redis.pcall('GET', KEYS[1])",
        "return redis.pcall('GET', KEYS[1]).err",
        "local a = 1\nlocal b = redis.call('GET', KEYS[1])\nreturn b",
        "local ok, err = pcall(redis.call, 'GET', KEYS[1]) return {tostring(ok), err}",
        "local ok, err = pcall(function() return nil + 1 end) return {tostring(ok), err}",
        "local ok, err = pcall(error, {err = 'MY own'}) return {tostring(ok), type(err)}",
        "local x = nil + 1",
        "return foo",
        "foo = 1",
        "error('boo')",
        "error({err = 'My boo'})",
        "local function f() error('boo') end\nlocal function g()\nf()\nend\ng()",
        "return redis.call('get')",
        "return redis.pcall('get')",
        "return redis.call()",
        "return redis.call({})",
        "return redis.call('INCRBY', 'n', 3.5)",
        "return redis.call('SET', 'n', 'v', 'PX', 0)",
    ] {
        eval(&mut pair, &format!("{list}{source}"));
    }
    assert_eq!(pair.simulated.unknown(), <[String; 0]>::default());
}

#[test]
fn commands_that_nobody_knows_are_noted() {
    let mut pair = Pair::start();
    pair.check("unknown", "NOSUCH a b");
    assert_eq!(pair.simulated.unknown(), ["NOSUCH a b"]);
    eval(&mut pair, "return redis.call('NOSUCH')");
    assert!(pair.simulated.unknown().len() > 1, "{:?}", pair.simulated.unknown());
}

#[test]
fn pipelines_are_answered_in_order() {
    let mut pair = Pair::start();
    pair.begin("a pipeline");
    let commands = ["SET k v", "GET k", "NOSUCH", "INCR n", "PTTL k", "ECHO hello"];
    let bytes: Vec<u8> = commands.iter().flat_map(|line| pack(&words(line))).collect();
    pair.send_bytes(0, &bytes);
    pair.end();
}
