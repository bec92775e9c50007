//! CLIENT.

use super::output::Output;
use super::{ConnectionId, Server, wrong_number};
use crate::commands::{is_word, text};
use crate::connection::Tracking;
use crate::number::parse_integer;
use crate::reply::Reply;

impl Server {
    pub(super) fn client(&mut self, from: ConnectionId, arguments: &[&[u8]], output: &mut Output) -> Reply {
        let [_, subcommand, rest @ ..] = arguments else { return wrong_number(b"client") };
        let version = self.keyspace.version;
        let client = self.connections.get_mut(&from);
        let Some(client) = client else { return wrong_number(b"client") };
        let is = |word: &str| is_word(subcommand, word);
        match rest {
            [] if is("ID") => Reply::Integer(i64::try_from(client.number).unwrap_or(i64::MAX)),
            [] if is("INFO") && version >= (6, 2, 0) => Reply::Text(format!("{}\n", client.describe())),
            [] if is("LIST") => {
                let all = self.connections.values().map(|client| format!("{}\n", client.describe()));
                Reply::Text(all.collect())
            }
            [] if is("GETNAME") && client.name.is_empty() => Reply::Nil,
            [] if is("GETNAME") => Reply::bulk(&client.name),
            [name] if is("SETNAME") => {
                client.name = text(name);
                Reply::OK
            }
            [_, _] if is("SETINFO") && version >= (7, 2, 0) => Reply::OK,
            [_] if is("NO-EVICT") && version >= (7, 0, 0) || is("NO-TOUCH") && version >= (7, 2, 0) => Reply::OK,
            [mode, options @ ..] if is("TRACKING") && version >= (6, 0, 0) => self.track(from, mode, options),
            [choice] if is("CACHING") && version >= (6, 0, 0) => {
                let tracking = &mut client.tracking;
                if !tracking.is_on {
                    return Reply::error(
                        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                         enabled",
                    );
                }
                if !is_word(choice, "YES") {
                    return Reply::syntax_error();
                }
                if !tracking.is_opt_in {
                    return Reply::error(
                        "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                    );
                }
                tracking.is_caching = true;
                Reply::OK
            }
            filter if is("KILL") => self.kill(from, filter, output),
            _ => {
                // What older servers do not know, clients ask for all the same.
                let is_later = ["INFO", "SETINFO", "NO-EVICT", "NO-TOUCH", "TRACKING", "CACHING"].into_iter().any(is);
                if !is_later {
                    self.keyspace.unknown.push(format!("CLIENT {}", text(subcommand)));
                }
                Reply::error(if version >= (7, 0, 0) {
                    format!("ERR unknown subcommand '{}'. Try CLIENT HELP.", text(subcommand))
                } else {
                    format!(
                        "ERR Unknown subcommand or wrong number of arguments for '{}'. Try CLIENT HELP",
                        text(subcommand)
                    )
                })
            }
        }
    }

    fn track(&mut self, from: ConnectionId, mode: &[u8], options: &[&[u8]]) -> Reply {
        let Some(client) = self.connections.get_mut(&from) else { return Reply::syntax_error() };
        if is_word(mode, "OFF") {
            client.tracking = Tracking::default();
            return Reply::OK;
        }
        let mut tracking = Tracking { is_on: true, ..Tracking::default() };
        for option in options {
            if is_word(option, "OPTIN") {
                tracking.is_opt_in = true;
            } else if is_word(option, "NOLOOP") {
                tracking.skips_own = true;
            } else {
                self.keyspace.unknown.push(format!("CLIENT TRACKING with {}", text(option)));
                return Reply::syntax_error();
            }
        }
        if !is_word(mode, "ON") {
            return Reply::syntax_error();
        }
        client.tracking = tracking;
        Reply::OK
    }

    // Source: `clientKillCommand`, https://github.com/redis/redis/blob/7.0/src/networking.c
    fn kill(&mut self, from: ConnectionId, filter: &[&[u8]], output: &mut Output) -> Reply {
        if let [address] = filter {
            let mut meant = self.connections.iter().filter(|(_, client)| client.peer.to_string() == text(address));
            return match meant.next() {
                Some((&connection, _)) => {
                    self.end(connection, from, &Reply::OK, output);
                    Reply::OK
                }
                None => Reply::error("ERR No such client"),
            };
        }
        let (mut number, mut address, mut skips_own) = (None, None, true);
        for pair in filter.chunks(2) {
            match *pair {
                [name, value] if is_word(name, "ID") => match parse_integer(value).filter(|id| *id > 0) {
                    Some(id) => number = Some(id.unsigned_abs()),
                    None => return Reply::error("ERR client-id should be greater than 0"),
                },
                [name, value] if is_word(name, "ADDR") => address = Some(text(value)),
                [name, value] if is_word(name, "SKIPME") && is_word(value, "yes") => skips_own = true,
                [name, value] if is_word(name, "SKIPME") && is_word(value, "no") => skips_own = false,
                [_, _] => {
                    self.keyspace.unknown.push(format!("CLIENT KILL {}", text(pair[0])));
                    return Reply::syntax_error();
                }
                _ => return Reply::syntax_error(),
            }
        }
        let is_meant = |(id, client): &(&ConnectionId, &crate::connection::Connection)| {
            number.is_none_or(|number| client.number == number)
                && address.as_ref().is_none_or(|address| client.peer.to_string() == *address)
                && !(skips_own && **id == from)
        };
        let meant: Vec<_> = self.connections.iter().filter(is_meant).map(|(&id, _)| id).collect();
        let killed = Reply::count(meant.len());
        for connection in meant {
            self.end(connection, from, &killed, output);
        }
        killed
    }

    /// Closes a connection; if it is the one that asked for that, it still gets the reply.
    fn end(&mut self, connection: ConnectionId, from: ConnectionId, reply: &Reply, output: &mut Output) {
        if let Some(client) = self.connections.get(&connection).filter(|_| connection == from) {
            reply.write(client.protocol, output.to(from));
        }
        self.forget(connection);
        output.close(connection);
    }
}
