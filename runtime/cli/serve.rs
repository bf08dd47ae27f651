//! `abide serve`: the agents of the project and the workflows of the program, as tools of an MCP server, and a process that works on
//! whatever is due or interrupted. It listens to this machine alone unless there is a token to show.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use abide_mcp::serve::{Gate, Server, listen, serve_lines};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::args::{Serve as Args, Stay};
use super::failure::{ENVIRONMENT, Failure};
use super::session::{Opened, Session};
use super::start::in_background;
use super::stop::Stop;
use crate::agents::Agents;
use crate::serve::{Options, SecretError, Served, seal_beside, token};

/// The largest message over stdin.
const LINE: usize = 16 << 20;

/// Bytes of stdin that wait to be read.
const AHEAD: usize = 64 * 1024;

/// The way in.
enum Way {
    Stdio,
    Http(TcpListener, Box<Gate>, String),
    /// It only works on what is there.
    None,
}

/// Carries out `abide serve`.
pub(crate) async fn serve(session: &Session, args: &Args) -> Result<(), Failure> {
    let way = way(session, args).await?;
    let workflows = session.workflows();
    let opened = session.open_to_recover(Agents::new(session.env.clone(), args.trust)).await?;
    let seal = match seal_beside(&session.db.path) {
        Ok(seal) => seal,
        Err(error) => {
            opened.close().await;
            return Err(secret(&error));
        }
    };
    if let Err(failure) = session.limit_queues(&opened.abide).await {
        opened.close().await;
        return Err(failure);
    }
    let hints = session.hints.clone();
    let command = Arc::new(move |words: &[&str]| hints.command(words));
    let options = Options { within: Duration::from_secs(args.within), command };
    let Opened { abide, agents } = opened;
    let offered = Served::new(abide, agents, session.env.clone(), workflows, Arc::clone(&seal), options);
    for warning in offered.warnings() {
        session.screen.say(&format!("warning: {warning}"));
    }
    let stays = matches!(way, Way::Stdio);
    if let Way::Http(_, _, url) = &way {
        if session.screen.json {
            session.screen.document(&serde_json::json!({ "url": url }))?;
        }
        session.screen.say(&format!("serving MCP at {url}"));
    }
    let server = Server::new(Arc::new(offered.clone()), seal);
    let stop = Stop::listen();
    let left = tokio::select! {
        result = through(server, way) => result,
        () = stop.asked() => Ok(false),
    };
    let at_work = offered.is_at_work();
    if let Some((abide, agents)) = offered.into_parts().await {
        Opened { abide, agents }.close().await;
    }
    let left = left?;
    if stays && left && at_work {
        // The client is gone; what it has started goes on.
        in_background(session, None, Stay { trust: args.trust, ..Stay::default() })?;
    }
    Ok(())
}

/// True if the client closed its end.
async fn through(server: Server, way: Way) -> Result<bool, Failure> {
    match way {
        Way::None => std::future::pending().await,
        Way::Http(listener, gate, _) => {
            listen(server, listener, *gate).await;
            Ok(false)
        }
        Way::Stdio => {
            let (reader, writer) = tokio::io::simplex(AHEAD);
            read_stdin(writer);
            let reader = tokio::io::BufReader::new(reader);
            serve_lines(server, reader, tokio::io::stdout(), LINE).await.map(|()| true).or_else(|error| {
                // Nobody reads any more: that is how clients end, too.
                if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(true) } else { Err(broken(&error)) }
            })
        }
    }
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(ENVIRONMENT, "stdio", format!("the client cannot be spoken to: {error}"), "start it anew")
}

/// Reads stdin on a thread of its own: nothing can call a read off, and nobody waits for this one.
fn read_stdin(mut to: tokio::io::WriteHalf<tokio::io::SimplexStream>) {
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        let mut part = vec![0; AHEAD];
        loop {
            let read = std::io::stdin().lock().read(&mut part);
            let Some(text) = read.ok().filter(|n| *n > 0).and_then(|n| part.get(..n)) else { break };
            if runtime.block_on(to.write_all(text)).is_err() {
                return;
            }
        }
        let _ = runtime.block_on(to.shutdown());
    });
}

async fn way(session: &Session, args: &Args) -> Result<Way, Failure> {
    let Some(address) = args.http else {
        return Ok(if args.stdio { Way::Stdio } else { Way::None });
    };
    if !address.ip().is_loopback() && args.token_file.is_none() {
        return Err(Failure::usage(
            format!("others than this machine could call {address}, and nothing is asked of them"),
            "give --token-file FILE, or an address of this machine, as in 127.0.0.1:8080",
        ));
    }
    let mut gate = args.allow_host.iter().fold(Gate::new(address.ip()), |gate, name| gate.host(name));
    if let Some(file) = &args.token_file {
        let path = session.env.cwd.join(file);
        let (token, new) = token(&path).map_err(|error| secret(&error))?;
        if new {
            session.screen.say(&format!("a token was made in {}", path.display()));
        }
        gate = gate.token(token);
    }
    let listener = TcpListener::bind(address).await.map_err(|error| taken(address, &error))?;
    let address = listener.local_addr().map_err(|error| taken(address, &error))?;
    Ok(Way::Http(listener, Box::new(gate), format!("http://{address}/mcp")))
}

fn taken(address: SocketAddr, error: &std::io::Error) -> Failure {
    let message = format!("nothing can be served at {address}: {error}");
    Failure::new(ENVIRONMENT, "address", message, "name another address; port 0 is any that is free")
}

fn secret(error: &SecretError) -> Failure {
    Failure::new(ENVIRONMENT, "secret", error.to_string(), error.help())
}
