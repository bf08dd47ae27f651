//! Makes the workflows of agents' runs from what the runs have pinned. It reads no agent's file: a run goes on whatever was
//! edited, moved or deleted since it began.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abide_engine::{Ctx, Error, ErrorKind, Parked, Resources, Result, workflow};
use abide_llm::{AgentHost, Answer, Client, Input, Redactor, Vars, Work};
use abide_mcp::{Host, Rules, Servers};
use futures_util::future::join_all;
use serde_json::Value;

use super::AgentRun;
use crate::config::{self, ConsentRequest, Consented, Env, FileVars, Project};
use crate::host::{Factory, Made};
use crate::os::GroupLauncher;
use crate::vault::FileVault;
use crate::{Definition, HostError};

/// What the runs of agents share in this process. A clone is the same.
#[derive(Clone)]
pub struct Agents {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    /// `--trust`: everything is consented to, in this process only.
    trust: bool,
    client: Client,
    pools: Mutex<HashMap<[u8; 32], Arc<Pool>>>,
}

/// Servers, consent and secrets of the runs that pinned the same servers and model under the same root.
///
/// No more is shared: a redactor that knew another run's secrets would fill them in wherever a text names them.
struct Pool {
    servers: Servers,
    consented: Arc<Consented>,
    redactor: Redactor,
    vars: Arc<dyn Vars>,
    limits: config::Limits,
}

impl Agents {
    /// Starts nothing. With `trust` everything is consented to, in this process only.
    pub fn new(env: Env, trust: bool) -> Self {
        Self { shared: Arc::new(Shared { env, trust, client: Client::default(), pools: Mutex::default() }) }
    }

    /// The surroundings in which files are looked up.
    #[cfg(feature = "cli")]
    pub(super) fn env(&self) -> &Env {
        &self.shared.env
    }

    /// The factory of agents' runs, for `Builder::factory` under [`super::FACTORY`].
    pub fn factory(&self) -> Factory {
        let agents = self.clone();
        Arc::new(move |run, definition, resources| agents.make(run, definition, resources))
    }

    /// Knows every secret that such a run can meet, as far as it is set now.
    pub fn redactor(&self, run: &str, pinned: &AgentRun, root: &Path) -> std::result::Result<Redactor, HostError> {
        Ok(self.pool(run, pinned, root)?.redactor.clone())
    }

    /// What has not been consented to of all that a run needs.
    pub fn missing_consent(
        &self,
        run: &str,
        definition: &Definition,
    ) -> std::result::Result<Vec<ConsentRequest>, HostError> {
        let pinned = AgentRun::read(run, definition)?;
        Ok(self.pool(run, &pinned, &AgentRun::root(definition))?.consented.missing(&pinned.consents))
    }

    /// Records the user's consent to what this run needs, for good.
    pub fn grant(
        &self,
        run: &str,
        definition: &Definition,
        requests: &[ConsentRequest],
    ) -> std::result::Result<(), HostError> {
        let pinned = AgentRun::read(run, definition)?;
        let pool = self.pool(run, &pinned, &AgentRun::root(definition))?;
        pool.consented.grant(requests).map_err(|error| broken(run, &error))
    }

    /// Ends all servers; none starts after this.
    pub async fn shutdown(&self) {
        let pools: Vec<_> = self.shared.pools().values().cloned().collect();
        join_all(pools.iter().map(|pool| pool.servers.shutdown())).await;
    }

    fn make(&self, run: &str, definition: &Definition, resources: Resources) -> std::result::Result<Made, HostError> {
        let pinned = AgentRun::read(run, definition)?;
        let root = AgentRun::root(definition);
        let pool = self.pool(run, &pinned, &root)?;
        let project = project(run, &pinned, &root, &pool)?;
        let host = AgentHost {
            client: self.shared.client.clone().reply_bytes(pool.limits.reply_bytes),
            tools: Arc::new(pool.servers.for_project(project)),
            vars: pool.vars.clone(),
            redactor: pool.redactor.clone(),
        };
        let work = pinned.work.work().map_err(|why| broken(run, &why))?;
        let endpoints: Arc<[ConsentRequest]> = pinned.endpoints().cloned().collect();
        let workflow = workflow(move |ctx, input: Input| {
            converse(ctx, work.clone(), endpoints.clone(), pool.consented.clone(), input)
        });
        Ok(Made { workflow, resources: resources.with(Arc::new(host)) })
    }

