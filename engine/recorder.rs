//! Takes down what follows a delivery: live as commands for the journal, on replay as a comparison with it. It never polls.

use std::collections::HashMap;

use crate::asked::describe;
use crate::chunks::{ChunkTable, Payload};
use crate::event::{Command, Outcome};
use crate::state::{Rest, State};
use crate::{Fault, StepId};

pub(crate) enum Recorder<'a> {
    Live {
        table: &'a mut ChunkTable,
        commands: Vec<Command>,
    },
    /// What was recorded for this delivery and has not been asked for again yet.
    Replay {
        recorded: Vec<Option<Command>>,
        next: usize,
    },
}

impl<'a> Recorder<'a> {
    pub(crate) fn live(table: &'a mut ChunkTable) -> Self {
        Self::Live { table, commands: Vec::new() }
    }

    pub(crate) fn replay(recorded: Vec<Command>) -> Self {
        Self::Replay { recorded: recorded.into_iter().map(Some).collect(), next: 0 }
    }

    /// The version gates that were recorded for this delivery.
    pub(crate) fn versions(&self) -> HashMap<String, u32> {
        let Self::Replay { recorded, .. } = self else { return HashMap::new() };
        let gates = recorded.iter().flatten().filter_map(|command| match command {
            Command::Version { change, value } => Some((change.clone(), *value)),
            _ => None,
        });
        gates.collect()
    }

    /// Takes down what a rest numbered and dropped.
    pub(crate) fn rest(&mut self, state: &mut State, rest: &Rest) -> Result<(), Fault> {
        let seed = state.seed;
        for slot in &rest.numbered {
            let entry = &mut state.entries[*slot];
            let Some(id) = entry.id.clone() else { continue };
            match self {
                Self::Live { table, commands } => commands.push(entry.asked.command(id, &seed, table)),
                Self::Replay { .. } => {
                    let recorded =
                        self.take(|command| command.id() == Some(&id) && !matches!(command, Command::Cancel { .. }));
                    let recorded = recorded.ok_or_else(|| Fault::diverged(&id, "nothing", entry.asked.describe()))?;
                    entry.asked.match_recorded(&id, &recorded)?;
                }
            }
        }
        self.cancelled(rest.dropped.clone())?;
        let mut versions = std::mem::take(&mut state.new_versions);
        versions.sort();
        for (change, value) in versions {
            match self {
                Self::Live { commands, .. } => commands.push(Command::Version { change, value }),
                Self::Replay { .. } => {
                    self.take(|command| matches!(command, Command::Version { change: c, .. } if *c == change));
                }
            }
        }
        Ok(())
    }

    /// Takes down cancelled ids, which are in order.
    pub(crate) fn cancelled(&mut self, ids: Vec<StepId>) -> Result<(), Fault> {
        for id in ids {
            match self {
                Self::Live { commands, .. } => commands.push(Command::Cancel { id }),
                Self::Replay { .. } => {
                    let known = self.take(|command| matches!(command, Command::Cancel { id: other } if *other == id));
                    known.ok_or_else(|| Fault::diverged(&id, "no cancel", "that it is dropped here"))?;
                }
            }
        }
        Ok(())
    }

    /// Takes down the end of the generation.
    pub(crate) fn end(&mut self, outcome: &mut Outcome) -> Result<(), Fault> {
        match self {
            Self::Live { table, commands } => {
                let mut recorded = outcome.clone();
                if let Outcome::Completed(payload) | Outcome::Continued(payload) = &mut recorded
                    && let Payload::Inline(value) = payload
                {
                    *payload = table.encode(value.clone());
                }
                commands.push(Command::End(recorded));
                Ok(())
            }
            Self::Replay { .. } => {
                let recorded = self.take(|command| matches!(command, Command::End(_)));
                let same = matches!(&recorded, Some(Command::End(r)) if std::mem::discriminant(r) == std::mem::discriminant(outcome));
                if same {
                    Ok(())
                } else {
                    Err(Fault::diverged(
                        &"end".into(),
                        recorded.as_ref().map_or_else(|| "that it goes on".to_owned(), describe_end),
                        describe_outcome(outcome),
                    ))
                }
            }
        }
    }

    fn take(&mut self, is_it: impl Fn(&Command) -> bool) -> Option<Command> {
        let Self::Replay { recorded, next } = self else { return None };
        // Nearly always the next one in order; after a harmless reordering in the code, one further on.
        let here = (*next..recorded.len()).chain(0..*next);
        for i in here {
            if recorded[i].as_ref().is_some_and(&is_it) {
                *next = i + 1;
                return recorded[i].take();
            }
        }
        None
    }

    /// On replay: everything that was recorded must have been asked for.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        let Self::Replay { recorded, .. } = self else { return Ok(()) };
        match recorded.into_iter().flatten().next() {
            None => Ok(()),
            Some(left) => {
                let id = left.id().map_or_else(|| gate(&left), ToString::to_string);
                Err(Fault::Diverged { id, recorded: describe(&left), asked: "nothing".to_owned() })
            }
        }
    }

    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        match self {
            Self::Live { commands, .. } => std::mem::take(commands),
            Self::Replay { .. } => Vec::new(),
        }
    }
}

fn gate(command: &Command) -> String {
    match command {
        Command::Version { change, .. } => change.clone(),
        _ => "end".to_owned(),
    }
}

fn describe_end(command: &Command) -> String {
    match command {
        Command::End(outcome) => describe_outcome(outcome),
        other => describe(other),
    }
}

fn describe_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed(_) => "that the run completed".to_owned(),
        Outcome::Failed(error) => format!("that the run failed ({error})"),
        Outcome::Cancelled(_) => "that the run was cancelled".to_owned(),
        Outcome::Continued(_) => "that the run continued as new".to_owned(),
    }
}
