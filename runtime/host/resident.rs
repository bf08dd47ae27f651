//! A run in memory: its machine, where its journal ends, and the attempts that belong to the host and not to the machine
//! (DESIGN rule 3). It never writes by itself: `turn` and `act` do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use abide_engine::event::HostEvent;
use abide_engine::{Arrival, Error, Fault, Json, Machine, Spent, StepId};
use tokio::task::AbortHandle;

use super::doubt::{Answer, Doubt};
use crate::store::{Dealings, Hash, HeadState, InboxRow, RunKey};

/// A run that a shard works on.
pub(crate) struct Resident {
    pub(crate) token: u64,
    /// 0 until its start has been committed.
    pub(crate) key: RunKey,
    pub(crate) id: Arc<str>,
    pub(crate) workflow: Arc<str>,
    pub(crate) parent: Option<(RunKey, String)>,
    pub(crate) machine: Machine,
    pub(crate) epoch: i64,
    pub(crate) head: i64,
    pub(crate) hash: Hash,
    /// What the host knows of each open step that is not simply waiting to be started.
    pub(crate) steps: HashMap<StepId, StepState>,
    /// How many of those are working.
    pub(crate) working: usize,
    /// What came and was not delivered yet.
    pub(crate) arrived: Vec<Arrived>,
    /// Messages that nobody in the run waits for yet.
    pub(crate) mail: Vec<InboxRow>,
    /// The newest message that was read from the inbox.
    pub(crate) mail_seen: i64,
    /// Some of them no turn has looked at yet.
    pub(crate) unread: bool,
    /// The runs that its child steps started.
    pub(crate) children: HashMap<StepId, String>,
    /// To be recorded with the next row.
    pub(crate) host: Vec<HostEvent>,
    /// To be recorded with the next row that is written anyway.
    pub(crate) later: Vec<HostEvent>,
    /// Steps that have a place at a service, or wait in line for one.
    pub(crate) admitted: HashSet<StepId>,
    /// Steps whose latest attempts did not leave in time, and how many did not.
    pub(crate) late: HashMap<StepId, u32>,
    /// What the next commit settles with services and budgets.
    pub(crate) dealings: Dealings,
    /// What answered calls have used, until it is committed.
    pub(crate) used: HashMap<StepId, (Arc<str>, Spent)>,
    /// Attempts to start once the next row is committed.
    pub(crate) to_start: Vec<(StepId, u32)>,
    pub(crate) committing: Option<Committing>,
    /// What `heads` says of it.
    pub(crate) state: HeadState,
    /// Attempts may be polled once on the shard's own thread.
    pub(crate) inline: bool,
    /// The run is to be let go of once nothing works.
    pub(crate) letting_go: Option<LettingGo>,
    /// The messages that pause it: they stay in the inbox until it is paused, for whoever has it by then.
    pub(crate) pauses: Vec<i64>,
    /// Why it cannot go on: it is parked once nothing is under way that must not be cut off.
    pub(crate) fault: Option<Fault>,
    /// Its last commit failed: nothing moves until its machine has been rebuilt.
    pub(crate) mending: bool,
    /// It will be looked at for eviction.
    pub(crate) looked_at: bool,
    /// Unix milliseconds since which nothing happened.
    pub(crate) idle_since: i64,
    /// Events of its generation so far.
    pub(crate) events: usize,
    /// Commits that failed in a row.
    pub(crate) failures: u32,
    /// Why it is parked, to be kept with its state.
    pub(crate) error: Option<String>,
    /// What in its surroundings stopped it.
    pub(crate) stopped_by: Option<String>,
    /// Outcomes that its journal held when it was loaded.
    pub(crate) replayed: usize,
}

/// Why a resident run is let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LettingGo {
    /// A person paused it.
    Pause,
    /// The process ends, or `--no-wait`: the run stays as it is, without an owner.
    Release,
    /// Its surroundings are broken.
    Environment,
}

