//! Which tools an agent sees, by their names. It knows nothing of policy: whether a seen tool may be called is settled
//! elsewhere.

use globset::{GlobBuilder, GlobMatcher};

use crate::tools::ToolSpec;

/// The beginning of Claude Code's names for tools of MCP servers: `mcp__server__tool`.
const PREFIX: &str = "mcp__";

/// An agent's `allow` and `deny`, ready for use.
///
/// A pattern is a glob (`*`, `?`, `[..]`, `{a,b}`) over the name that the model sees and over the plain `server_tool`; one
/// that begins with `mcp__` is a glob over `mcp__server__tool` and `mcp__server` (all of its tools). A `deny` is also
/// matched with a tool's bare name: what is to be kept away is better kept away twice than not at all.
#[derive(Debug, Clone)]
pub struct ToolFilter {
    allow: Option<Vec<Pattern>>,
    deny: Vec<Pattern>,
}

/// A pattern that is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` in `{list}` is not a pattern for names of tools ({why}): write it like \"memory_*\"")]
pub struct FilterError {
    /// The pattern as written.
    pub pattern: String,
    /// `allow` or `deny`.
    pub list: &'static str,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Debug, Clone)]
struct Pattern {
    glob: GlobMatcher,
    is_mcp: bool,
}

impl ToolFilter {
    /// Compiles the patterns. No `allow` at all allows every tool, an empty one none.
    pub fn new(allow: Option<&[String]>, deny: &[String]) -> Result<Self, FilterError> {
        let compile = |list, patterns: &[String]| {
            patterns.iter().map(|pattern| Pattern::new(list, pattern)).collect::<Result<Vec<_>, _>>()
        };
        let allow = allow.map(|patterns| compile("allow", patterns)).transpose()?;
        Ok(Self { allow, deny: compile("deny", deny)? })
    }

    /// Why this is no pattern, if it is none.
    pub fn check(pattern: &str) -> Result<(), String> {
        Pattern::new("", pattern).map(|_| ()).map_err(|error| error.why)
    }

    /// May the agent see the tool? `name` is the one that the model would see.
    pub fn admits(&self, server: &str, tool: &str, name: &str) -> bool {
        let allowed = self.allow.as_ref().is_none_or(|list| list.iter().any(|p| p.matches(server, tool, name)));
        allowed && !self.deny.iter().any(|p| p.matches(server, tool, name) || p.glob.is_match(tool))
    }

    /// The tools that the agent sees, in their order.
    pub(crate) fn choose(&self, mut tools: Vec<ToolSpec>) -> Vec<ToolSpec> {
        tools.retain(|spec| self.admits(&spec.server, &spec.tool, &spec.name));
        tools
    }
}

impl Pattern {
    fn new(list: &'static str, pattern: &str) -> Result<Self, FilterError> {
        // Names are not paths: a star crosses slashes, and a backslash means the same on every system.
        match GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build() {
            Ok(glob) => Ok(Self { glob: glob.compile_matcher(), is_mcp: pattern.starts_with(PREFIX) }),
            Err(error) => Err(FilterError { pattern: pattern.to_owned(), list, why: error.kind().to_string() }),
        }
    }

    fn matches(&self, server: &str, tool: &str, name: &str) -> bool {
        if !self.is_mcp {
            return self.glob.is_match(name) || self.glob.is_match(format!("{server}_{tool}"));
        }
        let (servers, tools) = ([server, &reduced(server)], [tool, &reduced(tool)]);
        servers.iter().any(|server| {
            let whole = format!("{PREFIX}{server}");
            self.glob.is_match(&whole) || tools.iter().any(|tool| self.glob.is_match(format!("{whole}__{tool}")))
        })
    }
}

/// A name as Claude Code reduces it in `mcp__server__tool`.
fn reduced(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-', "_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn admits(allow: Option<&[&str]>, deny: &[&str], server: &str, tool: &str) -> bool {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let filter = ToolFilter::new(allow.map(owned).as_deref(), &owned(deny)).unwrap();
        filter.admits(server, tool, &reduced(&format!("{server}_{tool}")))
    }

    #[test]
    fn allow_and_deny_decide_as_documented() {
        for (allow, deny, server, tool, expected) in [
            (None, [].as_slice(), "fs", "read", true),
            (Some([].as_slice()), &[], "fs", "read", false),
            (Some(&["fs_read"]), &[], "fs", "read", true),
            (Some(&["fs_*", "memory_*"]), &[], "memory", "read_graph", true),
            (Some(&["fs_{read,list}*"]), &[], "fs", "write", false),
            (Some(&["read"]), &[], "fs", "read", false),
            (Some(&["Bash(git *)"]), &[], "fs", "read", false),
            (Some(&["mcp__fs__read"]), &[], "fs", "read", true),
            (Some(&["mcp__fs"]), &[], "fs", "read", true),
            (Some(&["mcp__fs__*"]), &[], "fs", "read", true),
            (Some(&["mcp__fs"]), &[], "fs2", "read", false),
            (Some(&["mcp__my_fs__a_b"]), &[], "my fs", "a.b", true),
            (Some(&["my_fs_a_b"]), &[], "my fs", "a.b", true),
            (Some(&["my fs_a.b"]), &[], "my fs", "a.b", true),
            (None, &["fs_write*"], "fs", "write_file", false),
            (None, &["mcp__fs__write"], "fs", "write", false),
            (None, &["write"], "fs", "write", false),
            (Some(&["*"]), &["*_write"], "fs", "write", false),
            (Some(&["*"]), &["*_write"], "fs", "read", true),
        ] {
            assert_eq!(admits(allow, deny, server, tool), expected, "{allow:?} {deny:?} {server} {tool}");
        }
    }

    #[test]
    fn a_wrong_glob_says_where_and_why() {
        let error = ToolFilter::new(None, &["fs_[".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`fs_[` in `deny`") && error.contains("memory_*"), "{error}");
    }
}
