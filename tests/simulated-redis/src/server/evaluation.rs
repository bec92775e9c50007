//! EVAL, EVALSHA and SCRIPT.

use std::sync::Arc;

use super::{Server, wrong_number};
use crate::commands::{is_word, text};
use crate::number::parse_integer;
use crate::reply::Reply;
use crate::script::{self, Hash};

const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

impl Server {
    pub(super) fn evaluate_known<'a>(&mut self, arguments: &[&'a [u8]]) -> (Reply, Vec<&'a [u8]>) {
        if arguments.len() < 3 {
            return (wrong_number(b"evalsha"), Vec::new());
        }
        let Some(hash) = read_hash(arguments[1]) else { return (Reply::error(NO_SCRIPT), Vec::new()) };
        let (keys, words) = match split(arguments) {
            Ok(split) => split,
            Err(refusal) => return (refusal, Vec::new()),
        };
        let Some(source) = self.scripts.get(&hash).map(Arc::clone) else {
            return (Reply::error(NO_SCRIPT), Vec::new());
        };
        let reply = self.run(&hash, &source, keys, words);
        (self.unless_failing(reply), keys.to_vec())
    }

    pub(super) fn evaluate<'a>(&mut self, arguments: &[&'a [u8]]) -> (Reply, Vec<&'a [u8]>) {
        if arguments.len() < 3 {
            return (wrong_number(b"eval"), Vec::new());
        }
        let (keys, words) = match split(arguments) {
            Ok(split) => split,
            Err(refusal) => return (refusal, Vec::new()),
        };
        let hash = match self.load(arguments[1]) {
            Ok(hash) => hash,
            Err(refusal) => return (refusal, Vec::new()),
        };
        (self.run(&hash, arguments[1], keys, words), keys.to_vec())
    }

    pub(super) fn script(&mut self, arguments: &[&[u8]]) -> Reply {
        match arguments {
            [_, what, source] if is_word(what, "LOAD") => match self.load(source) {
                Ok(hash) => Reply::bulk(hash),
                Err(refusal) => refusal,
            },
            [_, what, hashes @ ..] if is_word(what, "EXISTS") && !hashes.is_empty() => {
                let is_known = |hash: &&[u8]| read_hash(hash).is_some_and(|hash| self.scripts.contains_key(&hash));
                Reply::Array(hashes.iter().map(|hash| Reply::Integer(is_known(hash).into())).collect())
            }
            [_, what, ..] if is_word(what, "FLUSH") => {
                self.flush_scripts();
                Reply::OK
            }
            [_, what, ..] => {
                self.keyspace.unknown.push(format!("SCRIPT {}", text(what)));
                Reply::error(format!("ERR unknown subcommand '{}'. Try SCRIPT HELP.", text(what)))
            }
            _ => wrong_number(b"script"),
        }
    }

    /// Runs a script, as it reads with what was [patched](Server::patch_scripts).
    fn run(&mut self, hash: &Hash, source: &[u8], keys: &[&[u8]], words: &[&[u8]]) -> Reply {
        if let Some((before, after)) = self.patch
            && let Ok(source) = str::from_utf8(source)
            && source.contains(before)
        {
            let source = source.replace(before, after);
            return script::run(&mut self.keyspace, &script::hash(source.as_bytes()), source.as_bytes(), keys, words);
        }
        script::run(&mut self.keyspace, hash, source, keys, words)
    }

    fn load(&mut self, source: &[u8]) -> Result<Hash, Reply> {
        let hash = script::hash(source);
        script::compile(&hash, source)?;
        self.scripts.entry(hash).or_insert_with(|| source.into());
        Ok(hash)
    }

    fn unless_failing(&mut self, reply: Reply) -> Reply {
        let Some((count, error)) = &mut self.failing else { return reply };
        let error = Reply::error(error.clone());
        *count -= 1;
        if *count == 0 {
            self.failing = None;
        }
        error
    }
}

fn read_hash(text: &[u8]) -> Option<Hash> {
    let mut hash: Hash = text.try_into().ok()?;
    hash.make_ascii_lowercase();
    Some(hash)
}

type Words<'s, 'a> = &'s [&'a [u8]];

/// The keys and the arguments of a script.
fn split<'s, 'a>(arguments: Words<'s, 'a>) -> Result<(Words<'s, 'a>, Words<'s, 'a>), Reply> {
    let keys = parse_integer(arguments[2]).ok_or_else(Reply::not_an_integer)?;
    let keys = usize::try_from(keys).map_err(|_| Reply::error("ERR Number of keys can't be negative"))?;
    let too_many = || Reply::error("ERR Number of keys can't be greater than number of args");
    arguments[3..].split_at_checked(keys).ok_or_else(too_many)
}
