//! Lua.
//!
//! One Lua state a thread runs the scripts of all servers there, and keeps what it compiled. While a script runs, the keys of
//! its server are lent to the state.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{BorrowedBytes, Error, Function, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value};

use crate::commands::{self, Name, find};
use crate::keyspace::Keyspace;
use crate::number::format_float;
use crate::reply::Reply;

/// The SHA-1 of a script's source, in hexadecimal.
pub(crate) type Hash = [u8; 40];

/// What every script finds. The arguments are ours: to call a command, and to write an error as text.
const PRELUDE: &str = include_str!("prelude.lua");

thread_local! {
    static ENGINE: Engine = Engine::new().unwrap_or_else(|error| panic!("the scripts' surroundings do not run: {error}"));
}

/// The Lua state of a thread.
struct Engine {
    lua: Lua,
    /// Calls a script with KEYS and ARGV, and writes what it raises as a table.
    run: Function,
    /// The scripts that were compiled, whichever servers know them.
    compiled: RefCell<HashMap<Hash, Function>>,
    /// The keys of the server whose script runs.
    lent: Rc<RefCell<Keyspace>>,
}

/// A command that a script called was refused.
#[derive(Debug)]
struct CallFailed(String);

impl std::fmt::Display for CallFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CallFailed {}

/// The hash by which a server knows a script.
pub(crate) fn hash(source: &[u8]) -> Hash {
    let mut hash = [0; 40];
    let digest = sha1_smol::Sha1::from(source).digest().to_string();
    hash.copy_from_slice(digest.as_bytes());
    hash
}

/// Compiles a script, or says why that is impossible.
pub(crate) fn compile(hash: &Hash, source: &[u8]) -> Result<(), Reply> {
    ENGINE.with(|engine| engine.function(hash, source).map(drop))
}

/// Runs a script on these keys.
pub(crate) fn run(keyspace: &mut Keyspace, hash: &Hash, source: &[u8], keys: &[&[u8]], arguments: &[&[u8]]) -> Reply {
    ENGINE.with(|engine| {
        let script = match engine.function(hash, source) {
            Ok(script) => script,
            Err(refusal) => return refusal,
        };
        engine.lent.replace(mem::take(keyspace));
        let result = engine.call(&script, keys, arguments);
        *keyspace = engine.lent.take();
        match result {
            Ok((true, value)) => reply_of(&value, 0),
            Ok((false, raised)) => error_of(&raised, hash),
            Err(error) => Reply::error(format!("ERR {error}")),
        }
    })
}

impl Engine {
    fn new() -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        let lent = Rc::new(RefCell::new(Keyspace::default()));
        let prelude = lua.load(PRELUDE).set_name("=prelude").into_function()?;
        let calling = Rc::clone(&lent);
        let call =
            lua.create_function(move |lua, arguments: MultiValue| match carry_out(lua, &calling, &arguments)? {
                Ok(value) => Ok(value),
                Err(refusal) => Err(Error::external(CallFailed(refusal))),
            })?;
        let calling = Rc::clone(&lent);
        let protected_call =
            lua.create_function(move |lua, arguments: MultiValue| match carry_out(lua, &calling, &arguments)? {
                Ok(value) => Ok(value),
                Err(refusal) => Ok(Value::Table(single_field(lua, "err", refusal)?)),
            })?;
        let sha1hex = lua.create_function(|lua, text: LuaString| lua.create_string(hash(&text.as_bytes())))?;
        let describe = lua.create_function(|_, raised: Value| Ok(describe(&raised)))?;
        let line = lua.create_function(|lua, ()| Ok((1..8).find_map(|level| line(lua, level))))?;
        let note_unknown = {
            let lent = Rc::clone(&lent);
            lua.create_function(move |_, what: String| {
                lent.borrow_mut().unknown.push(what);
                Ok(())
            })?
        };
        let run = prelude.call((call, protected_call, sha1hex, describe, line, note_unknown))?;
        Ok(Self { lua, run, compiled: RefCell::default(), lent })
    }

    fn function(&self, hash: &Hash, source: &[u8]) -> Result<Function, Reply> {
        if let Some(script) = self.compiled.borrow().get(hash) {
            return Ok(script.clone());
        }
        let script = self.lua.load(source).set_name("@user_script").into_function().map_err(|error| {
            let reason = match &error {
                Error::SyntaxError { message, .. } => message.clone(),
                other => other.to_string(),
            };
            Reply::error(format!("ERR Error compiling script (new function): {reason}"))
        })?;
        self.compiled.borrow_mut().insert(*hash, script.clone());
        Ok(script)
    }

    fn call(&self, script: &Function, keys: &[&[u8]], arguments: &[&[u8]]) -> mlua::Result<(bool, Value)> {
        let table = |words: &[&[u8]]| self.lua.create_sequence_from(words.iter().map(LuaString::wrap));
        self.run.call((script, table(keys)?, table(arguments)?))
    }
}

/// The line of the script at this level of the stack, if it is one.
fn line(lua: &Lua, level: usize) -> Option<usize> {
    lua.inspect_stack(level, |frame| {
        let is_script = frame.source().short_src.as_deref() == Some("user_script");
        frame.current_line().filter(|_| is_script)
    })?
}

