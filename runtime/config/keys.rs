//! Every key of `abide.toml`, with a line that sets it and what it does. The reader refuses all others; documentation
//! is made from it.

use super::node::KeyDoc;

const fn key(key: &'static str, example: &'static str, about: &'static str) -> KeyDoc {
    KeyDoc { key, example, about }
}

/// The tables of the file.
pub const SECTIONS: &[KeyDoc] = &[
    key("models", "[models.local]", "Models by names of your own, usable wherever a model is named."),
    key(
        "servers",
        "[servers.memory]",
        "MCP servers: what abide adds to the entries of .mcp.json, or servers of its own.",
    ),
    key("tools", "[tools.\"memory_*\"]", "What may be done with the tools that a glob over `server_tool` matches."),
    key("defaults", "[defaults]", "What holds where an agent says nothing."),
    key(
        "budget",
        "[budget]",
        "Ceilings for each run, with all runs that it starts: a call that could exceed one is not made, and the run parks.",
    ),
    key("limits", "[limits]", "How much is taken of models, servers and runs before it is refused."),
    key("workflows", "[workflows.report]", "Compositions of agents by a pattern."),
    key("queues", "[queues.reports]", "Queues in which runs wait for their turn."),
    key("agents", "[agents.researcher]", "Agents that have no file of their own."),
];

/// `[agents.NAME]`: the keys of an agent's file, and its instructions.
pub const AGENT: &[KeyDoc] = &[
    key("instructions", "instructions = \"You read before you answer.\"", "What the model is told it is."),
    key("description", "description = \"Finds facts\"", "What it is good for: planners and routers choose by it."),
    key("model", "model = \"local\"", "Its model; [defaults] says otherwise."),
    key("servers", "servers = [\"filesystem\", \"memory\"]", "The servers it uses; all that are declared otherwise."),
    key("tools", "tools = [\"memory_*\"]", "Globs of the tools that it sees; all without this."),
    key("disallowed_tools", "disallowed_tools = [\"memory_delete_*\"]", "Globs of tools that it does not see."),
    key("max_turns", "max_turns = 10", "The most calls of its model for one input."),
    key("max_cost_usd", "max_cost_usd = 0.5", "US dollars that it may spend within a run."),
    key("max_tokens", "max_tokens = 100000", "Tokens that it may use within a run."),
    key("max_time_s", "max_time_s = 600", "Seconds that it may take within a run."),
    key("priority", "priority = 5", "Its place among those that wait for one provider: the highest goes first."),
    key("queue", "queue = \"reports\"", "The queue in which its runs wait for their turn."),
    key("temperature", "temperature = 0.2", "The sampling temperature, in the place of its model's."),
    key("stop", "stop = [\"###\"]", "Texts before which its model stops."),
    key(
        "max_result_chars",
        "max_result_chars = 20000",
        "The most characters that the model is sent of one tool's result.",
    ),
    key("output", "output = { type = \"object\" }", "The JSON schema that its answer has to fit."),
    key("output_schema", "output_schema = \"answer.json\"", "The file with that schema, relative to this one."),
    key("tool_choice", "tool_choice = \"required\"", "Whether its first turn calls a tool: auto, required or none."),
    key("resources", "resources = [\"docs:file:///notes.md\"]", "What it is shown before its input."),
    key("skills", "skills = [\"review\"]", "Folders with a `SKILL.md` that it may load."),
    key("ask_person", "ask_person = true", "May it ask a person?"),
    key("ask_timeout_s", "ask_timeout_s = 3600", "Seconds after which it is told that nobody answered."),
    key("template", "template = true", "Are its instructions a template over the fields of a JSON input?"),
    key("memory", "memory = \"support\"", "A conversation that it goes on with from run to run."),
    key("memory_turns", "memory_turns = 20", "How much of that conversation it sees: turns."),
    key("memory_chars", "memory_chars = 40000", "The same in characters."),
];

