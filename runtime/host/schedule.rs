//! Schedules, for those who keep, look at and change them (DESIGN rule 19). It starts nothing that is due: `meet` does.

use std::future::IntoFuture;
use std::pin::Pin;

use abide_engine::Json;
use serde::{Deserialize, Serialize};

use super::api::{Abide, Start};
use super::meet::{Plan, plan_of};
use super::when::{Missed, When, stamp};
use crate::store::{Kept, Queue, ScheduleRow, schedules};
use crate::{HostError, RunInfo};

/// What becomes of a time at which the run that was started last has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing is started for it.
    #[default]
    Skip,
    /// Its run waits for the others of the schedule, in a queue of its own.
    Queue,
    /// It is started beside.
    Allow,
}

impl Overlap {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Allow => "allow",
        }
    }
}

/// What is known of a schedule.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub when: When,
    /// The workflow that it starts, or the name of an agent or a workflow in files.
    pub target: String,
    /// What its runs are given.
    pub input: Json,
    /// What becomes of missed times.
    pub missed: Missed,
    /// What becomes of times at which the last run has not ended.
    pub overlap: Overlap,
    /// The queue of its runs.
    pub queue: Option<String>,
    /// Is it paused?
    pub paused: bool,
    /// The next time in Unix milliseconds; none if it is paused or will not be due again.
    pub next_ms: Option<i64>,
    /// The run that it has started last.
    pub last_run: Option<String>,
    /// For which time that was, in Unix milliseconds.
    pub last_ms: Option<i64>,
    /// Why nothing, or not everything, was started when it was due last.
    pub note: Option<String>,
    /// When that was found, in Unix milliseconds.
    pub note_ms: Option<i64>,
}

/// A schedule about to be kept: await it.
#[must_use = "a schedule is kept when this is awaited"]
pub struct NewSchedule<'a> {
    abide: &'a Abide,
    name: String,
    plan: Result<Plan, String>,
    replaces: bool,
}

/// A schedule of this database.
pub struct Schedule<'a> {
    abide: &'a Abide,
    name: String,
}

impl Abide {
    /// Keeps a schedule: each time is a run of the workflow with this input, whose id is `NAME-20261126T030000Z` (in UTC), so that it is never started
    /// twice. Await what is returned. Whoever goes on with runs by itself (see [`super::Builder::recover`]) starts them.
    ///
    /// The same schedule under the same name is kept as it is, so that a program may say this whenever it starts.
    pub fn schedule<I: Serialize + ?Sized>(
        &self,
        name: &str,
        when: When,
        workflow: &str,
        input: &I,
    ) -> NewSchedule<'_> {
        let plan = abide_engine::event::json(input).map_err(|error| error.to_string()).map(|input| Plan {
            when: when.from(self.inner.now_ms()),
            target: workflow.to_owned(),
            root: None,
            model: None,
            input,
            missed: Missed::default(),
            overlap: Overlap::default(),
            queue: None,
        });
        NewSchedule { abide: self, name: name.to_owned(), plan, replaces: false }
    }

    /// The schedule of this name.
    pub fn scheduled(&self, name: &str) -> Result<Schedule<'_>, HostError> {
        let schedule = Schedule { abide: self, name: name.to_owned() };
        schedule.row()?;
        Ok(schedule)
    }

    /// All schedules, by name.
    pub fn schedules(&self) -> Result<Vec<ScheduleInfo>, HostError> {
        self.inner.read(crate::store::Reader::schedules)?.into_iter().map(ScheduleInfo::of).collect()
    }

    /// Starts what is due by now, and leaves it to whoever resumes it: for processes that do not go on with runs by themselves. The ids of the new runs.
    pub async fn start_due(&self) -> Result<Vec<String>, HostError> {
        let now = self.inner.now_ms();
        let mut started = Vec::new();
        for row in self.inner.read(|reader| reader.due_schedules(now))? {
            started.extend(self.inner.meet(row).await?);
        }
        Ok(started)
    }
}

impl<'a> NewSchedule<'a> {
    fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        if let Ok(plan) = &mut self.plan {
            change(plan);
        }
        self
    }

    /// What becomes of times that nobody was there for; the latest is made up for, unless told otherwise.
    pub fn missed(self, missed: Missed) -> Self {
        self.with(|plan| plan.missed = missed)
    }

    /// What becomes of a time at which the run before has not ended; nothing is started, unless told otherwise.
    pub fn overlap(self, overlap: Overlap) -> Self {
        self.with(|plan| plan.overlap = overlap)
    }

    /// Its runs wait in this queue for their turn.
    pub fn queue(self, queue: Queue) -> Self {
        self.with(|plan| plan.queue = Some(queue))
    }

    /// Takes the place of another schedule of this name.
    pub fn replace(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// The target is a name in the files below this folder.
    #[cfg(feature = "cli")]
    pub(crate) fn in_files(self, root: String, model: Option<String>) -> Self {
        self.with(|plan| (plan.root, plan.model) = (Some(root), model))
    }

    async fn keep(self) -> Result<Schedule<'a>, HostError> {
        let value = |what: String, why: &str| HostError::Value { what, why: why.to_owned() };
        let plan = self.plan.map_err(|why| value("the input".to_owned(), &why))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=100).contains(&self.name.len()) || !self.name.chars().all(fits) {
            let why = "it has 1 to 100 letters, digits, `-`, `_` and `.`, for it begins the ids of runs";
            return Err(value(format!("the name `{}`", self.name), why));
        }
        if plan.overlap == Overlap::Queue && plan.queue.is_some() {
            return Err(value(
                "a queue".to_owned(),
                "its runs wait for each other in one of their own (overlap: queue)",
            ));
        }
        let inner = &self.abide.inner;
        inner.limits.check("the input", plan.input.get().len())?;
        let next = plan.when.times()?.next(inner.now_ms());
        let text =
            |plan: &Plan| serde_json::to_string(plan).map_err(|e| value("the schedule".to_owned(), &e.to_string()));
        let (name, body, replaces) = (self.name.clone(), text(&plan)?, self.replaces);
        let kept = inner.writer.call(move |tx| schedules::keep(tx, &name, &body, next, replaces)).await?;
        if let Kept::Exists(body) = kept {
            let same = serde_json::from_str::<Plan>(&body).ok().filter(|before| before.when.says_as(&plan.when));
            let same = same.map(|before| text(&Plan { when: plan.when.clone(), ..before })).transpose()?;
            if same != Some(text(&plan)?) {
                return Err(HostError::Schedule {
                    why: format!("there is a schedule `{}` already, and it says something else", self.name),
                    help: format!("look at it with `abide schedule show {}`; --replace changes it", self.name),
                });
            }
        }
        Ok(Schedule { abide: self.abide, name: self.name })
    }
}

