//! An agent without tools as a workflow of the library, for tests that need a real agent and their own clock. It judges nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use abide::Builder;
use abide::prelude::*;
use abide_llm::{
    Agent, AgentHost, BoxFuture, Client, EnvVars, ModelConfig, Provider, Redactor, ToolCall, ToolSpec, Tools,
};
use serde_json::Value;

struct NoTools;

impl Tools for NoTools {
    fn discover(&self, _: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn call(&self, _: ToolCall, _: BTreeMap<String, Value>) -> BoxFuture<Result<Value>> {
        Box::pin(async { Err(terminal("there are no tools")) })
    }
}

/// A model at this address that is asked for whole answers.
pub fn model(provider: Provider, base_url: &str) -> ModelConfig {
    let mut model = ModelConfig::new(provider, "m");
    (model.base_url, model.stream) = (Some(base_url.to_owned()), Some(false));
    model
}

/// With the workflow `ask`: an agent of this model that is asked what the run's input says.
pub fn asking(builder: Builder, model: ModelConfig) -> Builder {
    let ask = move |ctx: Ctx, text: String| {
        let agent = Agent::new("asker").model(model.clone());
        async move { Ok::<_, Error>(agent.run(&ctx, text).await?.text) }
    };
    lending(builder).workflow("ask", ask)
}

/// With what agents and models need of their host.
pub fn lending(builder: Builder) -> Builder {
    let (client, redactor) = (Client::default(), Redactor::default());
    builder.resource(Arc::new(AgentHost { client, tools: Arc::new(NoTools), vars: Arc::new(EnvVars), redactor }))
}
