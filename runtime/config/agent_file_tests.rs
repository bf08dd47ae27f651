//! Tests of agents' files: what Claude Code's files mean here, what is seen, and that broken ones say where and how to
//! mend them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use super::*;

fn parse(text: &str) -> Result<AgentDef, ConfigError> {
    AgentDef::parse(text, Path::new("root/agents/helper.md"), Path::new("root"), Origin::Project)
}

fn front(yaml: &str) -> AgentDef {
    parse(&format!("---\n{yaml}\n---\nDo it.")).unwrap()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_file_without_front_matter_is_its_instructions() {
    let agent = parse("You read before you answer.\n\n---\nNot front matter.\n").unwrap();
    assert_eq!(agent.name, "helper");
    assert_eq!(agent.instructions, "You read before you answer.\n\n---\nNot front matter.");
    assert_eq!((agent.tools, agent.servers, agent.model, agent.max_turns), (None, None, None, None));
    assert!(agent.warnings.is_empty());
}

#[test]
fn the_designs_example_reads_as_it_says() {
    let agent = front(
        "name: researcher\ndescription: Finds facts\nmodel: local\nmcpServers: [filesystem, memory]    # default: all\n\
         tools: [\"filesystem_read_*\", \"memory_*\"]\nmaxTurns: 10",
    );
    assert_eq!((agent.name.as_str(), agent.description.as_str()), ("researcher", "Finds facts"));
    assert_eq!((agent.model.as_deref(), agent.max_turns), (Some("local"), Some(10)));
    assert_eq!(agent.servers, Some(texts(&["filesystem", "memory"])));
    assert_eq!(agent.tools, Some(texts(&["filesystem_read_*", "memory_*"])));
    assert_eq!(agent.instructions, "Do it.");
}

#[test]
fn a_tool_may_be_asked_for() {
    for (yaml, choice) in [
        ("name: a", ToolChoice::Auto),
        ("tool_choice: auto", ToolChoice::Auto),
        ("tool_choice: required", ToolChoice::Required),
        ("toolChoice: none", ToolChoice::None),
    ] {
        assert_eq!(front(yaml).tool_choice, choice, "{yaml}");
    }
    for (yaml, says) in [
        ("tool_choice: any", "`tool_choice` must be auto, required or none, and it is `any`"),
        ("tool_choice: [required]", "`tool_choice` must be text"),
        ("tool_choice: none\ntoolChoice: none", "both are set"),
    ] {
        let error = parse(&format!("---\n{yaml}\n---\nDo it.")).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn what_an_agent_can_of_itself_is_read() {
    let ask = |name: &str, timeout_s| Some(AskPerson { name: name.into(), timeout_s });
    for (yaml, asks, warns) in [
        ("name: a", None, ""),
        ("ask_person: true", ask("ask_person", None), ""),
        ("ask_person: true\nask_timeout_s: 60", ask("ask_person", Some(60)), ""),
        ("ask_person: false\nask_timeout_s: 60", None, "helper.md:3: `ask_timeout_s` has no effect"),
        ("tools: AskUserQuestion, a_*", ask("AskUserQuestion", None), ""),
        ("tools: AskUserQuestion, Skill\nskills: review", ask("AskUserQuestion", None), ""),
        ("tools: Skill", None, "Skill will not be there"),
        ("tools: AskUserQuestion\ndisallowedTools: AskUserQuestion", None, ""),
        ("ask_person: true\ndisallowedTools: ask_person", None, ""),
    ] {
        let agent = front(yaml);
        let warnings = agent.warnings.join("\n");
        assert_eq!((agent.ask_person, warnings.is_empty()), (asks, warns.is_empty()), "{yaml}: {warnings}");
        assert!(warnings.contains(warns), "{yaml}: {warnings}");
    }
    let remembers = front("memory: talk\nmemory_turns: 3\nmemory_chars: 99").memory.unwrap();
    assert_eq!((remembers.name.as_str(), remembers.turns, remembers.chars), ("talk", 3, 99));
    assert_eq!(front("memory: talk").memory, Some(Remembers::new("talk")));
    for word in ["user", "project", "local"] {
        let agent = front(&format!("memory: {word}"));
        assert!(agent.memory.is_none() && agent.warnings[0].contains("has no effect"), "{:?}", agent.warnings);
    }
    assert!(front("template: true").template && !front("template: false").template);
    assert_eq!(parse("---\ntemplate: true\n---\nFor {{ reader }}.").unwrap().instructions, "For {{ reader }}.");
    let long = format!("memory: {}", "x".repeat(201));
    for (front, says) in [
        ("ask_person: maybe", "`ask_person` must be true or false"),
        ("ask_timeout_s: 0", "`ask_timeout_s` must be a whole number above 0"),
        ("ask_timout_s: 5", "unknown key `ask_timout_s`"),
        ("memory: [a]", "`memory` must be text"),
        (&long, "1 to 200 bytes"),
        ("memory: a\nmemory_turns: -1", "`memory_turns`"),
        ("template: yes please", "`template` must be true or false"),
    ] {
        let error = parse(&format!("---\n{front}\n---\nDo it.")).unwrap_err().to_string();
        assert!(error.contains(says), "{front}: {error}");
    }
    let error = parse("---\nname: a\ntemplate: true\n---\nDo\n{% if %}").unwrap_err();
    assert!(error.to_string().contains("helper.md:3: the instructions are no template: syntax error"), "{error}");
}

#[test]
fn a_file_as_claude_code_writes_it_is_read_unchanged() {
    let agent = front(
        "name: code-reviewer\ndescription: Use this agent when: you're done. Examples: <example>user: \"ok\" #1\\n</example>\n\
         tools: Read, Grep, Bash(git *), mcp__memory__search_nodes\nmodel: sonnet\ncolor: blue\npermissionMode: plan",
    );
    assert!(agent.description.starts_with("Use this agent when: you're done."), "{}", agent.description);
    assert!(agent.description.ends_with("#1\\n</example>"), "{}", agent.description);
    assert_eq!(agent.tools.as_ref().map(Vec::len), Some(4));
    let warnings = agent.warnings.join("\n");
    assert!(warnings.contains("agents/helper.md:4") && warnings.contains("Read, Grep, Bash"), "{warnings}");
    assert!(warnings.contains("`permissionMode` has no effect") && !warnings.contains("color"), "{warnings}");
    assert!(agent.allows("memory", "search_nodes", "memory_search_nodes"));
    assert!(!agent.allows("memory", "read_graph", "memory_read_graph"));
}

#[test]
fn windows_line_ends_and_a_description_of_many_lines_are_fine() {
    let agent = parse("---\r\nname: a\r\ndescription: |\r\n  one\r\n  two\r\n---\r\nDo it.\r\n").unwrap();
    assert_eq!((agent.name.as_str(), agent.instructions.as_str()), ("a", "Do it."));
    assert!(agent.description.contains("one") && agent.description.contains("two"));
}

#[test]
fn lists_may_be_text_lists_or_absent() {
    for (yaml, expected) in [
        ("name: a", None),
        ("tools:", None),
        ("tools: []", Some(vec![])),
        ("tools: ''", Some(vec![])),
        ("tools: a_*, b_c", Some(texts(&["a_*", "b_c"]))),
        ("tools: a_{x,y}, Agent(x, y)", Some(texts(&["a_{x,y}", "Agent(x, y)"]))),
        ("tools:\n  - a_*\n  - b_c", Some(texts(&["a_*", "b_c"]))),
    ] {
        assert_eq!(front(yaml).tools, expected, "{yaml}");
    }
    assert_eq!(front("disallowedTools: Write, x_*").disallowed, ["Write", "x_*"]);
    assert!(front("disallowedTools: Write").warnings.is_empty(), "not having a tool is what was asked for");
    assert_eq!(front("skills: [review, test]").skills, ["review", "test"]);
    assert_eq!(front("max_turns: 3").max_turns, Some(3));
}

#[test]
fn servers_may_be_names_or_definitions() {
    for (yaml, names, inline) in [
        ("mcpServers: a, b", &["a", "b"][..], &[][..]),
        ("servers: [a, b, a]", &["a", "b"], &[]),
        ("mcpServers: []", &[], &[]),
        ("mcpServers:\n  - a\n  - b: {command: x, args: [y]}", &["a", "b"], &["b"]),
        ("mcpServers:\n  a:\n  b:\n    command: x\n    args: [y]", &["a", "b"], &["b"]),
    ] {
        let agent = front(yaml);
        assert_eq!(agent.servers, Some(texts(names)), "{yaml}");
        let defined: Vec<_> = agent.inline_servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(defined, inline, "{yaml}");
        if let Some(server) = agent.inline_servers.first() {
            assert_eq!((server.to_string().as_str(), server.file.as_str()), ("x y", "agents/helper.md"));
        }
    }
    let off = front("mcpServers:\n  - a\n  - b: {command: x, disabled: true}");
    assert_eq!((off.servers, off.inline_servers.len()), (Some(texts(&["a"])), 0));
}

#[test]
fn a_literal_of_an_inline_server_is_kept_as_its_place() {
    let text = "---\nname: a\nmcpServers:\n  - b:\n      command: x\n      env: {TOKEN: sk-hidden, LEVEL: 3, OTHER: '${VAR}'}\n---\nDo it.";
    let agent = parse(text).unwrap();
    let shown = serde_json::to_string(&agent).unwrap();
    assert!(!shown.contains("sk-hidden") && shown.contains("${VAR}"), "{shown}");
    let read = |name: &str| literal_at(text, Path::new("a.md"), &format!("mcpServers.b.env.{name}"));
    assert_eq!(
        (read("TOKEN").as_deref(), read("LEVEL").as_deref(), read("NONE")),
        (Some("sk-hidden"), Some("3"), None)
    );
    assert_eq!(serde_json::from_str::<AgentDef>(&shown).unwrap(), agent);
}

#[test]
fn tools_are_seen_as_the_lists_say() {
    // tools, disallowedTools, server, tool, seen (parity.md, behaviours 1 and 2)
    for (tools, disallowed, server, tool, seen) in [
        (None, "", "a", "x", true),
        (Some("[]"), "", "a", "x", false),
        (Some("'*'"), "", "a", "x", true),
        (Some("a_x"), "", "a", "x", true),
        (Some("a_x"), "", "a", "y", false),
        (Some("a_*"), "", "b", "x", false),
        (Some("x"), "", "a", "x", false),
        (Some("mcp__a__x"), "", "a", "x", true),
        (Some("mcp__a__x"), "", "a", "xx", false),
        (Some("mcp__a"), "", "a", "x", true),
        (Some("mcp__a"), "", "a_b", "x", false),
        (Some("mcp__a__*"), "", "a", "x", true),
        (Some("mcp__a_b__x"), "", "a_b", "x", true),
        (Some("mcp__my_server__x"), "", "my.server", "x", true),
        (Some("my.server_x"), "", "my.server", "x", true),
        (Some("my_server_x"), "", "my.server", "x", true),
        (Some("a_{x,y}"), "", "a", "y", true),
        (Some("Read, Bash"), "", "a", "x", false),
        (None, "a_x", "a", "x", false),
        (None, "a_x", "a", "y", true),
        (None, "mcp__a", "a", "x", false),
        (None, "x", "a", "x", false),
        (Some("a_*"), "a_delete_*", "a", "delete_all", false),
        (Some("a_*"), "a_delete_*", "a", "read", true),
        (None, "'*'", "a", "x", false),
    ] {
        let mut yaml = "name: a".to_owned();
        if let Some(tools) = tools {
            let _ = write!(yaml, "\ntools: {tools}");
        }
        if !disallowed.is_empty() {
            let _ = write!(yaml, "\ndisallowedTools: {disallowed}");
        }
        let full = format!("{server}_{tool}").replace('.', "_");
        assert_eq!(front(&yaml).allows(server, tool, &full), seen, "{yaml}\n{server} {tool}");
    }
}

#[test]
fn broken_files_name_file_line_and_fix() {
    let deep = format!("x: {}", "[".repeat(5000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]";
    // front matter, where, what, fix
    for (yaml, at, problem, fix) in [
        ("name: a\ntool: x_*", "helper.md:3", "`tool`", "`tools`"),
        ("allowed-tools: x_*", "helper.md:2", "`allowed-tools`", "`tools`"),
        ("allowedTools: x_*", "helper.md:2", "`allowedTools`", "`tools`"),
        ("disallowed_tools: x", "helper.md:2", "`disallowed_tools`", "`disallowedTools`"),
        ("max-turns: 3", "helper.md:2", "`max-turns`", "turns"),
        ("modle: x", "helper.md:2", "`modle`", "model: sonnet"),
        ("name: [a]", "helper.md:2", "`name` must be text", "name: researcher"),
        ("name: a/b", "helper.md:2", "no slash", "name: researcher"),
        ("name: a\nmodel: 7", "helper.md:3", "`model` must be text", "model: sonnet"),
        ("name: a\ntools: 7", "helper.md:3", "`tools` must be a list", "tools: memory_*"),
        ("tools:\n  - a\n  - 7", "helper.md:4", "list of texts", "tools: memory_*"),
        ("tools: 'a_['", "helper.md:2", "`a_[`", "memory_*"),
        ("maxTurns: 0", "helper.md:2", "whole number", "maxTurns: 10"),
        ("maxTurns: many", "helper.md:2", "whole number", "maxTurns: 10"),
        ("maxTurns: 3\nmax_turns: 4", "helper.md:3", "both are set", "remove"),
        ("servers: 7", "helper.md:2", "names or definitions", "[filesystem, memory]"),
        ("mcpServers:\n  - a: {args: [x]}", "helper.md:3", "has no `command`", "add the program"),
        ("mcpServers:\n  - a: {command: x}\n  - a: {command: y}", "helper.md:4", "defined twice", "remove one"),
        ("mcpServers:\n  - a: 7", "helper.md:3", "a server's definition", "command"),
        ("name: a\nname: b", "helper.md:3", "YAML", "mend that line"),
        ("name: 'a", "helper.md", "YAML", "mend that line"),
        ("name: a\n\tmodel: b", "helper.md:2", "YAML", "mend that line"),
        ("just words", "helper.md:2", "`key: value` lines", "name: researcher"),
        (&deep, "helper.md:2", "YAML", "mend that line"),
        (bomb, "helper.md", "YAML", "mend that line"),
    ] {
        let error = parse(&format!("---\n{yaml}\n---\nDo it.")).expect_err(yaml);
        let (shown, help) = (error.to_string(), error.help());
        let short: String = yaml.chars().take(60).collect();
        assert!(shown.contains(at) && shown.contains(problem), "{short}\n{shown}");
        assert!(help.contains(fix), "{short}\n{help}");
        assert_eq!((error.code(), error.exit_code()), ("config_invalid", 8));
    }
    let unclosed = parse("---\nname: a\nDo it.").unwrap_err();
    assert!(unclosed.to_string().contains("helper.md:1") && unclosed.help().contains("`---`"), "{unclosed}");
    let empty = parse("---\nname: a\n---\n \n").unwrap_err();
    assert!(
        empty.to_string().contains("no instructions") && empty.help().contains("below the front matter"),
        "{empty}"
    );
}

fn table(text: &str) -> Result<AgentDef, ConfigError> {
    let text = format!("[agents.helper]\n{text}");
    let root =
        super::super::parse::toml_table(&text, &Place::file(Path::new("root/abide.toml"), Origin::User)).unwrap();
    let Value::Table(agents) = &root["agents"].value else { panic!("{text}") };
    let Value::Table(keys) = &agents["helper"].value else { panic!("{text}") };
    AgentDef::read_table("helper", "agents.helper", &agents["helper"], keys)
}

#[test]
fn a_table_of_abide_toml_says_what_a_file_says() {
    // A schema stands either in it or in a file of its own.
    let docs = keys::AGENT.iter().filter(|doc| doc.key != "output_schema");
    let all: Vec<&str> = docs.map(|doc| doc.example).collect();
    let agent = table(&all.join("\n")).unwrap();
    let file = parse(
        "---\ndescription: Finds facts\nmodel: local\nservers: [filesystem, memory]\ntools: memory_*\n\
         disallowedTools: memory_delete_*\nmax_turns: 10\nmax_cost_usd: 0.5\nmax_tokens: 100000\nmax_time_s: 600\npriority: 5\nqueue: reports\n\
         temperature: 0.2\nstop: [\"###\"]\nmax_result_chars: 20000\noutput: { type: object }\n\
         tool_choice: required\nresources: docs:file:///notes.md\nskills: review\nask_person: true\nask_timeout_s: 3600\n\
         template: true\nmemory: support\nmemory_turns: 20\nmemory_chars: 40000\n---\nYou read before you answer.",
    )
    .unwrap();
    assert_eq!(agent.lines.len(), all.len());
    assert_eq!((agent.path.as_path(), agent.origin), (Path::new("root/abide.toml"), Origin::User));
    let (path, origin, lines) = (file.path.clone(), file.origin, file.lines.clone());
    assert_eq!(AgentDef { path, origin, lines, ..agent }, file);
}

#[test]
fn a_broken_table_names_line_and_fix_as_toml_is_written() {
    for (text, at, problem, fix) in [
        ("model = \"x\"", "abide.toml:1", "[agents.helper] has no `instructions`", "instructions = \"You"),
        ("instructions = \" \"", "abide.toml:2", "not empty", "instructions = \"You"),
        ("instructions = \"x\"\nmaxTurns = 3", "abide.toml:3", "unknown key `maxTurns`", "did you mean `max_turns`"),
        ("instructions = \"x\"\nmax_turns = 0", "abide.toml:3", "whole number", "max_turns = 10"),
        ("instructions = \"x\"\ntools = \"a, b\"", "abide.toml:3", "a list of texts", "tools = [\"memory_*\"]"),
        ("instructions = \"x\"\ntools = [\"a_[\"]", "abide.toml:3", "`a_[`", "memory_*"),
        ("instructions = \"x\"\nservers = [{ a = 1 }]", "abide.toml:3", "a list of texts", "servers = [\"filesystem\""),
        (
            "instructions = \"x\"\ntool_choice = \"any\"",
            "abide.toml:3",
            "auto, required or none",
            "tool_choice = \"required\"",
        ),
        (
            "instructions = \"x\"\nresources = [\"docs\"]",
            "abide.toml:3",
            "a server and an address",
            "resources = [\"docs:",
        ),
        ("instructions = \"{{ x\"\ntemplate = true", "abide.toml:3", "no template", "mend them"),
    ] {
        let error = table(text).expect_err(text);
        let (shown, help) = (error.to_string(), error.help());
        assert!(shown.contains(at) && shown.contains(problem), "{text}\n{shown}");
        assert!(help.contains(fix), "{text}\n{help}");
    }
}
