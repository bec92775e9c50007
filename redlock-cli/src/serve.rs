//! `redlock serve`: the whole fleet as a page, and as figures for Prometheus. It reads, and writes nothing.

mod access;
mod events;
mod gate;
mod json;
mod metrics;
mod pages;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use self::access::Access;
use self::gate::Gate;
use crate::args::Nodes;
use crate::exit::{Failure, OURS};
use crate::fleet::Fleet;
use crate::output::all;
use crate::signals;

const EXAMPLES: &str = "\
Examples:
  redlock serve                                       http://127.0.0.1:9632/, for this machine alone
  ssh -L 9632:127.0.0.1:9632 host redlock serve       the same, from afar
  redlock serve --listen 0.0.0.0:9632 --token-file /etc/redlock/token
  curl -H \"Authorization: Bearer $(cat token)\" http://host:9632/metrics

It reads and changes nothing. Behind a proxy that signs people in, leave it on 127.0.0.1, and name the
proxy's host with --host if the proxy passes that on.";

/// Shows all locks and nodes as a page, and as figures for Prometheus (/metrics); it changes nothing
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Where to listen; elsewhere than on this machine alone, --token-file is needed
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1:9632")]
    listen: SocketAddr,
    /// A file with the token that everybody needs to get in, of at least 16 characters: as a bearer token, or in the form that the page
    /// shows
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Answer requests for this host too, such as that of a proxy in front; may be repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// An address and a port; names are not looked up, so that it is sure who can reach it.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an address of this machine and a port: 127.0.0.1:9632 or [::1]:9632 for this machine alone, 0.0.0.0:9632 for all".to_owned()
    })
}

/// What every request may need.
#[derive(Clone)]
pub(crate) struct Served {
    fleet: Fleet,
    access: Arc<Access>,
    /// So many can be told of changes at once.
    listeners: Arc<Semaphore>,
}

/// So many pages can be open at once. Each costs a look at all locks a few times a second.
const LISTENERS: usize = 128;

pub(crate) fn main(nodes: &Nodes, options: &Options) -> Result<ExitCode, Failure> {
    let access = Access::new(options)?;
    let locks = nodes.manager()?;
    let runtime = signals::runtime(Builder::new_multi_thread().worker_threads(2))?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await.map_err(|error| {
            failure(format!("cannot listen on {}: {error}; choose another place with --listen", options.listen))
        })?;
        let address = listener.local_addr().map_err(|error| failure(error.to_string()))?;
        let mut terminated = signal(SignalKind::terminate()).map_err(|error| failure(error.to_string()))?;
        let access = Arc::new(access.at(address));
        // Whoever started it may not read that.
        all(format!("serving http://{address}/\n").as_bytes())?;
        let served = Served { fleet: Fleet::start(locks), access, listeners: Arc::new(Semaphore::new(LISTENERS)) };
        // Those who listen to changes never end by themselves, so nobody waits for them.
        tokio::select! {
            served = axum::serve(Gate::new(listener), router(served)).into_future() => {
                served.map_err(|error| failure(format!("cannot serve any more: {error}")))
            }
            _ = terminated.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    });
    // A look that is under way is nothing to wait for.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/", get(pages::index))
        .route("/lock", get(pages::index))
        .route("/app.js", get(pages::script))
        .route("/theme.js", get(pages::theme))
        .route("/style.css", get(pages::style))
        .route("/events", get(events::locks))
        .route("/events/lock", get(events::lock))
        .route("/api/locks", get(json::locks))
        .route("/api/lock", get(json::lock))
        .route("/api/nodes", get(json::nodes))
        .route("/metrics", get(metrics::metrics))
        .route("/login", get(pages::login).post(access::sign_in))
        .route("/logout", post(access::sign_out))
        .fallback(pages::nothing)
        .layer(from_fn_with_state(served.clone(), access::guard))
        .with_state(served)
}

fn failure(message: String) -> Failure {
    Failure { code: OURS, message }
}
