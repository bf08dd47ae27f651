//! Tests of the command line as it is read. They run nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use clap::CommandFactory as _;

use super::*;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_does_not_go_together_is_refused() {
    for line in [
        "resolve r",
        "resolve r --retry --fail x",
        "approve r --all --step s",
        "resume --steal",
        "run a b --detach --no-wait",
        "run",
        "signal r",
        "ls --limit x",
        "replay",
        "replay r --all",
        "serve --stdio --http 127.0.0.1:0",
        "serve --http localhost",
        "serve --stdio --token-file t",
        "nothing",
        "answer r",
        "answer r {} --decline",
        "schedule add x a b",
        "schedule add x --every 1h --tz UTC a b",
        "schedule add x --every 1h a b --priority 3",
        "schedule trigger x --detach --no-wait",
    ] {
        assert!(Cli::try_parse_from(format!("abide {line}").split(' ')).is_err(), "{line}");
    }
    for line in [
        "run a - --id x --json --db y",
        "--json ls",
        "resolve r --result {} --resume",
        "resume --yes",
        "replay --all",
        "answer r --cancel --resume",
        "run a --prompt docs/greet name=Ada style=kind --id x",
        "tools",
        "tools docs --json",
        "call docs search {} --trust",
        "trust --changed docs search 00",
        "login docs --no-browser",
        "logout docs",
        "serve --stdio --within 5",
        "run a b --queue q --priority -3 --detach",
        "schedule add x --cron @daily --tz UTC a b --missed all --overlap queue --replace",
        "schedule add x --every 1h a b --queue q --priority -3",
        "schedule list --json",
        "schedule rm x",
        "serve --http [::1]:0 --token-file t --allow-host box.lan",
    ] {
        assert!(Cli::try_parse_from(format!("abide {line}").split(' ')).is_ok(), "{line}");
    }
}