/// What the host knows of an open step.
pub(crate) enum StepState {
    /// An attempt is planned (serial 0), under way (with a handle to end it), or over and its outcome not delivered.
    Working { n: u32, failures: u32, serial: u64, abort: Option<AbortHandle> },
    /// The next attempt has its time.
    RetryAt { n: u32, failures: u32, at: i64, rate_limit: bool },
    /// Nobody knows whether it happened.
    InDoubt(Doubt),
    /// Its probe is to be asked (serial 0), or is being asked.
    Probing { doubt: Doubt, serial: u64, abort: Option<AbortHandle> },
    /// Somebody outside must mend something.
    Parked { n: u32, failures: u32, what: abide_engine::Parked, why: String },
    /// It waits in line for a place at a service, and asks again at this time.
    Queued { n: u32, failures: u32, at: i64 },
    /// It is to start when the run goes on.
    Held { n: u32, failures: u32 },
}

impl StepState {
    /// Is something under way for it, or about to be?
    pub(crate) fn works(&self) -> bool {
        matches!(self, Self::Working { .. } | Self::Probing { .. })
    }

    /// The number of the latest attempt.
    pub(crate) fn attempt(&self) -> u32 {
        match self {
            Self::Working { n, .. }
            | Self::RetryAt { n, .. }
            | Self::Parked { n, .. }
            | Self::Queued { n, .. }
            | Self::Held { n, .. } => *n,
            Self::InDoubt(doubt) | Self::Probing { doubt, .. } => doubt.n,
        }
    }

    /// How many attempts have failed, waits for a rate limit left out.
    pub(crate) fn failures(&self) -> u32 {
        match self {
            Self::Working { failures, .. }
            | Self::RetryAt { failures, .. }
            | Self::Parked { failures, .. }
            | Self::Queued { failures, .. }
            | Self::Held { failures, .. } => *failures,
            Self::InDoubt(doubt) | Self::Probing { doubt, .. } => doubt.failures,
        }
    }
}

/// Something that came for a run.
pub(crate) struct Arrived {
    pub(crate) at: i64,
    pub(crate) order: Arrival,
    pub(crate) what: Came,
}

/// What came.
pub(crate) enum Came {
    /// An attempt is over.
    Attempt { id: StepId, n: u32, serial: u64, result: Result<Json, Error> },
    /// A timer or the time of a signal is due.
    Due { id: StepId },
    /// A probe has answered.
    Probed { id: StepId, serial: u64, answer: Answer },
    /// The time of a further attempt.
    Retry { id: StepId },
    /// A message.
    Mail(InboxRow),
}

/// A commit on its way, and what follows it.
pub(crate) struct Committing {
    /// What this turn delivered: taken up again if the commit fails.
    pub(crate) delivered: Vec<Arrived>,
    pub(crate) acts: Vec<Act>,
    pub(crate) state: HeadState,
    pub(crate) ended: Option<Ended>,
    /// The steps of a generation that ended with this turn.
    pub(crate) retired: Option<HashMap<StepId, StepState>>,
}

/// What a committed turn asks the host to do.
pub(crate) enum Act {
    Start { id: StepId, n: u32 },
    Timer { id: StepId, due: i64 },
    Cancel { id: StepId },
    Ask { id: StepId, wait: abide_engine::Wait },
}

/// How a run ended.
pub(crate) enum Ended {
    Completed(Json),
    Failed(Error),
    Cancelled(Error),
}

impl Resident {
    /// Takes note of a step's state and counts those that work.
    pub(crate) fn set_step(&mut self, id: StepId, state: StepState) {
        let works = state.works();
        let before = self.steps.insert(id, state);
        self.working += usize::from(works);
        self.working -= usize::from(before.is_some_and(|before| before.works()));
    }

    /// Takes all steps out: their generation has ended.
    pub(crate) fn retire_steps(&mut self) -> HashMap<StepId, StepState> {
        self.working = 0;
        self.to_start.clear();
        self.children.clear();
        std::mem::take(&mut self.steps)
    }

    /// Is this the attempt whose outcome the step waits for?
    pub(crate) fn is_current(&self, id: &StepId, serial: u64) -> bool {
        matches!(self.steps.get(id), Some(StepState::Working { serial: current, .. }) if *current == serial)
    }

    /// Forgets a step, ending its attempt.
    pub(crate) fn drop_step(&mut self, id: &StepId) {
        self.late.remove(id);
        self.working -= usize::from(self.steps.remove(id).is_some_and(|step| step.works()));
    }
}

impl Drop for StepState {
    fn drop(&mut self) {
        // An attempt whose step is forgotten must not go on.
        if let Self::Working { abort: Some(abort), .. } | Self::Probing { abort: Some(abort), .. } = self {
            abort.abort();
        }
    }
}