/// `[models.NAME]`.
pub const MODEL: &[KeyDoc] = &[
    key("provider", "provider = \"openai\"", "The wire: openai, openai-responses, anthropic, gemini or ollama."),
    key("model", "model = \"smollm2\"", "The model's name at its provider."),
    key("base_url", "base_url = \"http://127.0.0.1:8080/v1\"", "Where the API is; `${VAR}` is read at each call."),
    key(
        "api_key",
        "api_key = \"${LOCAL_KEY}\"",
        "The key: a reference, or a literal, of which only the place is kept.",
    ),
    key("max_tokens", "max_tokens = 4096", "The most tokens an answer may have."),
    key(
        "context_tokens",
        "context_tokens = 200000",
        "The model's window: a conversation that nearly fills it is summarized; else as genai-prices knows it.",
    ),
    key("temperature", "temperature = 0.2", "The sampling temperature; the provider's own without it."),
    key("stop", "stop = [\"###\"]", "Texts before which the model stops; `openai-responses` has no such thing."),
    key(
        "attempts",
        "attempts = 5",
        "How often one call is made before it has failed for good; without it as often as it takes. A wait that the provider asks for uses up none.",
    ),
    key("timeout_s", "timeout_s = 600", "Seconds for one call, from its start to the end of its answer."),
    key(
        "idle_timeout_s",
        "idle_timeout_s = 120",
        "Seconds for which a streamed answer may fall silent once the model has begun to speak.",
    ),
    key("stream", "stream = true", "Is the answer asked for as a stream? `false` for endpoints that cannot."),
    key(
        "cache",
        "cache = true",
        "Is an `anthropic` endpoint told what to cache? `false` for one that refuses the marks.",
    ),
    key("headers", "headers = { x-team = \"${TEAM}\" }", "Further headers of every call."),
    key(
        "requests_per_minute",
        "requests_per_minute = 50",
        "The most requests in any minute, over all runs; else learnt.",
    ),
    key("tokens_per_minute", "tokens_per_minute = 40000", "The most tokens in any minute, over all runs; else learnt."),
    key("concurrency", "concurrency = 4", "The most requests at the same time, over all runs."),
    key(
        "price",
        "price = { input = 3.0, output = 15.0 }",
        "US dollars for a million tokens, `cache_read` and `cache_write` too; else as genai-prices knows it.",
    ),
    key(
        "structured",
        "structured = \"tool\"",
        "How an answer in JSON is asked for: native, tool or text; what its wire does best without it.",
    ),
    key(
        "bounds",
        "bounds = { text = 200, items = 3 }",
        "For a small model whose server holds it to schemas: the most characters of a text, and entries of a list, in what it says in JSON.",
    ),
    key("speed", "speed = 7", "How fast it is by your own measure: an agent with `model: fastest` takes the highest."),
    key("intelligence", "intelligence = 9", "How smart it is by your own measure, for `model: smartest`."),
    key(
        "fallback",
        "fallback = [\"other\"]",
        "Models that are asked instead when this one refuses for good or takes too long.",
    ),
    key("fallback_after_s", "fallback_after_s = 60", "Seconds of waiting after which a fallback is asked."),
];

/// `price` of a model.
pub const PRICE: &[KeyDoc] = &[
    key("input", "input = 3.0", "US dollars for a million tokens sent."),
    key("output", "output = 15.0", "US dollars for a million tokens received."),
    key("cache_read", "cache_read = 0.3", "US dollars for a million tokens read from the provider's cache."),
    key("cache_write", "cache_write = 3.75", "US dollars for a million tokens written to the provider's cache."),
];

/// `bounds` of a model.
pub const BOUNDS: &[KeyDoc] = &[
    key("text", "text = 200", "The most characters of a text."),
    key("items", "items = 3", "The most entries of a list."),
];

/// `[servers.NAME]`.
pub const SERVER: &[KeyDoc] = &[
    key("trust", "trust = true", "Believe the server's annotations (read-only, idempotent)."),
    key("command", "command = \"npx\"", "The program to start, for a server that .mcp.json does not declare."),
    key("args", "args = [\"-y\", \"@modelcontextprotocol/server-memory\"]", "Its arguments; no shell sees them."),
    key("env", "env = { MEMORY_FILE_PATH = \"memory.json\" }", "What is added to its minimal environment."),
    key("cwd", "cwd = \"data\"", "Its working folder, relative to the project's root, which it is by default."),
    key("url", "url = \"https://example.com/mcp\"", "The address of a server that is reached over HTTP."),
    key("headers", "headers = { Authorization = \"Bearer ${TOKEN}\" }", "Headers of every request over HTTP."),
    key("oauth", "oauth = { client_id = \"abide\" }", "What its authorization server was told of abide beforehand."),
    key("description", "description = \"Keeps facts\"", "What it is good for: a router with `servers` chooses by it."),
    key(
        "roots",
        "roots = true",
        "Tell it the project's root when it asks for roots: some servers then work there instead of where they were started.",
    ),
    key(
        "sampling",
        "sampling = \"ask\"",
        "May it have an agent's model asked for it, within the run's budget: allow, ask (a person, which is the default) or deny.",
    ),
    key(
        "protocol",
        "protocol = \"2025-11-25\"",
        "The version of the protocol it is spoken to in, 2025-11-25 or 2026-07-28; found out without this.",
    ),
];

