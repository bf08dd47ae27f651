//! Stays with runs that this process works on: shows what happens, answers what its user said would be answered, and leaves
//! when all have ended or stand still. It never prints a result.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use abide_engine::Wait;
use abide_llm::Approval;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use super::args::Stay;
use super::candidates::{Wants, about, describe};
use super::live::Live;
use super::messages::answer_id;
use super::screen::{Screen, put, put_question, yes_or_no};
use super::session::Opened;
use super::stop::Stop;
use super::talk::Talk;
use crate::shell::quote;
use crate::{HostError, Progress, ProgressKind, Run, Settled, StepReport};

/// What a run came to while this process stayed with it.
#[derive(Debug)]
pub(crate) enum End {
    /// What its host says.
    Settled(Settled),
    /// It waits for a time, and was left under `--no-wait`.
    Left,
}

/// What became of all of them.
pub(crate) enum Driven {
    /// In the order of the runs.
    Over(Vec<Result<End, HostError>>),
    /// Ctrl-C; the next is heard, too.
    Interrupted(Stop),
}

struct Flow {
    run: Run,
    end: Option<Result<End, HostError>>,
    /// It has parked, and goes on when its questions are answered.
    parked: bool,
    /// It was taken up again here, which is nothing to tell.
    taken_up: bool,
    /// Questions answered here; true once the run was taken up for the sake of one that it had parked without seeing.
    sent: HashMap<String, bool>,
    /// What it asks and cannot be answered here, as far as that was told.
    told: HashSet<String>,
}

type Settling = BoxFuture<'static, (usize, Result<Settled, HostError>)>;

struct Drive<'a> {
    screen: &'a Screen,
    opened: &'a Opened,
    stay: Stay,
    live: Live<'a>,
    flows: Vec<Flow>,
    settling: FuturesUnordered<Settling>,
    questions: VecDeque<(usize, String)>,
    /// The question on the screen.
    asking: Option<(usize, String)>,
    /// What is asked there, as it is shown.
    shown: Option<StepReport>,
    /// The same, if it is asked in words.
    talk: Option<Talk>,
    /// Nobody answers any more.
    deaf: bool,
}

/// Stays with these runs, of which this process works on each. `progress` was subscribed to, and `stop` listened for, before they began.
pub(crate) async fn stay_with(
    screen: &Screen,
    opened: &Opened,
    stay: Stay,
    mut progress: Receiver<Progress>,
    stop: Stop,
    runs: Vec<Run>,
) -> Driven {
    let flow = |run| {
        let (sent, told) = Default::default();
        Flow { run, end: None, parked: false, taken_up: false, sent, told }
    };
    let mut drive = Drive {
        screen,
        opened,
        stay,
        live: Live::new(screen, runs.len() > 1),
        flows: runs.into_iter().map(flow).collect(),
        settling: FuturesUnordered::new(),
        questions: VecDeque::new(),
        asking: None,
        shown: None,
        talk: None,
        deaf: false,
    };
    for i in 0..drive.flows.len() {
        drive.settle(i);
        drive.look(i).await;
    }
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while drive.flows.iter().any(|flow| flow.end.is_none()) {
        let asks = drive.asking.is_some();
        tokio::select! {
            biased;
            () = stop.asked() => {
                if asks {
                    screen.say("");
                }
                return Driven::Interrupted(stop);
            }
            Some((i, settled)) = drive.settling.next() => {
                // What led to it is told first.
                while let Ok(event) = progress.try_recv() {
                    drive.event(&event).await;
                }
                drive.settled(i, settled).await;
            }
            event = progress.recv() => if let Ok(event) = event {
                drive.event(&event).await;
            },
            said = screen.line(), if asks => drive.answered(said).await,
            _ = second.tick() => {
                drive.live.redraw();
                drive.look_again().await;
            },
        }
    }
    Driven::Over(drive.flows.into_iter().filter_map(|flow| flow.end).collect())
}

