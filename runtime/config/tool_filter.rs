//! Decides by name which tools an agent may see. It knows nothing of policy: whether a seen tool may be called is
//! settled elsewhere.

use globset::{GlobBuilder, GlobMatcher};

/// The prefix of Claude Code's names for tools of MCP servers: `mcp__server__tool`.
const PREFIX: &str = "mcp__";

/// True if `pattern` matches the tool: `mcp__server__tool` or `mcp__server` (all of its tools), otherwise a glob over
/// `server_tool` and the model's name of it. A pattern that is not a glob matches nothing.
pub(super) fn matches(pattern: &str, server: &str, tool: &str, full_name: &str) -> bool {
    let Some(glob) = compile(pattern).ok() else { return false };
    if pattern.starts_with(PREFIX) {
        let (server, tool) = ([server, &reduced(server)], [tool, &reduced(tool)]);
        let whole = server.iter().any(|s| glob.is_match(format!("{PREFIX}{s}")));
        let one = |s: &&str| tool.iter().any(|t| glob.is_match(format!("{PREFIX}{s}__{t}")));
        whole || server.iter().any(one)
    } else {
        glob.is_match(full_name) || glob.is_match(format!("{server}_{tool}"))
    }
}

/// Like [`matches`], and a bare tool's name as well: what is to be kept away is better kept away twice than not at all.
/// A pattern that is not a glob keeps everything away.
pub(super) fn forbids(pattern: &str, server: &str, tool: &str, full_name: &str) -> bool {
    match compile(pattern) {
        Ok(glob) => glob.is_match(tool) || matches(pattern, server, tool, full_name),
        Err(_) => true,
    }
}

/// Why the pattern is not a glob, if it is not.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    compile(pattern).map(|_| ()).map_err(|error| error.kind().to_string())
}

/// The name of a built-in tool of Claude Code, which abide has not: `Bash`, `WebFetch`, `Bash(git *)`, `Agent(x, y)`.
pub(super) fn built_in(pattern: &str) -> Option<&str> {
    let name = pattern.split_once('(').map_or(pattern, |(name, _)| name).trim();
    let camel = name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    camel.then_some(name)
}

fn compile(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    // The same reading of globs as in the [tools] tables (abide-mcp's policy): names are not paths.
    let glob = GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build()?;
    Ok(glob.compile_matcher())
}

/// A name as Claude Code reduces it in `mcp__server__tool`.
fn reduced(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}
