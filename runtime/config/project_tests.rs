//! Tests of a project as a whole: merging, models, servers, rules, and that broken files say where and how to mend
//! them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use abide_engine::Effect;
use abide_llm::{Policy, Provider, SecretRef, Vars};
use abide_mcp::Transport;

use super::*;

/// A folder with a project in `p`, its sub-folder `p/sub` as the working folder, and the user's config folder in `u`.
pub(in crate::config) struct Home {
    pub(in crate::config) dir: tempfile::TempDir,
    pub(in crate::config) env: Env,
}

impl Home {
    pub(in crate::config) fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path().join("p").join("sub");
        fs::create_dir_all(&cwd).unwrap();
        fs::create_dir_all(dir.path().join("p/.abide")).unwrap();
        let user = dir.path().join("u").to_string_lossy().into_owned();
        let env = Env { cwd, vars: [("ABIDE_CONFIG_DIR".to_owned(), user)].into(), config_base: None };
        let home = Self { dir, env };
        for (path, text) in files {
            home.write(path, text);
        }
        home
    }

    pub(in crate::config) fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(in crate::config) fn load(&self) -> Result<Project, ConfigError> {
        Project::load(&self.env)
    }
}

const DESIGN: &str = r#"
[models.local]
provider = "openai"
base_url = "http://127.0.0.1:18086/v1"
model = "smollm2"
api_key = "${LOCAL_KEY:-none}"
[servers.memory]
trust = true
[tools."memory_*"]
policy = "allow"
effect = "once"
timeout_s = 60
reconcile = "memory_read_graph"
[defaults]
model = "local"
[workflows.report]
pattern = "orchestrator"
agents = ["researcher", "writer"]
plan = "full"
[budget]
max_cost_usd = 2.0
max_tokens = 200000
"#;