impl Drive<'_> {
    fn settle(&mut self, i: usize) {
        if let Some(flow) = self.flows.get(i) {
            let run = flow.run.clone();
            self.settling.push(Box::pin(async move { (i, run.settled().await) }));
        }
    }

    /// Is there anybody to answer this step? `--yes` allows calls, and answers no other question.
    fn can_answer(&self, step: &StepReport) -> bool {
        (self.stay.yes && Wants::Approval.is(step)) || (self.screen.interactive && !self.deaf)
    }

    /// A run may have waited or asked before anybody listened.
    async fn look(&mut self, i: usize) {
        for step in self.pending(i) {
            self.ask(i, step.id).await;
        }
        let Some(Ok(info)) = self.flows.get(i).map(|flow| flow.run.inspect()) else { return };
        if let (Some("queue"), Some(queue)) = (info.waiting_for, &info.queue) {
            self.screen.say(&format!("run {} waits for a place in the queue `{queue}`", info.id));
        }
        if info.status == "waiting" && (info.waiting_for == Some("queue") || info.until_ms.is_some()) {
            self.waits(i).await;
        }
    }

    fn pending(&self, i: usize) -> Vec<StepReport> {
        let report = self.flows.get(i).and_then(|flow| flow.run.report().ok());
        let steps = report.map(|report| report.steps).unwrap_or_default();
        steps.into_iter().filter(asks_a_person).collect()
    }

    /// The step of this id, if it asks somebody now.
    fn step(&self, i: usize, id: &str) -> Option<StepReport> {
        self.pending(i).into_iter().find(|step| step.id == id)
    }

    async fn event(&mut self, progress: &Progress) {
        let found = self.flows.iter().position(|flow| flow.run.id() == &*progress.run);
        let again = found.and_then(|i| self.flows.get(i)).is_some_and(|flow| flow.taken_up);
        if !(again && matches!(progress.what, ProgressKind::Replayed { .. })) {
            self.live.event(progress);
        }
        let Some(i) = found else { return };
        match &progress.what {
            ProgressKind::Asked { id, wait: Wait::Approval | Wait::Answer } => self.ask(i, id.clone()).await,
            ProgressKind::Waiting { what, until_ms: Some(_) } => {
                if matches!(*what, "answer" | "approval") {
                    self.tell(i);
                }
                self.waits(i).await;
            }
            _ => {}
        }
    }

    /// A run that stays with this process waits for a word that cannot be said here: tells once where it can be.
    fn tell(&mut self, i: usize) {
        let Some(report) = self.flows.get(i).and_then(|flow| flow.run.report().ok()) else { return };
        let mute = |step: &&StepReport| asks_a_person(step) && !self.can_answer(step);
        let steps: Vec<&StepReport> = report.steps.iter().filter(mute).collect();
        for step in steps {
            let Some(flow) = self.flows.get_mut(i) else { return };
            if flow.told.insert(step.id.clone()) {
                let (run, id) = (quote(flow.run.id()), quote(&step.id));
                let verb =
                    if Wants::Approval.is(step) { format!("approve {run}") } else { format!("answer {run} JSON") };
                let about = describe(step, 160);
                self.screen.say(&format!("{about}\n  say so from another terminal: `abide {verb} --step {id}`"));
            }
        }
    }

    /// A run waits for a time: `--no-wait` does not, unless an answer is on its way.
    async fn waits(&mut self, i: usize) {
        if !self.stay.no_wait || self.has_question(i) {
            return;
        }
        let pending = self.pending(i);
        let Some(flow) = self.flows.get_mut(i) else { return };
        if flow.end.is_none() && !pending.iter().any(|step| flow.sent.contains_key(&step.id)) {
            let released = flow.run.release().await;
            flow.end = Some(released.map(|()| End::Left));
        }
    }

    async fn settled(&mut self, i: usize, settled: Result<Settled, HostError>) {
        let Some(flow) = self.flows.get_mut(i) else { return };
        if flow.end.is_some() {
            return;
        }
        if matches!(settled, Ok(Settled::Parked { status: "waiting", .. })) {
            let mut pending = self.pending(i);
            let Some(flow) = self.flows.get_mut(i) else { return };
            // An answer that came too late for it to see is in its inbox.
            let mut unseen = false;
            pending.retain(|step| match flow.sent.get_mut(&step.id) {
                Some(tried) => {
                    unseen |= !std::mem::replace(tried, true);
                    false
                }
                None => true,
            });
            if unseen {
                return self.go_on(i).await;
            }
            pending.retain(|step| self.can_answer(step));
            if !pending.is_empty() {
                if let Some(flow) = self.flows.get_mut(i) {
                    flow.parked = true;
                }
                for step in pending {
                    self.ask(i, step.id).await;
                }
                return self.go_on_if_answered(i).await;
            }
        }
        if let Some(flow) = self.flows.get_mut(i) {
            flow.end = Some(settled.map(End::Settled));
        }
        self.questions.retain(|(of, _)| *of != i);
        if self.asking.as_ref().is_some_and(|(of, _)| *of == i) {
            self.put_away();
        }
    }

    /// Takes the question off the screen whose time is over, or that somebody has answered elsewhere.
    async fn look_again(&mut self) {
        let Some((i, id)) = &self.asking else { return };
        let i = *i;
        if self.step(i, id).is_none() {
            self.put_away();
            self.go_on_if_answered(i).await;
        }
    }

    fn put_away(&mut self) {
        (self.asking, self.talk) = (None, None);
        self.screen.say("");
        self.live.go_on();
        self.ask_next();
    }

    /// Takes a run that has parked up again.
    async fn go_on(&mut self, i: usize) {
        let Some(flow) = self.flows.get_mut(i) else { return };
        (flow.parked, flow.taken_up) = (false, true);
        match self.opened.abide.resume(flow.run.id(), false).await {
            Ok(_) => self.settle(i),
            Err(error) => flow.end = Some(Err(error)),
        }
    }

    async fn go_on_if_answered(&mut self, i: usize) {
        if !self.has_question(i) && self.flows.get(i).is_some_and(|flow| flow.parked && flow.end.is_none()) {
            self.go_on(i).await;
        }
    }

    fn has_question(&self, i: usize) -> bool {
        self.asking.iter().chain(&self.questions).any(|(of, _)| *of == i)
    }

    /// A call wants to be allowed, or somebody asks in words.
    async fn ask(&mut self, i: usize, id: String) {
        let known = self.asking.iter().chain(&self.questions).any(|(of, known)| *of == i && *known == id);
        if known || self.flows.get(i).is_none_or(|flow| flow.sent.contains_key(&id)) {
            return;
        }
        let Some(step) = self.step(i, &id).filter(|step| self.can_answer(step)) else { return };
        if self.stay.yes && Wants::Approval.is(&step) {
            self.answer(i, step, allowing(true)).await;
        } else {
            self.questions.push_back((i, id));
            if self.asking.is_none() {
                self.ask_next();
            }
        }
    }

    /// Puts the next question that is still one on the screen.
    fn ask_next(&mut self) {
        while let Some((i, id)) = self.questions.pop_front() {
            if let Some(step) = self.step(i, &id) {
                self.live.hold();
                self.talk = Talk::of(&step);
                match &self.talk {
                    Some(talk) => put(&format!("\n{}", talk.prompt())),
                    None => {
                        let about = about(&step).unwrap_or_default();
                        self.screen.say(&format!("\n  {} asks to call\n    {about}", step.id));
                        put_question("  allow it?");
                    }
                }
                (self.asking, self.shown) = (Some((i, id)), Some(step));
                return;
            }
        }
    }

    async fn answered(&mut self, line: Option<String>) {
        let said = match (&mut self.talk, line.as_deref()) {
            (_, None) => None,
            (Some(talk), Some(line)) => match talk.hear(line) {
                Some(said) => Some(said),
                None => return put(&talk.prompt()),
            },
            (None, Some(line)) => match yes_or_no(line) {
                Some(allow) => Some(allowing(allow)),
                None => return put_question("  allow it? y or n"),
            },
        };
        let Some((i, _)) = self.asking.take() else { return };
        self.talk = None;
        self.live.go_on();
        match said {
            Some(said) => {
                if let Some(shown) = self.shown.take() {
                    self.answer(i, shown, said).await;
                }
            }
            // Nobody is there any more: whoever has parked stays so.
            None => {
                self.deaf = true;
                self.questions.clear();
                for flow in self.flows.iter_mut().filter(|flow| flow.parked) {
                    let waiting_for = flow.run.inspect().ok().and_then(|info| info.waiting_for);
                    let settled = Settled::Parked { status: "waiting", waiting_for, until_ms: None };
                    flow.end.get_or_insert(Ok(End::Settled(settled)));
                }
                return;
            }
        }
        self.ask_next();
        self.go_on_if_answered(i).await;
    }

    /// Answers a question, for what was shown.
    async fn answer(&mut self, i: usize, step: StepReport, mut said: Value) {
        let Some(flow) = self.flows.get_mut(i) else { return };
        let Ok(report) = flow.run.report() else { return };
        if let Ok(redactor) = self.opened.redactor(&flow.run) {
            redactor.hide_value(&mut said);
        }
        match flow.run.answer_shown(&step, &said, &answer_id(report.run.generation, &step.id)).await {
            Ok(_) => {
                flow.sent.insert(step.id, false);
            }
            // It has ended meanwhile: that is told anyway.
            Err(HostError::Ended { .. }) => {}
            Err(error) => self.screen.say(&format!("the answer for {} was not recorded: {error}", step.id)),
        }
    }
}

/// Does this step ask for what a person can say on a terminal?
fn asks_a_person(step: &StepReport) -> bool {
    Wants::Approval.is(step) || Talk::of(step).is_some()
}

fn allowing(allow: bool) -> Value {
    json!(Approval { allow, reason: None })
}
