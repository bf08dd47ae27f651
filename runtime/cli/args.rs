//! The command line as clap reads it (DESIGN section 7). It names and documents; it does nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Durable AI agents in one file: kill it at any instant, resume it, and nothing is done twice.
#[derive(Debug, Parser)]
#[command(name = "abide", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// The database [default: `ABIDE_DB`, else .abide/runs.db here or in a folder above]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) db: Option<PathBuf>,
    /// Print JSON on stdout, and errors as JSON on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a run and stay with it to its end
    Run(Run),
    /// Go on with a run, or with every run that is interrupted or due
    Resume(Resume),
    /// List the runs, newest first
    Ls(Ls),
    /// Show a run and its steps
    Show(Target),
    /// Show what runs have used and cost
    Usage(Usage),
    /// Send a signal to a run
    Signal(Signal),
    /// Allow a tool call that waits for approval
    Approve(Approve),
    /// Refuse a tool call that waits for approval
    Deny(Deny),
    /// Answer a question that a run asks
    Answer(Answer),
    /// Say what became of a step in doubt
    Resolve(Resolve),
    /// Pause a run until it is resumed
    Pause(Target),
    /// Cancel a run; it may clean up
    Cancel(Cancel),
    /// List the tools of the project's servers, with what may be done with each and who says so
    Tools(Tools),
    /// Call one tool outside of any run
    Call(Call),
    /// Log in to a server that wants to know who asks; what was begun goes on
    Login(Login),
    /// Forget what lets abide in at a server
    Logout(Login),
    /// Start runs at certain times
    #[command(subcommand)]
    Schedule(super::schedule_args::Schedule),
    /// Offer agents and workflows to MCP clients, and work on whatever is due or interrupted
    Serve(Serve),
    /// Consent to what this project's files, or a run, ask for
    Trust(Trust),
    /// Check that no recorded row is changed, missing or out of order
    Verify(Verify),
    /// Run the code of now against what was recorded, without calling anything
    Replay(Replay),
    /// Watch an agent being killed and resumed, offline
    Demo(Demo),
    /// Check all files, and say what would run
    Check,
    /// Print the JSON schema of abide.toml, for editors
    Schema,
    /// Check database, configuration, models and servers
    Doctor,
    /// The demo's own MCP server
    #[command(hide = true)]
    DemoServer { folder: PathBuf },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// An agent by name, or its file
    pub(crate) target: String,
    /// Text, @file, or - for stdin
    pub(crate) input: Option<String>,
    /// Show the agent this image or document, too (png, jpg, gif, webp, pdf, txt, md, csv)
    #[arg(long, value_name = "FILE")]
    pub(crate) attach: Vec<PathBuf>,
    /// Begin with this prompt of a server's, and its arguments; the input, which may be left out then, comes before this
    #[arg(long, num_args = 1.., value_names = ["SERVER/NAME", "ARG=VALUE"])]
    pub(crate) prompt: Vec<String>,
    /// The run's id: the same id is the same run, never a second one
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Use this model instead of the agent's own
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Wait in this queue of `[queues]` for its turn [default: what its file says]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Its place among those that wait there: the higher number goes first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i32>,
    /// Leave it to a process in the background
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) stay: Stay,
}

/// How long a command stays with a run, and what it may say for its user meanwhile.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Stay {
    /// Exit 3 instead of waiting for a time
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Allow every tool call that asks, in this call
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Consent to all that the files ask for, in this call
    #[arg(long)]
    pub(crate) trust: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run's id, or a unique beginning of it
    pub(crate) run: Option<String>,
    /// Take it from a living process that is stuck
    #[arg(long, requires = "run")]
    pub(crate) steal: bool,
    /// Raise its budgets first: +USD, +N tokens, +N calls or +TIME, as in +1.50, +50000tokens, +10calls, +2h
    #[arg(long, requires = "run", value_name = "+AMOUNT", value_parser = super::budget::raise)]
    pub(crate) budget: Option<crate::Raise>,
    #[command(flatten)]
    pub(crate) stay: Stay,
}

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// One run, with each of its agents
    pub(crate) run: Option<String>,
    /// Each call of that run, in the tree of its workflows and agents
    #[arg(long, requires = "run")]
    pub(crate) calls: bool,
    /// How many runs at most
    #[arg(long, short = 'n', default_value_t = 50)]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// How many at most
    #[arg(long, short = 'n', default_value_t = 50)]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The run's id, or a unique beginning of it
    pub(crate) run: String,
}

/// What every message to a run can be told.
#[derive(Debug, Args)]
pub(crate) struct Onward {
    /// Go on with the run here
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) stay: Stay,
}

