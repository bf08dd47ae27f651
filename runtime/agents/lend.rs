//! Agents and patterns written in Rust: as workflows of a [`Builder`], with the models, servers and secrets that the project's files name. It
//! pins nothing: what is code belongs to the program.

use std::sync::Arc;

use abide_engine::{Error, ErrorKind};
use abide_llm::{AgentHost, BoxFuture, Client, EnvVars, Input, ModelConfig, Redactor, ToolCall, ToolSpec, Tools, Work};
use abide_mcp::{Host, Servers};
use serde_json::Value;

use super::hosts::said;
use crate::Builder;
use crate::config::{ConfigError, Env, Project};
use crate::os::GroupLauncher;
use crate::vault::FileVault;

impl Builder {
    /// Registers an agent or a pattern as a workflow of its name: it takes a text (or an [`Input`] in JSON), and gives its answer as text, or in
    /// JSON where it has one.
    ///
    /// To clients of `abide serve` it is what it says that it is good for, and takes a text; [`Builder::describe`] says something else.
    ///
    /// With it agents are lent what they need ([`Builder::agents`]), unless the program has lent an [`AgentHost`] itself.
    pub fn agent(self, work: impl Work) -> Self {
        let work: Arc<dyn Work> = Arc::new(work);
        let name = work.name().to_owned();
        let builder = if self.lends::<AgentHost>() { self } else { self.agents() };
        #[cfg(feature = "serve")]
        let builder = {
            let about = match work.about().trim() {
                "" => format!("Has `{name}` do something"),
                about => about.to_owned(),
            };
            let input = serde_json::json!({"type": "string", "minLength": 1, "description": "What it is to do"});
            builder.describe(&name, &about, input)
        };
        builder.workflow(name, move |ctx, input: Input| {
            let work = work.clone();
            async move { work.begin(&ctx, input).await.map(said) }
        })
    }

    /// Lends agents what they need: the servers that the files of the project around the working folder declare, with the consent that the user has
    /// given before, and the variables of the process. Where the files are broken, an agent that has servers fails with what is wrong.
    pub fn agents(self) -> Self {
        self.resource(Arc::new(host().unwrap_or_else(|error| broken(&error))))
    }
}

/// The model that this name means in the files of the project around the working folder: an entry of `[models]`, or `vendor/NAME`.
///
/// ```no_run
/// let local = abide::agents::model("local")?;
/// # Ok::<(), abide::config::ConfigError>(())
/// ```
pub fn model(name: &str) -> Result<ModelConfig, ConfigError> {
    Project::load(&Env::of_process()?)?.model_named(Some(name))
}

fn host() -> Result<AgentHost, ConfigError> {
    let project = Project::load(&Env::of_process()?)?;
    let consented = Arc::new(project.consented()?);
    let (vars, redactor) = (Arc::new(project.vars()), Redactor::default());
    for server in project.servers() {
        abide_mcp::teach_secrets(server, project.root(), vars.as_ref(), &redactor);
    }
    for name in project.model_names() {
        if let Ok(model) = project.model_named(Some(name)) {
            model.teach(vars.as_ref(), &redactor);
        }
    }
    let limits = project.limits();
    let host = Host {
        launcher: Arc::new(GroupLauncher),
        consent: consented.clone(),
        redactor: redactor.clone(),
        vault: Arc::new(FileVault::new(project.env())),
        limits: limits.of_servers(),
    };
    let servers = Servers::new(host, project.for_servers(&[], &consented)?);
    let client = Client::default().reply_bytes(limits.reply_bytes);
    Ok(AgentHost { client, tools: Arc::new(servers), vars, redactor })
}

/// For agents without servers; the others are told what is wrong.
fn broken(error: &ConfigError) -> AgentHost {
    let tools = Broken(format!("{error}: {}", error.help()));
    AgentHost {
        client: Client::default(),
        tools: Arc::new(tools),
        vars: Arc::new(EnvVars),
        redactor: Redactor::default(),
    }
}

struct Broken(String);

impl Tools for Broken {
    fn discover(&self, _: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>, Error>> {
        let error = Error::new(ErrorKind::Environment, &self.0);
        Box::pin(async { Err(error) })
    }

    fn call(&self, _: ToolCall, _: std::collections::BTreeMap<String, Value>) -> BoxFuture<Result<Value, Error>> {
        let error = Error::new(ErrorKind::Environment, &self.0);
        Box::pin(async { Err(error) })
    }
}