/// What an error says that a script raised or caught.
fn describe(raised: &Value) -> Option<String> {
    let Value::Error(error) = raised else { return None };
    let mut error = &**error;
    while let Error::CallbackError { cause, .. } = error {
        error = cause;
    }
    Some(match error {
        Error::ExternalError(cause) => cause.to_string(),
        other => format!("ERR {other}"),
    })
}

/// Carries a command out that a script calls.
fn carry_out(lua: &Lua, lent: &RefCell<Keyspace>, arguments: &MultiValue) -> mlua::Result<Result<Value, String>> {
    let mut words = Vec::with_capacity(arguments.len());
    for argument in arguments {
        words.push(match argument {
            Value::String(text) => Word::Text(text.as_bytes()),
            Value::Integer(number) => Word::Written(number.to_string()),
            Value::Number(number) => Word::Written(format_float(*number)),
            _ => return Ok(Err("ERR Lua redis lib command arguments must be strings or integers".to_owned())),
        });
    }
    let words: Vec<&[u8]> = words.iter().map(Word::as_bytes).collect();
    let Some(name) = words.first() else {
        return Ok(Err("ERR Please specify at least one argument for this redis lib call".to_owned()));
    };
    let keyspace = &mut *lent.borrow_mut();
    let Some(spec) = find(Name::new(name).as_bytes(), keyspace.version) else {
        if !commands::is_known_later(Name::new(name).as_bytes()) {
            keyspace.unknown.push(format!("{} within a script", commands::text(name)));
        }
        return Ok(Err("ERR Unknown Redis command called from script".to_owned()));
    };
    if !spec.has_arity(words.len()) {
        return Ok(Err("ERR Wrong number of args calling Redis command from script".to_owned()));
    }
    if let Some(refusal) = spec.refused(keyspace.refusal) {
        return Ok(Err(refusal.to_owned()));
    }
    if let Some(refusal) = keyspace.refused_to_script(spec.keys_in(&words)) {
        return Ok(Err(refusal.to_owned()));
    }
    match spec.run(keyspace, &words) {
        Reply::Error(refusal) => Ok(Err(refusal.into_owned())),
        reply => value_of(lua, &reply).map(Ok),
    }
}

/// A word of a command that a script calls.
enum Word {
    Text(BorrowedBytes),
    Written(String),
}

impl Word {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Written(text) => text.as_bytes(),
        }
    }
}

/// What a script gets for a reply.
// Source: https://redis.io/docs/latest/develop/programmability/lua-api/#data-type-conversion
fn value_of(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Status(text) => Value::Table(single_field(lua, "ok", text)?),
        Reply::Error(text) => Value::Table(single_field(lua, "err", text)?),
        #[allow(clippy::cast_precision_loss, reason = "all numbers of Lua are floats")]
        Reply::Integer(number) => Value::Number(*number as f64),
        Reply::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Text(text) => Value::String(lua.create_string(text)?),
        Reply::Double(number) => Value::String(lua.create_string(format_float(*number))?),
        Reply::Nil => Value::Boolean(false),
        Reply::Array(items) | Reply::Map(items) | Reply::Push(items) | Reply::Several(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(value_of(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}

fn single_field(lua: &Lua, name: &str, text: impl AsRef<str>) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, text.as_ref())?;
    Ok(table)
}

/// What a server answers for what a script returns.
// Source: `luaReplyToRedisReply`, https://github.com/redis/redis/blob/7.0/src/script_lua.c
fn reply_of(value: &Value, depth: usize) -> Reply {
    match value {
        Value::Integer(number) => Reply::Integer(*number),
        #[allow(clippy::cast_possible_truncation, reason = "Redis truncates numbers")]
        Value::Number(number) => Reply::Integer(*number as i64),
        Value::String(text) => Reply::Bulk(Arc::from(&*text.as_bytes())),
        Value::Boolean(true) => Reply::Integer(1),
        Value::Table(_) if depth > 100 => Reply::error("ERR reached lua stack limit"),
        Value::Table(table) => reply_of_table(table, depth),
        _ => Reply::Nil,
    }
}

fn reply_of_table(table: &Table, depth: usize) -> Reply {
    let field = |name: &str| match table.raw_get(name) {
        Ok(Value::String(text)) => Some(text.to_string_lossy()),
        _ => None,
    };
    if table.raw_len() == 0 {
        if let Some(error) = field("err") {
            return Reply::error(error);
        }
        if let Some(status) = field("ok") {
            return Reply::Status(status.into());
        }
    }
    let mut items = Vec::with_capacity(table.raw_len());
    while let Ok(value) = table.raw_get::<Value>(items.len() + 1) {
        if value.is_nil() {
            break;
        }
        items.push(reply_of(&value, depth + 1));
    }
    Reply::Array(items)
}

/// What a server answers for what a script raised.
// Source: `luaCallFunction`, https://github.com/redis/redis/blob/7.0/src/script_lua.c
fn error_of(raised: &Value, hash: &Hash) -> Reply {
    let Value::Table(raised) = raised else { return Reply::error("ERR the script raised what is no error") };
    let text: String = raised.raw_get("err").unwrap_or_default();
    let line: Option<i64> = raised.raw_get("line").unwrap_or_default();
    let place = line.map(|line| format!(", on @user_script:{line}")).unwrap_or_default();
    Reply::error(format!("{text} script: {}{place}.", commands::text(hash)))
}