/// `[servers.NAME.oauth]`: nothing of it is needed where a client may register itself.
pub const OAUTH: &[KeyDoc] = &[
    key(
        "grant",
        "grant = \"client_credentials\"",
        "How a token is got: authorization_code (a person logs in, with `abide login NAME`), client_credentials or jwt_bearer.",
    ),
    key("client_id", "client_id = \"abide\"", "The client's id, if it was registered beforehand."),
    key(
        "client_secret",
        "client_secret = \"${FAR_SECRET}\"",
        "Its secret: a reference, or a literal, of which only the place is kept.",
    ),
    key(
        "private_key",
        "private_key = \"${FAR_KEY}\"",
        "For client_credentials: the key that signs in the place of a secret, PKCS#8 in PEM, for ES256.",
    ),
    key(
        "assertion",
        "assertion = \"${WORKLOAD_TOKEN}\"",
        "For jwt_bearer: the signed token by which whoever runs abide vouches for it.",
    ),
    key(
        "client_metadata_url",
        "client_metadata_url = \"https://example.com/client.json\"",
        "The https address of a Client ID Metadata Document of yours, for authorization servers that read such.",
    ),
    key(
        "issuer",
        "issuer = \"https://login.example.com\"",
        "The only authorization server that may learn of these; the first that the server names otherwise.",
    ),
    key("scopes", "scopes = [\"read\"]", "The scopes to ask for; what the server says otherwise."),
    key(
        "redirect_port",
        "redirect_port = 8123",
        "The port of the redirect address `http://127.0.0.1:PORT/callback` that was registered; a free one otherwise.",
    ),
];

/// `[tools."GLOB"]`. Of overlapping globs the longest wins.
pub const TOOL: &[KeyDoc] = &[
    key("policy", "policy = \"ask\"", "May it be called without asking: allow, ask or deny."),
    key("effect", "effect = \"once\"", "What repeating a call would do: pure, idempotent or once."),
    key("timeout_s", "timeout_s = 60", "Seconds without an answer or progress after which an attempt is given up."),
    key(
        "max_timeout_s",
        "max_timeout_s = 3600",
        "Seconds after which an attempt is given up, whatever progress there is.",
    ),
    key(
        "attempts",
        "attempts = 3",
        "How often a call that may be repeated is attempted before the model is told that it failed (5).",
    ),
    key(
        "reconcile",
        "reconcile = \"memory_read_graph\"",
        "The read-only tool that tells whether a call in doubt has happened; `memory_find#/found` looks at that part of its \
         answer: {status: landed | did_not_happen | unknown, result?}, one of these words, or true or false.",
    ),
];

/// `[defaults]`.
pub const DEFAULTS: &[KeyDoc] =
    &[key("model", "model = \"local\"", "The model of an agent that names none, or says `inherit`.")];

/// `[budget]`.
pub const BUDGET: &[KeyDoc] = &[
    key("max_cost_usd", "max_cost_usd = 2.0", "US dollars that a run may cost, with all runs that it starts."),
    key("max_tokens", "max_tokens = 200000", "Tokens, in and out, that it may use."),
    key("max_turns", "max_turns = 100", "Calls of models that it may make."),
    key("max_time_s", "max_time_s = 3600", "Seconds from its first call of a model to the start of its last."),
];

