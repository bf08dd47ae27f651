//! Agents and workflows as tools of an MCP server: a call is a run, and a run is durable. It speaks no protocol (`mcp/serve` does),
//! and works on no run (the host does): a client that goes away ends nothing.
//!
//! - [`Served`]: what is offered; `offer` is how it answers, with `runs` for clients that come back by themselves
//! - `catalog`: the tools that there are, each with the hash of its definition, and `glance` whether they have changed; `begin` a run
//!   of one of them
//! - `stands`: how a run stands, for a client; `questions` what it asks, as forms, and what the answers mean
//! - `secrets`: the key for handles, and the token of clients over HTTP

mod begin;
mod catalog;
mod glance;
mod offer;
mod questions;
mod runs;
mod secrets;
mod stands;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use abide_engine::Wait;
use abide_mcp::serve::Seal;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::agents::Agents;
use crate::config::Env;
use crate::{Abide, HostError, Progress, ProgressKind, Run};

pub use catalog::Described;
pub use secrets::{SecretError, seal_beside, token};

/// For how long an answer counts as given that its run has not heard of yet.
const ON_ITS_WAY: Duration = Duration::from_secs(60);

/// How often, and how long, requests that were dropped are waited for at the end.
const LAST_LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(10);

/// How a server is to behave.
#[derive(Clone)]
pub struct Options {
    /// A client that does not know how to come back for a result is answered within this.
    pub within: Duration,
    /// Completes a command of abide for a person: `["show", "r1"]` is `abide show r1`.
    pub command: Arc<Complete>,
}

/// Completes a command.
pub type Complete = dyn Fn(&[&str]) -> String + Send + Sync;

/// The agents of a project and the workflows of a program, offered to MCP clients. A clone is the same one.
#[derive(Clone)]
pub struct Served {
    shared: Arc<Shared>,
}

struct Shared {
    abide: Abide,
    agents: Agents,
    env: Env,
    workflows: Vec<Described>,
    seal: Arc<Seal>,
    options: Options,
    /// Questions that were answered, and when: their runs may not have heard of it yet.
    answered: Mutex<HashMap<String, Instant>>,
    /// Runs that ask something, as far as this process was told: the rest of them may be at work.
    asking: Mutex<HashSet<String>>,
    /// The hash of this program, once it was needed.
    program: std::sync::OnceLock<String>,
    glance: glance::Glance,
}

impl Served {
    /// Needs a tokio runtime around it. Offers these workflows of the database, and the agents that `env` finds. The database should recover by itself
    /// (`Builder::recover`): what clients say to a run is heard by whoever works on it.
    pub fn new(
        abide: Abide,
        agents: Agents,
        env: Env,
        workflows: Vec<Described>,
        seal: Arc<Seal>,
        options: Options,
    ) -> Self {
        let (answered, asking, program, glance) = Default::default();
        let progress = abide.progress();
        let shared = Shared { abide, agents, env, workflows, seal, options, answered, asking, program, glance };
        let shared = Arc::new(shared);
        tokio::spawn(listen(Arc::downgrade(&shared), progress));
        tokio::spawn(glance::watch(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Does this process work on a run that goes on by itself?
    pub fn is_at_work(&self) -> bool {
        let pid = std::process::id();
        let runs = self.shared.abide.list(1_000).unwrap_or_default();
        runs.iter().any(|run| run.owner_pid == Some(pid))
    }

    /// What it stands on, as soon as nobody else has it any more; None if somebody keeps it.
    pub async fn into_parts(self) -> Option<(Abide, Agents)> {
        let mut shared = self.shared;
        for _ in 0..LAST_LOOKS {
            match Arc::try_unwrap(shared) {
                Ok(shared) => return Some((shared.abide, shared.agents)),
                Err(kept) => shared = kept,
            }
            // Requests that were dropped are let go of by whoever worked on them.
            tokio::time::sleep(LOOK).await;
        }
        None
    }

    /// What those cannot be offered who cannot be run, for a person to read.
    pub fn warnings(&self) -> Vec<String> {
        self.shared.catalog().1
    }
}

impl Shared {
    /// The run of a handle that was given out here.
    fn run_of(&self, handle: &str) -> Option<Run> {
        let id = self.seal.id_of(handle)?;
        self.abide.get(id).ok().filter(|run| run.id() == id)
    }

    fn asking(&self) -> MutexGuard<'_, HashSet<String>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|_, at| at.elapsed() < ON_ITS_WAY);
        answered
    }
}

/// Notes who asks something.
async fn listen(shared: Weak<Shared>, mut progress: Receiver<Progress>) {
    loop {
        let event = match progress.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if let ProgressKind::Asked { wait: Wait::Approval | Wait::Answer, .. } = event.what {
            let Some(shared) = shared.upgrade() else { return };
            shared.asking().insert(event.run.to_string());
        }
    }
}

/// An error with what to do about it.
fn told(error: &HostError) -> String {
    format!("{error}\n{}", error.help())
}