impl<'a> IntoFuture for NewSchedule<'a> {
    type Output = Result<Schedule<'a>, HostError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.keep())
    }
}

impl<'a> Schedule<'a> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn none(&self) -> HostError {
        HostError::NoSuchSchedule { schedule: self.name.clone() }
    }

    fn row(&self) -> Result<ScheduleRow, HostError> {
        self.abide.inner.read(|reader| reader.schedule(&self.name))?.ok_or_else(|| self.none())
    }

    /// What is known of it now.
    pub fn inspect(&self) -> Result<ScheduleInfo, HostError> {
        ScheduleInfo::of(self.row()?)
    }

    /// The runs that it has started, by their ids, the newest first, `limit` of them at most.
    pub fn runs(&self, limit: u32) -> Result<Vec<RunInfo>, HostError> {
        let of_this = |id: &str| {
            let stamp = id.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
            stamp.len() >= 16 && stamp.ends_with('Z') && stamp.bytes().all(|b| b.is_ascii_digit() || b"TZ".contains(&b))
        };
        self.abide.inner.read(|reader| {
            let rows = reader.begins_with(&format!("{}-2", self.name), 10 * i64::from(limit))?;
            let rows = rows.into_iter().filter(|row| of_this(&row.id)).take(limit as usize);
            Ok(rows.map(|row| RunInfo::of(reader, row)).collect())
        })
    }

    /// Nothing is started until it is resumed, and what would have been is not made up for.
    pub async fn pause(&self) -> Result<(), HostError> {
        self.change(schedules::pause).await
    }

    /// Goes on with the next time from now.
    pub async fn resume(&self) -> Result<(), HostError> {
        let row = self.row()?;
        if !row.paused {
            return Ok(());
        }
        let next = plan_of(&row)?.when.times()?.next(self.abide.inner.now_ms());
        self.change(move |tx, name| schedules::resume(tx, name, next)).await
    }

    /// Removes it; runs that it has started go on.
    pub async fn remove(self) -> Result<(), HostError> {
        self.change(schedules::remove).await
    }

    async fn change(
        &self,
        mut change: impl FnMut(&crate::store::Tx<'_>, &str) -> rusqlite::Result<bool> + Send + 'static,
    ) -> Result<(), HostError> {
        let name = self.name.clone();
        let changed = self.abide.inner.writer.call(move |tx| change(tx, &name)).await?;
        changed.then_some(()).ok_or_else(|| self.none())
    }

    /// A run as it would start one, now and beside its times: await it.
    pub fn trigger(&self) -> Result<Start<'a>, HostError> {
        let inner = &self.abide.inner;
        let (plan, now) = (plan_of(&self.row()?)?, inner.now_ms());
        let begin = match inner.begin_of(&self.name, &plan) {
            Some(begin) => begin.map_err(|why: String| self.broken(&why))?,
            None => return Err(self.broken(&format!("this program has no workflow `{}`", plan.target))),
        };
        let id = format!("{}-{}{:03}Z", self.name, stamp(now).trim_end_matches('Z'), now.rem_euclid(1_000));
        let start = self.abide.run(&begin.workflow, &begin.input).id(id).definition(begin.definition);
        Ok(match begin.queue {
            Some(queue) => start.queue(queue),
            None => start,
        })
    }

    fn broken(&self, why: &str) -> HostError {
        HostError::Schedule {
            why: format!("the schedule `{}` cannot start anything: {why}", self.name),
            help: "mend that: its files are read anew each time".to_owned(),
        }
    }
}

impl ScheduleInfo {
    fn of(row: ScheduleRow) -> Result<Self, HostError> {
        let Plan { when, target, input, missed, overlap, queue, .. } = plan_of(&row)?;
        Ok(Self {
            when,
            target,
            input,
            missed,
            overlap,
            queue: queue.map(|queue| queue.name),
            paused: row.paused,
            next_ms: row.next_ms.filter(|_| !row.paused),
            name: row.name,
            last_run: row.last_run,
            last_ms: row.last_ms,
            note: row.note,
            note_ms: row.note_ms,
        })
    }
}