/// `[limits]`. What a limit stops can go on once it is raised.
pub const LIMITS: &[KeyDoc] = &[
    key(
        "identical_calls",
        "identical_calls = 10",
        "How often an agent makes one call of a tool with nothing new in between.",
    ),
    key("calls_per_turn", "calls_per_turn = 100", "Calls of tools that are made of one message of a model."),
    key("tools", "tools = 1000", "Tools of one server."),
    key("reply_mib", "reply_mib = 64", "MiB of one answer of a model."),
    key("frame_mib", "frame_mib = 16", "MiB of one message of an MCP server."),
    key("result_mib", "result_mib = 10", "MiB of one result of a tool."),
    key("payload_mib", "payload_mib = 64", "MiB of one input, result of a step or signal."),
    key("events", "events = 1000000", "Events of a run, from its start or its last `continue_as_new`."),
];

/// `[queues.NAME]`.
pub const QUEUE: &[KeyDoc] = &[
    key("concurrency", "concurrency = 4", "How many of its runs may be under way, from their beginning to their end."),
    key(
        "priority",
        "priority = 5",
        "The priority of a run that has none of its own: of those that wait, the higher goes first.",
    ),
];

/// `[workflows.NAME]`: those of [`EVERY_WORKFLOW`], and those of its pattern ([`super::Pattern::keys`]).
pub const WORKFLOW: &[KeyDoc] = &[
    key("pattern", "pattern = \"orchestrator\"", "How the agents work together."),
    key("agents", "agents = [\"researcher\", \"writer\"]", "The agents' names, or those of other workflows."),
    key(
        "description",
        "description = \"Researches a topic\"",
        "What it is good for: planners and routers choose by it.",
    ),
    key(
        "model",
        "model = \"local\"",
        "The model of the planner, router, evaluator or synthesizer, where that is no agent of yours.",
    ),
    key("queue", "queue = \"reports\"", "The queue in which its runs wait for their turn."),
    key("planner", "planner = \"planner\"", "The agent that plans; a plain one without this."),
    key("plan", "plan = \"full\"", "How far it looks ahead: full (all steps) or iterative (one step at a time)."),
    key("max_iterations", "max_iterations = 10", "The most plans; then the run fails."),
    key("synthesizer", "synthesizer = \"editor\"", "The agent that makes one answer of what was found."),
    key("parallel", "parallel = 4", "How many work at the same time; all without this."),
    key("fan_in", "fan_in = \"editor\"", "The agent or workflow that makes one answer of all."),
    key("vote", "vote = true", "The answer that most give is the answer."),
    key("evaluator", "evaluator = \"reviewer\"", "The agent that rates drafts; a plain one without this."),
    key("at_least", "at_least = 8", "The rating that is good enough: 0 to 10, or poor, fair, good or excellent."),
    key("refinements", "refinements = 3", "The most drafts after the first one."),
    key(
        "servers",
        "servers = [\"memory\"]",
        "MCP servers to choose among, each by its `description`: a plain agent then answers with its tools.",
    ),
    key("router", "router = \"desk\"", "The agent that chooses; a plain one without this."),
    key("classifier", "classifier = \"listener\"", "The agent that finds the intents; a plain one without this."),
    key("embed", "embed = \"vectors\"", "A model of embeddings that chooses by likeness, in the place of an agent."),
    key("top_k", "top_k = 1", "The most that are chosen; several agents are asked side by side."),
    key("intents", "intents = { refund = [\"I want my money back\"] }", "The intents by name, with examples of each."),
    key("min_confidence", "min_confidence = 0.5", "The least confidence, from 0 to 1, with which an intent counts."),
    key("max_replans", "max_replans = 5", "The most plans after the first; then the answer is made of what there is."),
    key("max_cost_usd", "max_cost_usd = 1.0", "US dollars; at nine tenths of it the answer is made of what there is."),
    key("max_tokens", "max_tokens = 200000", "Tokens, in and out; at nine tenths likewise."),
    key("max_turns", "max_turns = 100", "Calls of models; at nine tenths likewise."),
    key("max_time_s", "max_time_s = 3600", "Seconds; at nine tenths likewise."),
    key("max_handoffs", "max_handoffs = 10", "How often a conversation is handed over; then the run fails."),
    key("variables", "variables = { customer = \"Ada\" }", "What all agents of a swarm know from the start."),
];

/// The keys that every workflow has.
pub const EVERY_WORKFLOW: &[&str] = &["pattern", "agents", "description", "model", "queue"];