    fn pool(&self, run: &str, pinned: &AgentRun, root: &Path) -> std::result::Result<Arc<Pool>, HostError> {
        let same = serde_json::to_vec(&(root, pinned.models(), &pinned.servers));
        let key = *blake3::hash(&same.map_err(|error| broken(run, &error))?).as_bytes();
        if let Some(pool) = self.shared.pools().get(&key) {
            return Ok(pool.clone());
        }
        let env = &self.shared.env;
        let consented = Project::consented_at(root, env).map_err(|error| broken(run, &error))?;
        // As they are now, so that a limit can be raised for a run that met it; a project that is gone or broken has none.
        let limits = Project::load_at(root, env).map(|project| project.limits()).unwrap_or_default();
        let consented = Arc::new(if self.shared.trust { consented.to_everything() } else { consented });
        let vars: Arc<dyn Vars> = Arc::new(FileVars::new(root, env));
        let redactor = Redactor::default();
        pinned.teach(root, vars.as_ref(), &redactor);
        let host = Host {
            launcher: Arc::new(GroupLauncher),
            consent: consented.clone(),
            redactor: redactor.clone(),
            vault: Arc::new(FileVault::new(env)),
            limits: limits.of_servers(),
        };
        let nothing = abide_mcp::Project {
            root: root.to_path_buf(),
            servers: Vec::new(),
            rules: Rules::default(),
            trusted: std::collections::BTreeSet::new(),
            sampling: std::collections::BTreeMap::new(),
            vars: vars.clone(),
        };
        let pool = Arc::new(Pool { servers: Servers::new(host, nothing), consented, redactor, vars, limits });
        Ok(self.shared.pools().entry(key).or_insert(pool).clone())
    }
}

impl Shared {
    fn pools(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the run has pinned, as far as it holds with the consent of now.
fn project(
    run: &str,
    pinned: &AgentRun,
    root: &Path,
    pool: &Pool,
) -> std::result::Result<abide_mcp::Project, HostError> {
    Ok(abide_mcp::Project {
        root: root.to_path_buf(),
        servers: pinned.servers.clone(),
        rules: Rules::new(pinned.rules(&pool.consented)).map_err(|error| broken(run, &error))?,
        trusted: pinned.trusted(&pool.consented),
        sampling: pinned.sampling(&pool.consented),
        vars: pool.vars.clone(),
    })
}

fn broken(run: &str, error: &dyn std::fmt::Display) -> HostError {
    HostError::Environment { run: run.to_owned(), why: error.to_string() }
}

/// The workflow of every such run: the answer to a text, as text or in JSON.
async fn converse(
    ctx: Ctx,
    work: Arc<dyn Work>,
    endpoints: Arc<[ConsentRequest]>,
    consented: Arc<Consented>,
    input: Input,
) -> Result<Value> {
    // Depends on what is pinned alone, so that a replay takes the same way whatever was consented to since.
    for request in endpoints.iter() {
        let consented = consented.clone();
        let ask = move |request: ConsentRequest| {
            let covered = consented.covers(&request);
            async move { if covered { Ok(()) } else { Err(no_consent(&request)) } }
        };
        ctx.step("consent", request.clone(), ask).pure().await?;
    }
    let answer = work.begin(&ctx, input).await?;
    if !answer.is_complete() {
        ctx.status(&serde_json::json!({ "incomplete": answer.stop }));
    }
    Ok(said(answer))
}

/// What a run comes to: text, or JSON where there is some.
pub(super) fn said(answer: Answer) -> Value {
    answer.value.unwrap_or(Value::String(answer.text))
}

fn no_consent(request: &ConsentRequest) -> Error {
    let message = format!(
        "{} sends prompts to another machine and may not without your consent ({}): read it, then `abide trust`, or add \
         --trust for this time",
        request.file,
        request.lines.join("; ")
    );
    Error::new(ErrorKind::Park(Parked::Trust), message)
}