#[derive(Debug, Args)]
pub(crate) struct Signal {
    /// The run's id, or a unique beginning of it
    pub(crate) run: String,
    /// The signal's name
    pub(crate) name: String,
    /// JSON, text, @file, or - for stdin
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<String>,
    /// An id of your own: the same id is taken once
    #[arg(long)]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) onward: Onward,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The run's id, or a unique beginning of it
    pub(crate) run: String,
    /// Which call, if there are several
    #[arg(long, value_name = "ID")]
    pub(crate) step: Option<String>,
    /// Only if it still asks what was shown with this hash
    #[arg(long, value_name = "HASH", conflicts_with = "all")]
    pub(crate) hash: Option<String>,
    /// All that wait now
    #[arg(long, conflicts_with = "step")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) onward: Onward,
}

#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// The run's id, or a unique beginning of it
    pub(crate) run: String,
    /// Which call, if there are several
    #[arg(long, value_name = "ID")]
    pub(crate) step: Option<String>,
    /// Why, for the model to read
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) onward: Onward,
}

#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// The run's id, or a unique beginning of it
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) saying: Saying,
    /// Which question, if there are several
    #[arg(long, value_name = "ID")]
    pub(crate) step: Option<String>,
    #[command(flatten)]
    pub(crate) onward: Onward,
}

/// What is said to a question.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Saying {
    /// JSON, text, @file, or - for stdin; `true` for an address that was opened
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<String>,
    /// A server's question: no
    #[arg(long)]
    pub(crate) decline: bool,
    /// A server's question: neither yes nor no
    #[arg(long)]
    pub(crate) cancel: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// The run's id, or a unique beginning of it
    pub(crate) run: String,
    /// Which step, if there are several
    #[arg(long, value_name = "ID")]
    pub(crate) step: Option<String>,
    #[command(flatten)]
    pub(crate) verdict: Verdict,
    #[command(flatten)]
    pub(crate) onward: Onward,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Verdict {
    /// It did not happen: try it again
    #[arg(long)]
    pub(crate) retry: bool,
    /// It happened with this result: JSON, @file, or - (for a tool, what MCP calls the result of a call)
    #[arg(long, value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) result: Option<String>,
    /// Let it fail with this message
    #[arg(long, value_name = "MSG")]
    pub(crate) fail: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run's id, or a unique beginning of it
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) onward: Onward,
}

#[derive(Debug, Args)]
pub(crate) struct Tools {
    /// Only this server's
    pub(crate) server: Option<String>,
    /// Consent to all that the files ask for, in this call
    #[arg(long)]
    pub(crate) trust: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// A server that the project declares
    pub(crate) server: String,
    /// One of its tools, by its own name or by the one that models see
    pub(crate) tool: String,
    /// The arguments: a JSON object, @file, or - for stdin
    pub(crate) arguments: Option<String>,
    /// Consent to all that the files ask for, in this call
    #[arg(long)]
    pub(crate) trust: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// A server that the project or one of its agents declares
    pub(crate) server: String,
    /// Open no browser: print the address, and take the one that it ends at from stdin, too
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Consent to all that the files ask for, in this call
    #[arg(long)]
    pub(crate) trust: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// To the one client on stdin and stdout
    #[arg(long, conflicts_with = "http")]
    pub(crate) stdio: bool,
    /// Over HTTP at this address, as in 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<std::net::SocketAddr>,
    /// Only with the token in this file, which is made if there is none
    #[arg(long, value_name = "FILE", requires = "http", conflicts_with = "stdio")]
    pub(crate) token_file: Option<PathBuf>,
    /// Also under this name
    #[arg(long, value_name = "NAME", requires = "http", conflicts_with = "stdio")]
    pub(crate) allow_host: Vec<String>,
    /// Seconds within which clients are answered that do not come back for a result
    #[arg(long, value_name = "SECONDS", default_value_t = 50)]
    pub(crate) within: u64,
    /// Consent to all that the files ask for, in this call
    #[arg(long)]
    pub(crate) trust: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// A run: consent to what it has pinned, instead of today's files
    pub(crate) run: Option<String>,
    /// Consent to a tool as its server has changed it, for the runs that were given it before
    #[arg(long, num_args = 3, value_names = ["SERVER", "TOOL", "HASH"], conflicts_with = "run")]
    pub(crate) changed: Option<Vec<String>>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only this run
    pub(crate) run: Option<String>,
    /// First rewrite the file, if its disk failed to sync it
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Replay {
    /// The run's id, or a unique beginning of it
    pub(crate) run: Option<String>,
    /// Every run of the database
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the demo's folder to look at
    #[arg(long)]
    pub(crate) keep: bool,
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
