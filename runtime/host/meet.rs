//! Starting what a schedule has due: moving it on and starting its runs are one commit, so that a time is met once, whoever dies and however many
//! look at it (DESIGN rule 19). It works on no run: those that it starts are like any other.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use abide_engine::{Json, Seed};
use serde::{Deserialize, Serialize};

use super::begin::StartRun;
use super::inner::{Definition, Inner};
use super::schedule::Overlap;
use super::when::{Due, Missed, When, stamp};
use crate::store::{Job as _, Queue, Reader, ScheduleRow, Started, schedules};
use crate::{HostError, crash};

/// How long after an error a schedule is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// A clock that goes back by more than this, in milliseconds, was put back.
const BACK_MS: i64 = 1_000;

/// What is kept of a schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) when: When,
    /// A workflow of a program's, or with a root a name in the files below it.
    pub(crate) target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    pub(crate) input: Json,
    pub(crate) missed: Missed,
    pub(crate) overlap: Overlap,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<Queue>,
}

/// What a schedule names in files, to be looked up when it is due.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
pub(crate) struct Named<'a> {
    pub(crate) target: &'a str,
    pub(crate) root: &'a Path,
    pub(crate) model: Option<&'a str>,
    pub(crate) input: &'a Json,
    pub(crate) queue: Option<&'a Queue>,
}

/// What a run is begun with.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) workflow: String,
    pub(crate) input: Json,
    pub(crate) definition: Definition,
    pub(crate) queue: Option<Queue>,
}

/// Looks up what is named in files, as they are now; the error says what is wrong with them.
pub(crate) type LookUp = Arc<dyn Fn(&Named<'_>) -> Result<Begin, String> + Send + Sync>;

/// What a row says.
pub(super) fn plan_of(row: &ScheduleRow) -> Result<Plan, HostError> {
    serde_json::from_str(&row.body).map_err(|error| HostError::Schedule {
        why: format!("the schedule `{}` cannot be read: {error}", row.name),
        help: "a newer abide may have written it: use that one, or `abide schedule add --replace` it".to_owned(),
    })
}

/// Looks for what is due, again and again.
#[derive(Default)]
pub(crate) struct Meetings {
    /// Schedules that are being met.
    under_way: Arc<Mutex<HashSet<i64>>>,
    /// The clock as it was seen last.
    clock: Option<i64>,
}

impl Meetings {
    /// Has what is due started that this process can start.
    pub(crate) fn look(&mut self, inner: &Arc<Inner>, reader: &Reader) -> Result<(), HostError> {
        let now = inner.now_ms();
        if self.clock.is_none_or(|before| now < before - BACK_MS) {
            put_back(inner, reader, now)?;
        }
        self.clock = Some(now);
        for row in reader.due_schedules(now)? {
            let key = row.key;
            let is_new = || self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
            if !inner.may_meet(&row) || !is_new() {
                continue;
            }
            let (inner, under_way) = (inner.clone(), self.under_way.clone());
            inner.runtime.clone().spawn(async move {
                if let Err(error) = inner.meet(row).await {
                    tracing::warn!(key, %error, "a schedule cannot be met now");
                    tokio::time::sleep(AGAIN).await;
                }
                under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            });
        }
        Ok(())
    }
}

/// The next times may be those of a clock that was wrong: none is later than the first from now on. Of those that come a second time, the runs are there.
fn put_back(inner: &Arc<Inner>, reader: &Reader, now: i64) -> Result<(), HostError> {
    for row in reader.schedules()? {
        let next = plan_of(&row).and_then(|plan| plan.when.times()).ok().and_then(|times| times.next(now));
        if row.next_ms.is_some() && next.is_some() && next < row.next_ms {
            drop(inner.writer.post(move |tx| schedules::advance(tx, &row, next)));
        }
    }
    Ok(())
}

impl Inner {
    /// What its next run is begun with; `None` if that is another program's.
    pub(super) fn begin_of(&self, name: &str, plan: &Plan) -> Option<Result<Begin, String>> {
        let Plan { target, root, model, input, queue, .. } = plan;
        let begin = match root {
            None => self.knows(target).then(|| {
                let (workflow, input, queue) = (target.clone(), input.clone(), queue.clone());
                Ok(Begin { workflow, input, definition: Definition::default(), queue })
            }),
            Some(root) => self.look_up.as_ref().map(|look_up| {
                look_up(&Named { target, root: Path::new(root), model: model.as_deref(), input, queue: queue.as_ref() })
            }),
        };
        // Its runs wait for each other, whatever else their files name.
        let own = (plan.overlap == Overlap::Queue).then(|| Queue::new(format!("schedule:{name}"), 1));
        begin.map(|begin| begin.map(|begin| Begin { queue: own.or(begin.queue), ..begin }))
    }

    /// May this process start what is due?
    pub(crate) fn may_meet(&self, row: &ScheduleRow) -> bool {
        plan_of(row)
            .is_ok_and(|plan| if plan.root.is_some() { self.look_up.is_some() } else { self.knows(&plan.target) })
    }

    /// Starts what is due of a schedule and moves it on, in one commit. The ids of the new runs; none if another process was first.
    pub(crate) async fn meet(&self, row: ScheduleRow) -> Result<Vec<String>, HostError> {
        let (Ok(plan), Some(first)) = (plan_of(&row), row.next_ms) else { return Ok(Vec::new()) };
        let (now, times) = (self.now_ms(), plan.when.times()?);
        let Due { times: due, left_out } = times.due(first, now, plan.missed);
        let next = times.next(now);
        let mut note =
            (left_out > 0).then(|| format!("{left_out} earlier or missed times: nothing was started for them"));
        let begin = match self.begin_of(&row.name, &plan) {
            None => return Ok(Vec::new()),
            Some(Ok(begin)) => Some(begin),
            Some(Err(why)) => {
                note = Some(format!("nothing was started: {why}"));
                None
            }
        };
        let start = |at: &i64| {
            let Begin { workflow, input, definition: Definition { body: definition, root }, queue } = begin.clone()?;
            let seed = Seed { nonce: crate::random::bytes16(), generation: 0 };
            let id = format!("{}-{}", row.name, stamp(*at));
            Some((*at, StartRun { id, workflow, input, seed, definition, root, queue }))
        };
        let starts: Vec<(i64, StartRun)> = due.iter().filter_map(start).collect();
        crash::point("schedule.due");
        let skips = plan.overlap == Overlap::Skip;
        let met = self.writer.call(move |tx| {
            let (mut started, mut note) = (Vec::new(), note.clone());
            if !schedules::advance(tx, &row, next)? {
                return Ok(started);
            }
            for (at, start) in &starts {
                let open = if skips { schedules::still_open(tx, row.key)? } else { None };
                if let Some(open) = open {
                    note = Some(format!("nothing was started for {}: run `{open}` has not ended", stamp(*at)));
                    continue;
                }
                let mut job = start.clone().created(None, now, Box::new(|_| ()));
                job.apply(tx)?;
                schedules::started(tx, row.key, &start.id, *at)?;
                match job.started {
                    Some(Started::New { .. }) => started.push(start.id.clone()),
                    Some(Started::Exists { same: false, .. }) => {
                        note = Some(format!("run `{}` was there already, with another workflow or input", start.id));
                    }
                    _ => {}
                }
            }
            schedules::note(tx, row.key, note.as_deref(), now)?;
            Ok(started)
        });
        let started = met.await?;
        crash::point("schedule.met");
        Ok(started)
    }
}
