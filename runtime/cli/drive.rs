//! Stays with runs that this process works on: shows what happens, answers what its user said would be answered, and leaves
//! when all have ended or stand still. It never prints a result.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use abide_engine::Wait;
use abide_llm::Approval;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast::Receiver;

use super::args::Stay;
use super::candidates::{Wants, about};
use super::live::Live;
use super::messages::answer_id;
use super::screen::{Screen, put_question, yes_or_no};
use super::session::Opened;
use super::stop::Stop;
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
    /// Approvals answered here; true once the run was taken up for the sake of one that it had parked without seeing.
    sent: HashMap<String, bool>,
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
    let flow = |run| Flow { run, end: None, parked: false, taken_up: false, sent: HashMap::new() };
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
            _ = second.tick() => drive.live.redraw(),
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

    fn can_answer(&self) -> bool {
        self.stay.yes || (self.screen.interactive && !self.deaf)
    }

    /// A run may have waited or asked before anybody listened.
    async fn look(&mut self, i: usize) {
        if self.can_answer() {
            for id in self.pending(i) {
                self.ask(i, id).await;
            }
        }
        let Some(flow) = self.flows.get(i) else { return };
        if let Ok(info) = flow.run.inspect()
            && info.status == "waiting"
            && info.until_ms.is_some()
        {
            self.waits(i).await;
        }
    }

    fn pending(&self, i: usize) -> Vec<String> {
        let report = self.flows.get(i).and_then(|flow| flow.run.report().ok());
        let steps = report.map(|report| report.steps).unwrap_or_default();
        steps.into_iter().filter(|step| Wants::Approval.is(step)).map(|step| step.id).collect()
    }

    async fn event(&mut self, progress: &Progress) {
        let found = self.flows.iter().position(|flow| flow.run.id() == &*progress.run);
        let again = found.and_then(|i| self.flows.get(i)).is_some_and(|flow| flow.taken_up);
        if !(again && matches!(progress.what, ProgressKind::Replayed { .. })) {
            self.live.event(progress);
        }
        let Some(i) = found else { return };
        match &progress.what {
            ProgressKind::Asked { id, wait: Wait::Approval } => self.ask(i, id.clone()).await,
            ProgressKind::Waiting { until_ms: Some(_), .. } => self.waits(i).await,
            _ => {}
        }
    }

    /// A run waits for a time: `--no-wait` does not, unless an answer is on its way.
    async fn waits(&mut self, i: usize) {
        if !self.stay.no_wait || self.has_question(i) {
            return;
        }
        let pending = self.pending(i);
        let Some(flow) = self.flows.get_mut(i) else { return };
        if flow.end.is_none() && !pending.iter().any(|id| flow.sent.contains_key(id)) {
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
            pending.retain(|id| match flow.sent.get_mut(id) {
                Some(tried) => {
                    unseen |= !std::mem::replace(tried, true);
                    false
                }
                None => true,
            });
            if unseen {
                return self.go_on(i).await;
            }
            if self.can_answer() && !pending.is_empty() {
                if let Some(flow) = self.flows.get_mut(i) {
                    flow.parked = true;
                }
                for id in pending {
                    self.ask(i, id).await;
                }
                return self.go_on_if_answered(i).await;
            }
        }
        if let Some(flow) = self.flows.get_mut(i) {
            flow.end = Some(settled.map(End::Settled));
        }
        self.questions.retain(|(of, _)| *of != i);
        if self.asking.as_ref().is_some_and(|(of, _)| *of == i) {
            self.asking = None;
            self.screen.say("");
            self.live.go_on();
            self.ask_next();
        }
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

    /// A call wants to be allowed.
    async fn ask(&mut self, i: usize, id: String) {
        let known = self.asking.iter().chain(&self.questions).any(|(of, known)| *of == i && *known == id);
        if known || self.flows.get(i).is_none_or(|flow| flow.sent.contains_key(&id)) {
            return;
        }
        if self.stay.yes {
            self.answer(i, &id, true, None).await;
        } else if self.can_answer() {
            self.questions.push_back((i, id));
            if self.asking.is_none() {
                self.ask_next();
            }
        }
    }

    /// Puts the next question that is still one on the screen.
    fn ask_next(&mut self) {
        while let Some((i, id)) = self.questions.pop_front() {
            let report = self.flows.get(i).and_then(|flow| flow.run.report().ok());
            let step = report.and_then(|report| report.steps.into_iter().find(|s| s.id == id && Wants::Approval.is(s)));
            if let Some(step) = step {
                self.live.hold();
                let about = about(&step).unwrap_or_default();
                self.screen.say(&format!("\n  {} asks to call\n    {about}", step.id));
                put_question("  allow it?");
                (self.asking, self.shown) = (Some((i, id)), Some(step));
                return;
            }
        }
    }

    async fn answered(&mut self, line: Option<String>) {
        let said = line.as_deref().map(yes_or_no);
        if said == Some(None) {
            return put_question("  allow it? y or n");
        }
        let Some((i, id)) = self.asking.take() else { return };
        self.live.go_on();
        match said.flatten() {
            Some(allow) => {
                let shown = self.shown.take();
                self.answer(i, &id, allow, shown).await;
            }
            // Nobody is there any more: whoever has parked stays so.
            None => {
                self.deaf = true;
                self.questions.clear();
                for flow in self.flows.iter_mut().filter(|flow| flow.parked) {
                    let settled = Settled::Parked { status: "waiting", waiting_for: Some("approval"), until_ms: None };
                    flow.end.get_or_insert(Ok(End::Settled(settled)));
                }
                return;
            }
        }
        self.ask_next();
        self.go_on_if_answered(i).await;
    }

    /// Answers a question: for what was shown, or for what is asked now.
    async fn answer(&mut self, i: usize, id: &str, allow: bool, shown: Option<StepReport>) {
        let Some(flow) = self.flows.get_mut(i) else { return };
        let Ok(report) = flow.run.report() else { return };
        let now = || report.steps.iter().find(|s| s.id == id && Wants::Approval.is(s)).cloned();
        let Some(step) = shown.or_else(now) else { return };
        let approval = Approval { allow, reason: None };
        match flow.run.answer_shown(&step, &approval, &answer_id(report.run.generation, id)).await {
            Ok(_) => {
                flow.sent.insert(id.to_owned(), false);
            }
            // It has ended meanwhile: that is told anyway.
            Err(HostError::Ended { .. }) => {}
            Err(error) => self.screen.say(&format!("the answer for {id} was not recorded: {error}")),
        }
    }
}