#[test]
fn the_designs_example_reads_as_it_says() {
    let home = Home::with(&[("p/abide.toml", DESIGN), ("p/.mcp.json", r#"{"mcpServers":{"memory":{"command":"m"}}}"#)]);
    let project = home.load().unwrap();
    assert_eq!(project.root(), home.dir.path().join("p"));
    let model = project.model_named(None).unwrap();
    assert_eq!((model.provider, model.model.as_str()), (Provider::Openai, "smollm2"));
    assert_eq!(model.api_key, Some(SecretRef::Template("${LOCAL_KEY:-none}".to_owned())));
    assert_eq!(project.budget(), Limit { max_cost_usd: Some(2.0), max_tokens: Some(200_000), ..Limit::default() });
    let consented = project.consented().unwrap().to_everything();
    assert_eq!(project.trusted(&consented), ["memory".to_owned()].into());
    let rule = project.tool_rules(&consented).remove(0);
    assert_eq!(
        (rule.pattern.as_str(), rule.policy, rule.effect),
        ("memory_*", Some(Policy::Allow), Some(Effect::Once))
    );
    assert_eq!((rule.timeout_s, rule.reconcile.as_deref()), (Some(60), Some("memory_read_graph")));
    let report = &project.workflows()["report"];
    assert_eq!((report.pattern.as_str(), report.plan), ("orchestrator", abide_llm::Planning::Full));
    assert_eq!((report.agents.as_slice(), report.at.line), (&["researcher".to_owned(), "writer".to_owned()][..], 16));
    let error = project.agent("reprot").unwrap_err();
    assert!(error.to_string().contains("did you mean `report`"), "{error}");
    assert!(error.help().contains("workflows: report"), "{}", error.help());
    assert!(project.warnings().is_empty(), "{:?}", project.warnings());
}

#[test]
fn files_merge_key_by_key_and_the_nearest_wins() {
    let home = Home::with(&[
        ("p/abide.toml", "[models.a]\nmodel = \"near\"\nidle_timeout_s = 9\nstream = false\n[budget]\nmax_tokens = 5"),
        ("abide.toml", "[models.a]\nprovider = \"anthropic\"\nmodel = \"above\"\nmax_tokens = 7"),
        ("u/abide.toml", "[models.a]\nprovider = \"openai\"\napi_key = \"${MINE}\"\n[budget]\nmax_cost_usd = 3"),
    ]);
    let project = home.load().unwrap();
    let model = project.model_named(Some("a")).unwrap();
    assert_eq!((model.provider, model.model.as_str(), model.max_tokens), (Provider::Anthropic, "near", Some(7)));
    assert_eq!(model.api_key, Some(SecretRef::variable("MINE")));
    assert_eq!(project.budget(), Limit { max_cost_usd: Some(3.0), max_tokens: Some(5), ..Limit::default() });
    assert_eq!((model.idle_timeout_s(), model.streams()), (9, false));
    assert_eq!(project.files().len(), 3);
    assert_eq!(Home::with(&[]).load().unwrap().files().len(), 0, "a project without settings is one");
}

#[test]
fn names_of_models_are_looked_up_in_order() {
    let local = "[models.sonnet]\nprovider = \"ollama\"\nmodel = \"own\"\n[defaults]\nmodel = \"haiku\"";
    let own = Home::with(&[("p/abide.toml", local)]).load().unwrap();
    let bare = Home::with(&[]).load().unwrap();
    for (project, name, provider, model) in [
        (&own, Some("sonnet"), Provider::Ollama, "own"),
        (&bare, Some("sonnet"), Provider::Anthropic, "claude-sonnet-5-5"),
        (&bare, Some("opus"), Provider::Anthropic, "claude-opus-5-5"),
        (&own, Some("inherit"), Provider::Anthropic, "claude-haiku-5-5"),
        (&own, None, Provider::Anthropic, "claude-haiku-5-5"),
        (&bare, Some("claude-x-1"), Provider::Anthropic, "claude-x-1"),
        (&bare, Some("anthropic/claude-x-1"), Provider::Anthropic, "claude-x-1"),
        (&bare, Some("openai/gpt-x"), Provider::Openai, "gpt-x"),
        (&bare, Some("ollama/llama"), Provider::Ollama, "llama"),
    ] {
        let found = project.model_named(name).unwrap();
        assert_eq!((found.provider, found.model.as_str()), (provider, model), "{name:?}");
    }
    let short = bare.model_named(Some("haiku")).unwrap();
    assert_eq!(short.api_key, Some(SecretRef::variable("ANTHROPIC_API_KEY")));
    for (project, name, problem, help) in [
        (&bare, None, "no model is named", "[defaults]"),
        (&bare, Some("inherit"), "no model is named", "abide.toml"),
        (&bare, Some("lokal"), "no model `lokal`", "[models.lokal]"),
        (&own, Some("sonet"), "no model `sonet`", "did you mean `sonnet`?"),
        (&own, Some("other/x"), "no model `other/x`", "[models.\"other/x\"]"),
    ] {
        let error = project.model_named(name).unwrap_err();
        assert!(error.to_string().contains(problem) && error.help().contains(help), "{error}\n{}", error.help());
        assert_eq!((error.code(), error.exit_code()), ("model_unknown", 8));
    }
}

#[test]
fn literal_keys_are_kept_as_places_and_read_again() {
    let text = "[models.\"a.b\"]\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"sk-literal\"\nheaders = { x-n = 7 }\n\
                [servers.s]\ncommand = \"c\"\nenv = { TOKEN = \"hidden\", REF = \"${X}\" }";
    let home = Home::with(&[("p/abide.toml", text), ("u/abide.toml", &text.replace("a.b", "u"))]);
    let project = home.load().unwrap();
    let vars = project.vars();
    for (name, file) in
        [("a.b", "abide.toml".to_owned()), ("u", home.dir.path().join("u/abide.toml").display().to_string())]
    {
        let model = project.model_named(Some(name)).unwrap();
        assert_eq!(model.api_key, Some(SecretRef::File { file, key: format!("models.{name}.api_key") }));
        assert_eq!(model.api_key.unwrap().resolve(&vars).unwrap(), "sk-literal");
        assert_eq!(model.headers["x-n"].resolve(&vars).unwrap(), "7");
    }
    let server = project.servers().next().unwrap();
    assert!(!serde_json::to_string(server).unwrap().contains("hidden"));
    let Transport::Stdio { env, .. } = &server.transport else { panic!("{server:?}") };
    assert_eq!(env["TOKEN"].resolve(&vars).unwrap(), "hidden");
    assert_eq!(env["REF"], SecretRef::variable("X"));
    assert_eq!(vars.file_value("abide.toml", "models.none.api_key"), None);
    assert_eq!(vars.file_value("none.toml", "x"), None);
}

const MCP: &str = r#"{"mcpServers": {
    "memory": {"command": "m", "args": ["x"], "env": {"A": "${A}", "SECRET": "literal-1"}},
    "web": {"type": "http", "url": "https://example.com/mcp"}}}"#;

#[test]
fn abide_toml_adds_to_declared_servers_and_declares_its_own() {
    let home = Home::with(&[
        ("p/.mcp.json", MCP),
        (
            "p/abide.toml",
            "[servers.memory]\nenv = { B = \"${B}\" }\ncwd = \"data\"\n[servers.own]\ncommand = \"o\"\n[servers.memry]\ntrust = true",
        ),
        (
            "u/abide.toml",
            "[servers.web]\ncommand = \"mine\"\n[servers.elsewhere]\ntrust = true\n[servers.users]\ncommand = \"u\"\nargs = [\"-v\"]",
        ),
    ]);
    let project = home.load().unwrap();
    let shown: Vec<_> =
        project.servers().map(|server| format!("{} = {server} ({})", server.name, server.file)).collect();
    let users = home.dir.path().join("u/abide.toml");
    assert_eq!(
        shown,
        [
            "memory = m x (.mcp.json)".to_owned(),
            "own = o (abide.toml)".to_owned(),
            format!("users = u -v ({})", users.display()),
            "web = https://example.com/mcp (.mcp.json)".to_owned(),
        ]
    );
    let Transport::Stdio { env, cwd, .. } = &project.servers().next().unwrap().transport else { panic!("not stdio") };
    assert_eq!((env.len(), cwd.as_deref()), (3, Some("data")));
    assert_eq!(env["SECRET"].resolve(&project.vars()).unwrap(), "literal-1");
    let warnings = project.warnings().join("\n");
    assert!(warnings.contains("no server `memry` is declared; did you mean `memory`?"), "{warnings}");
    assert!(warnings.contains("`web` is not used here") && !warnings.contains("elsewhere"), "{warnings}");
}

#[test]
fn an_agents_servers_are_found_or_named() {
    let agent = "---\nmcpServers:\n  - memory\n  - own: {command: o}\n---\nDo.";
    let home = Home::with(&[
        ("p/.mcp.json", MCP),
        ("p/.abide/agents/a.md", agent),
        ("p/.abide/agents/b.md", "---\nservers: memroy\n---\nDo."),
        ("p/.abide/agents/c.md", "Do."),
    ]);
    let project = home.load().unwrap();
    let names = |agent: &str| -> Vec<String> {
        let found = project.servers_of(&project.agent(agent).unwrap()).unwrap();
        found.into_iter().map(|server| server.name).collect()
    };
    assert_eq!(names("a"), ["memory", "own"]);
    assert_eq!(names("c"), ["memory", "web"], "all by default");
    let error = project.servers_of(&project.agent("b").unwrap()).unwrap_err();
    assert!(error.to_string().contains("b.md") && error.help().contains("did you mean `memory`?"), "{error}");
    let consented = project.consented().unwrap();
    let client = project.for_servers(&[&project.agent("a").unwrap()], &consented).unwrap();
    assert_eq!(client.servers.len(), 3);
}

#[test]
fn broken_files_name_file_line_and_fix() {
    let deep = format!("x = {}", "[".repeat(5000));
    // abide.toml, where, what, fix
    for (text, at, problem, fix) in [
        ("[modles.x]", "abide.toml:1", "`modles`", "did you mean `models`"),
        ("\n[models.x]\nprovder = \"openai\"", "abide.toml:3", "`provder` in [models.x]", "did you mean `provider`"),
        ("[models.x]\nbaseUrl = \"http://x\"", "abide.toml:2", "`baseUrl`", "did you mean `base_url`"),
        ("[models.x]\nzzz = 1", "abide.toml:2", "`zzz`", "the known keys are provider"),
        (
            "[models.x]\nprovider = \"opnai\"",
            "abide.toml:2",
            "`models.x.provider` must be one of",
            "provider = \"openai\"",
        ),
        ("[models.x]\nmodel = 7", "abide.toml:2", "must be text that is not empty, and it is 7", "model = "),
        ("[models.x]\napi_key = \"\"", "abide.toml:2", "`models.x.api_key`", "api_key = "),
        ("[models.x]\nmax_tokens = \"many\"", "abide.toml:2", "a whole number", "max_tokens = 4096"),
        ("[models.x]\ntemperature = -1", "abide.toml:2", "not negative, and it is -1", "temperature = 0.2"),
        ("[models.x]\nheaders = { a = [] }", "abide.toml:2", "`models.x.headers.a` must be text", "headers = {"),
        ("models = 3", "abide.toml:1", "`models` must be a table", "[models.local]"),
        ("[[models]]\nmodel = \"x\"", "abide.toml:1", "`models` must be a table, and it is a list", "[models.local]"),
        ("[tools]\npolicy = \"allow\"", "abide.toml:2", "`tools.policy` must be a table", "[tools.\"memory_*\"]"),
        (
            "[tools.\"a_*\"]\npolicy = \"alow\"",
            "abide.toml:2",
            "must be one of allow, ask, deny, and it is \"alow\"",
            "policy = \"ask\"",
        ),
        ("[tools.\"a_*\"]\neffect = \"twice\"", "abide.toml:2", "pure, idempotent, once", "effect = \"once\""),
        ("[tools.\"a_*\"]\ntimeout_s = 0", "abide.toml:2", "above 0", "timeout_s = 60"),
        ("[tools.\"a_*\"]\ntimeout = 5", "abide.toml:2", "`timeout`", "did you mean `timeout_s`"),
        ("[tools.\"a_[\"]\npolicy = \"ask\"", "abide.toml:1", "`a_[` is not a pattern", "memory_*"),
        ("[servers.x]\ntrust = \"yes\"", "abide.toml:2", "true or false, and it is \"yes\"", "trust = true"),
        ("[servers.x]\nargs = \"-y\"", "abide.toml:2", "a list of texts", "args = ["),
        ("[servers.x]\nargs = [\"-y\"]", "abide.toml:2", "has no `command`", "command = \"npx\""),
        ("[servers.x]\ncommand = \"a\"\nurl = \"http://b\"", "abide.toml:3", "a `command` and a `url`", "keep the one"),
        ("[servers.memory]\ntrust = true\ncommand = \"a\"", "abide.toml:3", "is declared in", "`trust`, `env`"),
        ("[defaults]\nmdoel = \"x\"", "abide.toml:2", "`mdoel`", "did you mean `model`"),
        (
            "[budget]\nmax_cost_usd = \"2\"",
            "abide.toml:2",
            "`budget.max_cost_usd` must be a number",
            "max_cost_usd = 2.0",
        ),
        ("[budget]\nmax_tokens = 1.5", "abide.toml:2", "and it is 1.5", "max_tokens = 200000"),
        ("[workflows.x]\nagents = [\"a\"]", "abide.toml:1", "has no `pattern`", "pattern = "),
        ("[workflows.x]\npattern = \"chain\"\nagents = [1]", "abide.toml:3", "a list of texts", "agents = ["),
        ("a = 1\na = 2", "abide.toml:2", "not TOML", "mend that line"),
        ("[models.x]\nmodel = smollm2", "abide.toml:2", "not TOML", "in quotes"),
        ("[models.x\n", "abide.toml:1", "not TOML", "mend that line"),
        ("x = 99999999999999999999", "abide.toml:1", "too large", "64 bits"),
        (&deep, "abide.toml:1", "not TOML", "mend that line"),
    ] {
        for file in ["p/abide.toml", "u/abide.toml"] {
            let home = Home::with(&[("p/.mcp.json", MCP), (file, text)]);
            let Err(error) = home.load() else {
                assert_eq!(file, "u/abide.toml", "only the user's own file may speak of absent servers: {text}");
                continue;
            };
            let (shown, help, short) = (error.to_string(), error.help(), text.chars().take(60).collect::<String>());
            let folder = home.dir.path().join(file).parent().unwrap().display().to_string();
            assert!(shown.contains(at) && shown.contains(problem) && shown.contains(&folder), "{short}\n{shown}");
            assert!(help.contains(fix), "{short}\n{help}");
            assert_eq!((error.code(), error.exit_code()), ("config_invalid", 8), "{short}");
        }
    }
}

#[test]
fn broken_declarations_and_half_models_name_theirs() {
    for (mcp, at, problem) in [
        ("{\n  \"mcpServers\": {,}}", ".mcp.json:2", "not JSON"),
        ("{\"mcpServers\": {\n\"a\": {\"args\": []}}}", ".mcp.json:2", "has no `command`"),
    ] {
        let error = Home::with(&[("p/.mcp.json", mcp)]).load().unwrap_err();
        assert!(error.to_string().contains(at) && error.to_string().contains(problem), "{error}");
        assert!(!error.help().is_empty());
    }
    for (text, at, fix) in [
        ("\n[models.x]\nmodel = \"m\"", "abide.toml:2", "provider = "),
        ("[models.x]\nprovider = \"openai\"", "abide.toml:1", "model = "),
    ] {
        let project = Home::with(&[("p/abide.toml", text)]).load().unwrap();
        let error = project.model_named(Some("x")).unwrap_err();
        assert!(error.to_string().contains(at) && error.help().contains(fix), "{error}");
    }
    let folder = Home::with(&[]);
    fs::create_dir_all(folder.dir.path().join("p/abide.toml")).unwrap();
    assert_eq!(folder.load().unwrap_err().code(), "config_unreadable");
}

#[test]
fn a_secret_is_in_no_message() {
    for text in [
        "[models.x]\napi_key = [\"sk-hidden\"]",
        "[servers.x]\ncommand = \"c\"\nenv = \"sk-hidden\"",
        "[servers.x]\ncommand = \"c\"\nenv = { A = [\"sk-hidden\"] }",
        "[models.x]\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"sk-hidden\nmore",
    ] {
        let error = Home::with(&[("p/abide.toml", text)]).load().unwrap_err();
        assert!(!error.to_string().contains("sk-hidden") && !error.help().contains("sk-hidden"), "{error}");
    }
}
