//! `[limits]`: how much is taken before it is refused. It only reads: those who take enforce them.

use super::error::ConfigError;
use super::node::Reader;
use crate::host;

/// The limits of a project, with what holds where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How often an agent makes one call of a tool with nothing new in between. Pinned when a run begins.
    pub identical_calls: u32,
    /// Calls of tools that are made of one message of a model. Pinned when a run begins.
    pub calls_per_turn: u32,
    /// Tools of one server.
    pub tools: usize,
    /// Bytes of one answer of a model.
    pub reply_bytes: usize,
    /// Bytes of one message of an MCP server.
    pub frame_bytes: usize,
    /// Bytes of one result of a tool.
    pub result_bytes: usize,
    /// What holds for every run, an agent's or not.
    pub runs: host::Limits,
}

const MIB: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        let servers = abide_mcp::Limits::default();
        Self {
            identical_calls: 10,
            calls_per_turn: 100,
            tools: servers.tools,
            reply_bytes: 64 * MIB,
            frame_bytes: servers.frame_bytes,
            result_bytes: servers.result_bytes,
            runs: host::Limits::default(),
        }
    }
}

impl Limits {
    pub(super) fn read(table: &Reader<'_>) -> Result<Self, ConfigError> {
        let mut limits = Self::default();
        let small = |key: &str, default: u32| match table.count(key)? {
            Some(n) => Ok(u32::try_from(n.value).unwrap_or(u32::MAX)),
            None => Ok(default),
        };
        limits.identical_calls = small("identical_calls", limits.identical_calls)?;
        limits.calls_per_turn = small("calls_per_turn", limits.calls_per_turn)?;
        let count = |key: &str, default: usize, unit: usize| match table.count(key)? {
            Some(n) => Ok::<_, ConfigError>(usize::try_from(n.value).unwrap_or(usize::MAX).saturating_mul(unit)),
            None => Ok(default),
        };
        limits.tools = count("tools", limits.tools, 1)?;
        limits.reply_bytes = count("reply_mib", limits.reply_bytes, MIB)?;
        limits.frame_bytes = count("frame_mib", limits.frame_bytes, MIB)?;
        limits.result_bytes = count("result_mib", limits.result_bytes, MIB)?;
        limits.runs.payload_bytes = count("payload_mib", limits.runs.payload_bytes, MIB)?;
        limits.runs.events = count("events", limits.runs.events, 1)?;
        Ok(limits)
    }

    /// What bounds servers.
    pub fn of_servers(&self) -> abide_mcp::Limits {
        abide_mcp::Limits {
            result_bytes: self.result_bytes,
            frame_bytes: self.frame_bytes,
            tools: self.tools,
            ..abide_mcp::Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::keys;
    use super::super::project::tests::Home;
    use super::*;

    #[test]
    fn what_the_documentation_shows_is_what_holds_without_it() {
        let lines: Vec<&str> = keys::LIMITS.iter().map(|key| key.example).collect();
        let home = Home::with(&[("p/abide.toml", &format!("[limits]\n{}", lines.join("\n")))]);
        assert_eq!(home.load().unwrap().limits(), Limits::default());
    }

    #[test]
    fn limits_are_whole_numbers_above_0() {
        for line in ["events = 0", "reply_mib = -1", "tools = \"many\"", "payload_mib = 1.5", "depth = 3"] {
            let home = Home::with(&[("p/abide.toml", &format!("[limits]\n{line}"))]);
            let error = home.load().unwrap_err();
            assert!(error.to_string().contains("abide.toml:2"), "{error}");
        }
        let home = Home::with(&[("p/abide.toml", "[limits]\nframe_mib = 9223372036854775807\nevents = 7")]);
        let limits = home.load().unwrap().limits();
        assert_eq!((limits.frame_bytes, limits.runs.events), (usize::MAX, 7));
    }
}
